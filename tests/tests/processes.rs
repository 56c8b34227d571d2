//! Several processes on one output, each with a process table of its own, as containers on a shared folder have.

use scanside_testing::data::{skipped, workspace};
use scanside_tests::program::{said, scanside};
use scanside_tests::small::names;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Processes that work on one folder.
const PROCESSES: usize = 4;
/// Rounds with killed processes; `SCANSIDE_KILL_ROUNDS` sets another number.
const ROUNDS: usize = 3;

fn examples() -> PathBuf {
    workspace().join("examples/hippocampus/images")
}

/// `scanside segment` as the first process of a table of its own, or nothing where this is not permitted.
fn contained(arguments: &[&Path]) -> Option<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]);
        command
    };
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        skipped("process tables cannot be separated (unshare) without more rights");
        return None;
    }
    let mut command = unshare();
    command.arg(scanside().get_program()).args(["segment", "--threads", "1", "-m"]);
    command.arg(workspace().join("models/hippocampus-nnunet-slim.onnx")).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

fn start(command: &mut Command) -> Child {
    command.spawn().expect("the program starts")
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("an end")
}

/// The first process is in the middle of its work when the second one starts.
#[test]
fn two_containers_make_one_label_file_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (scan, labels) = (examples().join("hippocampus_052_0000.nii.gz"), folder.path().join("labels.nii.gz"));
    let (step, i, o) = (Path::new("--step-size"), Path::new("-i"), Path::new("-o"));
    let Some(mut command) = contained(&[i, &scan, o, &labels, step, Path::new("0.1")]) else { return };
    let first = start(&mut command);
    let since = Instant::now();
    while !names(folder.path()).iter().any(|name| name.ends_with(".scanside-part")) {
        assert!(since.elapsed() < Duration::from_secs(60), "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = start(&mut command);
    let outputs = [end(first), end(second)];
    let words = outputs.each_ref().map(said);
    assert!(outputs.iter().all(|output| output.status.success()), "{words:?}");
    let all = words.concat();
    assert!(all.matches("labels in ").count() == 1 && all.matches("already done").count() == 1, "{all}");
    assert_eq!(names(folder.path()), ["labels.nii.gz"]);
}

/// A folder of scans, and what their labels are.
struct Scans {
    folder: tempfile::TempDir,
    labels: Vec<(String, Vec<u8>)>,
}

impl Scans {
    fn new() -> Option<Scans> {
        let scans = Scans { folder: tempfile::tempdir().expect("a folder"), labels: Vec::new() };
        let input = scans.folder.path().join("in");
        std::fs::create_dir(&input).expect("a folder");
        for (index, id) in ["034", "052", "160", "034", "052", "160", "034", "052"].iter().enumerate() {
            let from = examples().join(format!("hippocampus_{id}_0000.nii.gz"));
            std::fs::copy(from, input.join(format!("case{index}_0000.nii.gz"))).expect("a copy");
        }
        let out = scans.folder.path().join("reference");
        let output = end(start(&mut scans.command(&out)?));
        assert!(output.status.success(), "{}", said(&output));
        let labels = names(&out).into_iter().map(|name| {
            let bytes = std::fs::read(out.join(&name)).expect("labels");
            (name, bytes)
        });
        Some(Scans { labels: labels.collect(), ..scans })
    }

    fn command(&self, out: &Path) -> Option<Command> {
        let input = self.folder.path().join("in");
        contained(&[Path::new("-i"), &input, Path::new("-o"), out, Path::new("--step-size"), Path::new("0.2")])
    }

    /// Every label file that has appeared is complete.
    fn check_published(&self, out: &Path) {
        for (name, bytes) in &self.labels {
            if let Ok(published) = std::fs::read(out.join(name)) {
                assert_eq!(published.len(), bytes.len(), "{name} is not complete");
                assert!(published == *bytes, "{name} differs");
            }
        }
    }

    fn expected(&self) -> Vec<String> {
        self.labels.iter().map(|(name, _)| name.clone()).collect()
    }
}

#[test]
fn several_processes_share_the_cases_of_a_folder() {
    let Some(scans) = Scans::new() else { return };
    let out = scans.folder.path().join("out");
    let children: Vec<Child> = (0..PROCESSES).filter_map(|_| scans.command(&out).map(|mut c| start(&mut c))).collect();
    let outputs: Vec<Output> = children.into_iter().map(end).collect();
    let words: Vec<String> = outputs.iter().map(said).collect();
    // Each ends when all labels are there, and each case is done once.
    assert!(outputs.iter().all(|output| output.status.success()), "{words:?}");
    assert_eq!(words.concat().matches(": labels in ").count(), scans.labels.len(), "{words:?}");
    for text in &words {
        assert!(text.contains("8 cases: ") && text.contains(", 0 failed\n"), "{text}");
    }
    scans.check_published(&out);
    assert_eq!(names(&out), scans.expected());
}

/// Numbers that look random; the seed is printed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn killed_processes_leave_complete_files_and_the_rest_is_done_later() {
    let Some(scans) = Scans::new() else { return };
    let rounds = std::env::var("SCANSIDE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let seed = std::time::UNIX_EPOCH.elapsed().expect("a time").subsec_nanos().into();
    println!("seed {seed}");
    let mut random = Random(seed);
    for round in 0..rounds {
        let out = scans.folder.path().join(format!("out{round}"));
        let mut children: Vec<Child> =
            (0..PROCESSES).filter_map(|_| scans.command(&out).map(|mut c| start(&mut c))).collect();
        // All of them in every fourth round.
        let killed = if round % 4 == 3 { PROCESSES } else { 1 + random.below(PROCESSES as u64 - 1) as usize };
        for child in &mut children[..killed] {
            std::thread::sleep(Duration::from_millis(random.below(900)));
            // It may have ended by itself.
            let _ = child.kill();
            scans.check_published(&out);
        }
        let survivors = children.split_off(killed);
        for child in children {
            end(child);
        }
        for child in survivors {
            let output = end(child);
            assert!(output.status.success(), "round {round}: {}", said(&output));
            // What survives ends only when everything is there.
            scans.check_published(&out);
            assert!(scans.expected().iter().all(|name| out.join(name).is_file()), "round {round}: {}", said(&output));
        }
        scans.check_published(&out);
        let last = scans.command(&out).map(|mut command| end(start(&mut command))).expect("the program starts");
        assert!(last.status.success(), "round {round}: {}", said(&last));
        scans.check_published(&out);
        assert_eq!(names(&out), scans.expected(), "round {round}: {}", said(&last));
        println!(
            "round {round}: {killed} of {PROCESSES} killed; the last run: {}",
            said(&last).lines().last().unwrap_or("")
        );
    }
}
