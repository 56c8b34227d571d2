//! What outputs may never do: replace an input, take another name than was meant, be lost because nobody listens, wait for
//! ever.

use scanside_testing::data::golden;
use scanside_tests::program::{said, scanside};
use scanside_tests::small::{model, names, put_scan, scan, segment, segmented};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The run is refused, says why, and leaves the file as it was.
fn check_kept(result: &Output, file: &Path, before: &[u8]) {
    assert!([2, 7].contains(&result.status.code().expect("a code")), "{}", said(result));
    assert!(said(result).contains("an output never replaces an input"), "{}", said(result));
    assert!(!said(result).contains("--overwrite"), "{}", said(result));
    assert_eq!(bytes(file), before);
}

#[test]
fn no_output_replaces_a_scan() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    put_scan(&at("T1.nii.gz"));
    symlink("T1.nii.gz", at("link.nii.gz")).expect("a link");
    std::fs::hard_link(at("T1.nii.gz"), at("hard.nii.gz")).expect("a link");
    let before = bytes(&scan());
    for flags in [&[][..], &["--overwrite"]] {
        for (input, output) in [
            ("T1.nii.gz", "."),
            ("T1.nii.gz", "T1.nii.gz"),
            ("T1.nii.gz", "link.nii.gz"),
            ("link.nii.gz", "T1.nii.gz"),
            ("hard.nii.gz", "T1.nii.gz"),
        ] {
            check_kept(&segmented(&at(input), &at(output), flags), &at("T1.nii.gz"), &before);
        }
        // A folder of ordinary names, into itself.
        check_kept(&segmented(folder.path(), folder.path(), flags), &at("T1.nii.gz"), &before);
    }
    assert_eq!(names(folder.path()), ["T1.nii.gz", "hard.nii.gz", "link.nii.gz"]);
}

#[test]
fn no_record_replaces_what_is_read_or_an_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    put_scan(&at("scan"));
    std::fs::copy(model(), at("m.onnx")).expect("a copy");
    for (record, words) in
        [("scan", "never replaces"), ("m.onnx", "never replaces"), ("labels.nii.gz", "names an image")]
    {
        let mut program = scanside();
        program.args(["segment", "--overwrite", "-m"]).arg(at("m.onnx")).arg("-i").arg(at("scan"));
        program.arg("-o").arg(at("labels.nii.gz")).arg("--record").arg(at(record));
        let result = program.output().expect("the program starts");
        assert!(result.status.code() == Some(2) && said(&result).contains(words), "{record}: {}", said(&result));
    }
    assert_eq!((bytes(&at("scan")), bytes(&at("m.onnx"))), (bytes(&scan()), bytes(&model())));
    assert_eq!(names(folder.path()), ["m.onnx", "scan"]);
}

#[test]
fn no_model_replaces_what_it_is_made_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("model/fold_0")).expect("a folder");
    for name in ["dataset.json", "plans.json", "fold_0/checkpoint_final.pth"] {
        std::fs::copy(golden().join("faults/folder").join(name), at("model").join(name)).expect("a copy");
    }
    std::fs::copy(model(), at("m.onnx")).expect("a copy");
    for name in ["plans.json", "fold_0/checkpoint_final.pth"] {
        let file = at("model").join(name);
        let before = bytes(&file);
        for command in ["import", "compile"] {
            let mut program = scanside();
            program.arg(command).arg(at("model")).arg("-o").arg(&file).arg("--overwrite");
            check_kept(&program.output().expect("the program starts"), &file, &before);
        }
    }
    let mut program = scanside();
    program.arg("compile").arg(at("m.onnx")).arg("-o").arg(at("m.onnx")).arg("--overwrite");
    check_kept(&program.output().expect("the program starts"), &at("m.onnx"), &bytes(&model()));
}

#[test]
fn a_name_that_is_no_label_files_makes_no_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["labels.png", "labels.nii.bz2", "labels.gz", "labels.npz", "x.nii.gz "] {
        let result = segmented(&scan(), &at(name), &[]);
        assert_eq!(result.status.code(), Some(2), "{name}: {}", said(&result));
    }
    let mut program = segment();
    program.current_dir(folder.path()).arg("-i").arg(scan()).args(["-o", "-"]);
    assert_eq!(program.output().expect("the program starts").status.code(), Some(2));
    for device in ["/dev/null", "/dev/stdout"] {
        let result = segmented(&scan(), Path::new(device), &[]);
        assert_eq!(result.status.code(), Some(2), "{device}: {}", said(&result));
    }
    // Root could replace a device.
    let result = segmented(&scan(), &at("l.nii.gz"), &["--record", "/dev/null"]);
    assert_eq!(result.status.code(), Some(6), "{}", said(&result));
    assert!(std::fs::metadata("/dev/null").is_ok_and(|about| !about.is_file()));
    assert_eq!(names(folder.path()), Vec::<String>::new());
    // Capital letters are an ending, too, and compressed.
    assert!(segmented(&scan(), &at("L.NII.GZ"), &[]).status.success());
    assert!(bytes(&at("L.NII.GZ")).starts_with(&[0x1f, 0x8b]));
}

#[test]
fn long_names_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "n".repeat(240);
    put_scan(&folder.path().join(format!("{name}_0000.nii.gz")));
    let result = segmented(&folder.path().join(format!("{name}_0000.nii.gz")), &folder.path().join("out"), &[]);
    assert!(result.status.success(), "{}", said(&result));
    assert_eq!(names(&folder.path().join("out")), [format!("{name}.nii.gz")]);
}

/// Runs the program with a stream whose reader is gone.
fn unheard(mut program: Command, stdout: bool, stderr: bool) -> Option<i32> {
    let stream = |closed: bool| if closed { Stdio::piped() } else { Stdio::null() };
    let mut child = program.stdout(stream(stdout)).stderr(stream(stderr)).spawn().expect("the program starts");
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().expect("an end").code()
}

#[test]
fn messages_that_nobody_reads_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    put_scan(&input.join("a.nii.gz"));
    symlink("none", input.join("b.nii.gz")).expect("a link");
    let mut run = segment();
    run.arg("-i").arg(input.join("a.nii.gz")).arg("-o").arg(out.join("one.nii.gz"));
    assert_eq!(unheard(run, true, true), Some(0));
    let mut run = segment();
    run.arg("-i").arg(&input).arg("-o").arg(&out);
    assert_eq!(unheard(run, false, true), Some(7));
    assert_eq!(names(&out), ["a.nii.gz", "one.nii.gz"]);
    // An error keeps its exit code.
    let mut run = scanside();
    run.args(["inspect", "none.onnx"]);
    assert_eq!(unheard(run, true, true), Some(4));
    let mut run = scanside();
    run.args(["evaluate", "-p"]).arg(&input).arg("-l").arg(golden().join("faults/onnx"));
    assert_eq!(unheard(run, false, true), Some(3));
}

#[test]
fn a_full_disk_is_an_error_for_results_and_none_for_messages() {
    if !Path::new("/dev/full").exists() {
        scanside_testing::data::skipped("this system has no device that is always full");
        return;
    }
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| {
        let mut program = segment();
        program.arg("-i").arg(scan()).arg("-o").arg(folder.path().join(name));
        program
    };
    let code = |mut program: Command| program.status().expect("the program starts").code();
    let mut first = run("a.nii.gz");
    first.stdout(full());
    assert_eq!(code(first), Some(6));
    let mut second = run("b.nii.gz");
    second.stderr(full()).stdout(Stdio::null());
    assert_eq!(code(second), Some(0));
    assert_eq!(names(folder.path()), ["a.nii.gz", "b.nii.gz"]);
}

/// Waits for the end of a program, which must come soon.
fn ends(mut child: std::process::Child, within: Duration) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a state") {
            return status.code();
        }
        if start.elapsed() > within {
            child.kill().expect("SIGKILL");
            child.wait().expect("an end");
            panic!("the program did not end within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn pipes_and_devices_are_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe.nii.gz")).status().is_ok_and(|status| status.success()));
    let pipe = at("pipe.nii.gz");
    let run = |arguments: &[&Path]| {
        let mut program = scanside();
        let child = program.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let id = child.id();
        (child, id)
    };
    let (good_model, good_scan, out) = (model(), scan(), at("l.nii.gz"));
    let arg = Path::new;
    let cases: [(&[&Path], i32); 6] = [
        (&[arg("segment"), arg("-m"), &good_model, arg("-i"), &pipe, arg("-o"), &out], 3),
        (&[arg("segment"), arg("-m"), &pipe, arg("-i"), &good_scan, arg("-o"), &out], 4),
        (&[arg("plan"), arg("-m"), &good_model, arg("-i"), &pipe], 3),
        (&[arg("inspect"), &good_model, arg("--manifest"), &pipe], 4),
        (&[arg("evaluate"), arg("-p"), &pipe, arg("-l"), &good_scan], 3),
        (&[arg("choose"), arg("-m"), &good_model, arg("-i"), &pipe], 3),
    ];
    for (arguments, code) in cases {
        let (mut child, _) = run(arguments);
        let mut stderr = child.stderr.take().expect("a stream");
        assert_eq!(ends(child, Duration::from_secs(20)), Some(code), "{arguments:?}");
        let mut words = String::new();
        stderr.read_to_string(&mut words).expect("text");
        assert!(words.contains("is a pipe; only regular files are read"), "{arguments:?}: {words}");
    }
    assert_eq!(names(folder.path()), ["pipe.nii.gz"]);
}

/// A scan that takes minutes to read: nothing is computed, so the first signal ends the run at once.
#[test]
fn the_first_signal_ends_a_run_that_only_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large.nii");
    // 20000 x 20000 x 1000 voxels of one byte, in a file with holes.
    let mut header = Vec::new();
    let packed = std::fs::File::open(scan()).expect("a file");
    flate2::read::GzDecoder::new(packed).take(352).read_to_end(&mut header).expect("a header");
    for (at, value) in [(42, 20_000_i16), (44, 20_000), (46, 1000), (70, 2), (72, 8)] {
        header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(&large, header).expect("a file");
    let file = std::fs::OpenOptions::new().write(true).open(&large).expect("a file");
    file.set_len(352 + 400_000_000_000).expect("a file with holes");
    let out = folder.path().join("out");
    let mut program = segment();
    program.arg("-i").arg(&large).arg("-o").arg(out.join("l.nii.gz")).stderr(Stdio::piped());
    let mut child = program.spawn().expect("the program starts");
    let start = Instant::now();
    while !out.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().is_ok_and(|status| status.success()));
    let mut stderr = child.stderr.take().expect("a stream");
    assert_eq!(ends(child, Duration::from_secs(10)), Some(130));
    let mut words = String::new();
    stderr.read_to_string(&mut words).expect("text");
    assert!(words.contains("stopping"), "{words}");
    assert_eq!(names(&out), Vec::<String>::new());
}
