//! `scanside choose`: of several models for one task, the most accurate that keeps within memory and time here.
//!
//! Other programs of this project weigh models with the same code: they offer [`run`] as a command `choose`, and call
//! [`weigh`].

pub use crate::args::ChooseArgs;
pub use crate::choice::{Budget, Candidate, nothing_fits, table};

use crate::args::{EngineChoice, PrecisionChoice, RunArgs, duration, size};
use crate::case_run::{self, CaseOptions};
use crate::cases::{self, Case};
use crate::choice::{self, ACCURACY};
use crate::exit::{Exit, Failure, OrExit};
use crate::model::{self, DEFAULT_CHECKPOINT, Model};
use crate::predict::predict;
use crate::process;
use crate::progress::human_bytes;
use crate::relatives;
use crate::window_time::{WindowTimes, too_large_to_time};
use clap::ValueEnum;
use scanside_core::manifest::{FamilyMember, Manifest};
use scanside_core::memory::DoesNotFit;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Instant;

/// Labels of a model that an error tells.
const MOST_LABELS_TOLD: usize = 8;
/// What allows memory and time.
const OPTIONS: [&str; 2] = ["--max-ram ", "--max-time "];

/// What was found, for programs.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    case: String,
    max_ram_bytes: Option<u64>,
    max_time_seconds: Option<f64>,
    /// In the order given.
    models: Vec<Candidate>,
    /// Which of them, counted from 0; none where nothing fits.
    chosen: Option<usize>,
    /// Why this one.
    why: Option<String>,
    /// The run's command line.
    command: Option<String>,
    /// Members of the models' family that were not given and would do better, as their maker measured them.
    not_given: Vec<FamilyMember>,
}

/// Weighs the models, and says which to take.
///
/// # Errors
/// A file cannot be read, the models are for different tasks, or none of them fits.
pub fn run(args: &ChooseArgs) -> Result<Exit, Failure> {
    for (paths, exit) in [(&args.input, Exit::BadInput), (&args.model, Exit::BadModel)] {
        if let Some(missing) = paths.iter().find(|p| !p.exists()) {
            return Err(Failure::says(exit, format!("{} does not exist", missing.display())));
        }
    }
    if let Some(folder) = args.input.iter().find(|p| p.is_dir()) {
        return Err(Failure::says(
            Exit::Usage,
            format!("{} is a folder; give one scan of those that are to be segmented", folder.display()),
        ));
    }
    let (case, models, manifests) = candidates(args)?;
    let (chosen, why) = choice::choose(&models).unzip();
    let not_given = relatives::better(&manifests, chosen);
    let command = chosen.map(|index| command(&args.model[index], &case, args));
    let budget = budget(args);
    if args.json {
        let document = Document {
            format: 1,
            case: case.name,
            max_ram_bytes: budget.ram_bytes,
            max_time_seconds: budget.seconds,
            models,
            chosen,
            why,
            command,
            not_given,
        };
        say!("{}", serde_json::to_string_pretty(&document).or_exit(Exit::CouldNotWrite)?);
        return match chosen {
            Some(_) => Ok(Exit::Done),
            None => Err(Failure::says(Exit::DoesNotFit, choice::nothing_fits(&document.models, budget, OPTIONS))),
        };
    }
    say!("{}", choice::table(&models, chosen).trim_end());
    if let Some(told) = relatives::told(&not_given, chosen.is_some()) {
        say!("\n{told}");
    }
    let (Some(index), Some(why), Some(command)) = (chosen, why, command) else {
        return Err(Failure::says(Exit::DoesNotFit, choice::nothing_fits(&models, budget, OPTIONS)));
    };
    say!("\n{}: {why}\n\n{command}", args.model[index].display());
    Ok(Exit::Done)
}

/// The scan, and the models with what they say of themselves.
fn candidates(args: &ChooseArgs) -> Result<(Case, Vec<Candidate>, Vec<Manifest>), Failure> {
    if let [alone] = args.model.as_slice() {
        let (case, candidate, manifest) = candidate(alone, args)?;
        return Ok((case, vec![candidate], vec![manifest]));
    }
    let manifests = same_task(args)?;
    let case = the_case(args, manifests.first().map_or(1, |manifest| manifest.channels.len()))?;
    let program = std::env::current_exe().or_exit(Exit::BadModel)?;
    Ok((case, each(&program, args)?, manifests))
}

/// Each model in a process of its own: memory that one took does not count for the next.
fn each(program: &Path, args: &ChooseArgs) -> Result<Vec<Candidate>, Failure> {
    args.model.iter().map(|model| in_process_of_its_own(program, model, args)).collect()
}

/// What a run of a scan (one file per channel) would take with each of the models, which are for one task, told by fresh
/// processes of the command `choose` of `program`.
///
/// # Errors
/// A model or the scan cannot be read.
pub fn weigh(
    program: &Path,
    models: &[PathBuf],
    scan: &[PathBuf],
    budget: Budget,
    threads: Option<u16>,
) -> Result<Vec<Candidate>, Failure> {
    let args = ChooseArgs {
        model: models.to_vec(),
        input: scan.to_vec(),
        max_ram: budget.ram_bytes,
        max_time: budget.seconds,
        threads,
        precision: PrecisionChoice::Auto,
        step_size: 0.5,
        disable_tta: false,
        // It is the caller who knows that it is a scan.
        allow_label_input: true,
        json: true,
    };
    each(program, &args)
}

/// `latency=20s,ram=1G`, either or both.
impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let mut budget = Budget::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let twice = match key.trim() {
                "latency" => budget.seconds.replace(duration(value)?).is_some(),
                "ram" => budget.ram_bytes.replace(size(value)?).is_some(),
                _ => return Err("give latency=20s, ram=1G, or both with a comma between them".into()),
            };
            if twice {
                return Err(format!("{} is given twice", key.trim()));
            }
        }
        Ok(budget)
    }
}

fn the_case(args: &ChooseArgs, channels: usize) -> Result<Case, Failure> {
    let case = cases::find(&args.input, channels)?.good.into_iter().next();
    case.ok_or_else(|| Failure::says(Exit::BadInput, "the input holds no scan"))
}

fn budget(args: &ChooseArgs) -> Budget {
    Budget { ram_bytes: args.max_ram, seconds: args.max_time }
}

/// What the models say of themselves. They are compared by one figure, which means something only where they label the
/// same things.
fn same_task(args: &ChooseArgs) -> Result<Vec<Manifest>, Failure> {
    let told = |manifest: &Manifest| {
        let mut labels: Vec<String> =
            manifest.labels.heads().iter().map(|head| format!("{} {}", head.value, head.name)).collect();
        labels.sort();
        (manifest.channels.len(), labels)
    };
    let mut first: Option<(&Path, (usize, Vec<String>))> = None;
    let mut manifests = Vec::with_capacity(args.model.len());
    for path in &args.model {
        let manifest = model::manifest(path)?;
        let ours = told(&manifest);
        manifests.push(manifest);
        let (first_path, theirs) = first.get_or_insert_with(|| (path, ours.clone()));
        if *theirs != ours {
            let list = |path: &Path, (channels, labels): &(usize, Vec<String>)| {
                let mut text = labels.iter().take(MOST_LABELS_TOLD).cloned().collect::<Vec<_>>().join(", ");
                if labels.len() > MOST_LABELS_TOLD {
                    text += &format!(" and {} more", labels.len() - MOST_LABELS_TOLD);
                }
                format!("{} labels {text} on {channels} channel(s)", path.display())
            };
            return Err(Failure::says(
                Exit::Usage,
                format!("the models are for different tasks: {}; {}", list(first_path, theirs), list(path, &ours)),
            ));
        }
    }
    Ok(manifests)
}

/// One model: opened, planned and timed.
fn candidate(path: &Path, args: &ChooseArgs) -> Result<(Case, Candidate, Manifest), Failure> {
    let run = run_args(path, args);
    let started = Instant::now();
    let mut model = Model::open(&run)?;
    let load = started.elapsed().as_secs_f64();
    let case = the_case(args, model.manifest.channels.len())?;
    // The run will be another process.
    model.process_bytes += process::BETWEEN_PROCESSES_BYTES;
    let mut candidate = Candidate {
        model: path.to_owned(),
        name: model.manifest.name.clone(),
        mean_dice: model.manifest.accuracy.get(ACCURACY).copied(),
        precision: model::precision_name(args.precision, &model.engine).to_owned(),
        tiles: None,
        network_passes: None,
        workers: None,
        layers_in_bands: None,
        peak_ram_bytes: None,
        least_ram_bytes: None,
        seconds_per_window: None,
        predicted_seconds: None,
        fits: false,
        why_not: None,
    };
    let planned = match case_run::plan(&model, &case, &CaseOptions::from(&run)) {
        Ok(planned) => planned,
        Err(failure) => {
            let Some(needs) = failure.error.downcast_ref::<DoesNotFit>() else { return Err(failure) };
            candidate.least_ram_bytes = needs.least_bytes;
            candidate.why_not = Some(match needs.least_bytes {
                Some(least) => format!("needs {}, {} allowed", human_bytes(least), human_bytes(needs.budget_bytes)),
                None => "needs more memory than a process can address".into(),
            });
            return Ok((case, candidate, model.manifest));
        }
    };
    candidate.tiles = Some(planned.layout.tiling.tiles());
    candidate.network_passes = Some(planned.layout.passes(model.manifest.folds));
    candidate.workers = Some(planned.memory.workers);
    candidate.layers_in_bands = Some(planned.memory.least_workspace);
    candidate.peak_ram_bytes = Some(planned.memory.peak_bytes);
    if let Some(available) = too_large_to_time(&planned.memory) {
        candidate.why_not = Some(format!(
            "needs {}, this machine has {} free",
            human_bytes(planned.memory.peak_bytes),
            human_bytes(available)
        ));
        return Ok((case, candidate, model.manifest));
    }
    let prediction = predict(&model, path, &planned, load, &mut WindowTimes::default())?;
    let seconds = prediction.phases.sum();
    candidate.seconds_per_window = Some(prediction.seconds_per_window);
    candidate.predicted_seconds = Some(seconds);
    candidate.why_not = choice::over_time(seconds, budget(args));
    candidate.fits = candidate.why_not.is_none();
    Ok((case, candidate, model.manifest))
}

/// The run that is asked about.
fn run_args(model: &Path, args: &ChooseArgs) -> RunArgs {
    RunArgs {
        model: model.to_owned(),
        input: args.input.clone(),
        manifest: None,
        max_ram: args.max_ram,
        threads: args.threads,
        engine: EngineChoice::Auto,
        precision: args.precision,
        step_size: args.step_size,
        disable_tta: args.disable_tta,
        folds: Vec::new(),
        checkpoint: DEFAULT_CHECKPOINT.to_owned(),
        allow_label_input: args.allow_label_input,
    }
}

/// Options of `segment` and of this command alike.
fn shared_options(args: &ChooseArgs) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |option: &str, value: Option<String>| {
        options.push(option.to_owned());
        options.extend(value);
    };
    if let Some(bytes) = args.max_ram {
        let (unit, each) = [("G", 1_000_000_000), ("M", 1_000_000), ("", 1)]
            .into_iter()
            .find(|(_, each)| bytes % each == 0)
            .unwrap_or(("", 1));
        add("--max-ram", Some(format!("{}{unit}", bytes / each)));
    }
    if let Some(threads) = args.threads {
        add("--threads", Some(threads.to_string()));
    }
    if args.precision != PrecisionChoice::Auto {
        add("--precision", args.precision.to_possible_value().map(|v| v.get_name().to_owned()));
    }
    if args.step_size != 0.5 {
        add("--step-size", Some(args.step_size.to_string()));
    }
    if args.disable_tta {
        add("--disable-tta", None);
    }
    if args.allow_label_input {
        add("--allow-label-input", None);
    }
    options
}

fn in_process_of_its_own(program: &Path, model: &Path, args: &ChooseArgs) -> Result<Candidate, Failure> {
    let mut command = Command::new(program);
    command.args(["choose", "--json", "--model"]).arg(model).arg("--input").args(&args.input);
    command.args(shared_options(args));
    if let Some(seconds) = args.max_time {
        command.args(["--max-time", &format!("{seconds}s")]);
    }
    let output = command.output().or_exit(Exit::BadModel)?;
    let exit = output.status.code().and_then(Exit::of_code);
    if !matches!(exit, Some(Exit::Done | Exit::DoesNotFit)) {
        let why = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("scanside: ").to_owned();
        let told = if why.is_empty() { format!("measuring ended with {}", output.status) } else { why };
        return Err(Failure::says(exit.unwrap_or(Exit::BadModel), format!("{}: {told}", model.display())));
    }
    let document: Document = serde_json::from_slice(&output.stdout)
        .or_exit_with(exit.unwrap_or(Exit::BadModel), || String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let one = document.models.into_iter().next();
    one.ok_or_else(|| Failure::says(Exit::BadModel, format!("{}: nothing was measured", model.display())))
}

/// The run's command line, to be copied into a shell.
fn command(model: &Path, case: &Case, args: &ChooseArgs) -> String {
    let mut words =
        vec!["scanside".to_owned(), "segment".into(), "-m".into(), model.display().to_string(), "-i".into()];
    words.extend(args.input.iter().map(|path| path.display().to_string()));
    words.extend(["-o".into(), format!("{}.nii.gz", case.name)]);
    words.extend(shared_options(args));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_told_in_one_word() {
        let budget = |text: &str| text.parse::<Budget>();
        assert_eq!(budget("latency=20s,ram=1G"), Ok(Budget { ram_bytes: Some(1_000_000_000), seconds: Some(20.0) }));
        assert_eq!(budget("ram=800M"), Ok(Budget { ram_bytes: Some(800_000_000), seconds: None }));
        for wrong in ["", "20s", "latency=20", "ram=1G,ram=2G", "time=20s", "latency=20s,"] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("models/r4.onnx"), "models/r4.onnx");
        assert_eq!(quoted("my scans/it's.nii"), r"'my scans/it'\''s.nii'");
        assert_eq!(quoted(""), "''");
    }
}
