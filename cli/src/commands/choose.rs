//! `scanside choose`: of several models for one task, the most accurate that keeps within memory and time here.

use crate::args::{ChooseArgs, PrecisionArg};
use crate::exit::Exit;
use crate::print::{self, say};
use clap::ValueEnum;
use scanside_app::choose::{self, Budget, Candidate, WeighOptions, Weighed, relatives};
use scanside_app::model::ModelOptions;
use scanside_app::worker::Worker;
use scanside_app::{Error, ErrorKind, input};
use scanside_core::manifest::{FamilyMember, Manifest};
use serde::Serialize;
use std::path::Path;

/// The options that set the limits.
const LIMITS: [&str; 2] = ["--max-ram ", "--max-time "];

/// What was found, for programs.
#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    case: &'a str,
    max_ram_bytes: Option<u64>,
    max_time_seconds: Option<f64>,
    /// In the order given.
    models: &'a [Candidate],
    /// Which of them, counted from 0; none where nothing fits.
    chosen: Option<usize>,
    /// Why this one.
    why: Option<&'a str>,
    /// The run's command line.
    command: Option<&'a str>,
    /// Members of the models' family that were not given and would do better, as measured by their maker.
    not_given: &'a [FamilyMember],
}

pub(crate) fn run(args: &ChooseArgs) -> Result<Exit, Error> {
    args.input.iter().try_for_each(|path| input::check(ErrorKind::Input, path))?;
    args.model.iter().try_for_each(|path| input::check(ErrorKind::Model, path))?;
    if let Some(folder) = args.input.iter().find(|path| path.is_dir()) {
        let sentence = format!("{} is a folder; give one of its scans", folder.display());
        return Err(Error::new(ErrorKind::Usage, sentence).about(folder));
    }
    let budget = Budget { ram_bytes: args.max_ram, seconds: args.max_time };
    let (manifests, case, models) = weigh_all(args, budget)?;
    let (chosen, why) = choose::choose(&models).unzip();
    let not_given = relatives::better(&manifests, chosen);
    let command = chosen.map(|index| command(&args.model[index], &case, args));
    if args.json {
        print::json(&Document {
            format: 1,
            case: &case,
            max_ram_bytes: budget.ram_bytes,
            max_time_seconds: budget.seconds,
            models: &models,
            chosen,
            why: why.as_deref(),
            command: command.as_deref(),
            not_given: &not_given,
        })?;
    } else {
        say!("{}", choose::table(&models, chosen).trim_end())?;
        if let Some(list) = relatives::list(&not_given, chosen.is_some()) {
            say!("\n{list}")?;
        }
    }
    let (Some(index), Some(why), Some(command)) = (chosen, why, command) else {
        return Err(Error::new(ErrorKind::DoesNotFit, choose::nothing_fits(&models, budget, LIMITS)));
    };
    if !args.json {
        say!("\n{}: {why}\n\n{command}", args.model[index].display())?;
    }
    Ok(Exit::Done)
}

/// The models' manifests, the case's name, and each model weighed in a process of its own.
fn weigh_all(args: &ChooseArgs, budget: Budget) -> Result<(Vec<Manifest>, String, Vec<Candidate>), Error> {
    let model = ModelOptions { precision: args.precision.into(), ..args.parts.options() };
    let manifests = choose::same_task(&args.model, &model)?;
    let options = WeighOptions {
        budget,
        threads: args.threads,
        model,
        step: args.step_size,
        mirror: !args.disable_tta,
        allow_label_input: args.allow_label_input,
        ..WeighOptions::new(args.input.clone())
    };
    let worker = Worker::this_program()?;
    let mut case = String::new();
    let mut candidates = Vec::with_capacity(args.model.len());
    for model in &args.model {
        let weighed: Weighed = worker.weigh(model, &options)?;
        case = weighed.case;
        candidates.push(weighed.candidate);
    }
    Ok((manifests, case, candidates))
}

/// The run's command line, to be copied into a shell.
fn command(model: &Path, case: &str, args: &ChooseArgs) -> String {
    let mut words =
        vec!["scanside".to_owned(), "segment".into(), "-m".into(), model.display().to_string(), "-i".into()];
    words.extend(args.input.iter().map(|path| path.display().to_string()));
    words.extend(["-o".into(), format!("{case}.nii.gz")]);
    words.extend(run_options(args));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The options of `segment` that this command has as well.
fn run_options(args: &ChooseArgs) -> Vec<String> {
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
    if args.precision != PrecisionArg::Auto {
        add("--precision", args.precision.to_possible_value().map(|v| v.get_name().to_owned()));
    }
    for word in args.parts.words() {
        add(&word, None);
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
    fn words_survive_the_shell() {
        assert_eq!(quoted("models/r4.onnx"), "models/r4.onnx");
        assert_eq!(quoted("my scans/it's.nii"), r"'my scans/it'\''s.nii'");
        assert_eq!(quoted(""), "''");
    }
}
