//! `scanside segment`: one scan, or every case of a folder.

use crate::args::SegmentArgs;
use crate::case_run::{self, CaseOptions};
use crate::cases::{self, Case, Cases};
use crate::digest;
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt;
use crate::label_file;
use crate::model::Model;
use crate::process;
use crate::progress::{human_bytes, human_seconds};
use crate::record::{CaseRecord, FileRecord, RunRecord};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) fn run(args: &SegmentArgs) -> Result<Exit, Failure> {
    interrupt::listen()?;
    let started = Instant::now();
    if let Some(missing) = args.run.input.iter().find(|p| !p.exists()) {
        return Err(Failure::says(Exit::BadInput, format!("{} does not exist", missing.display())));
    }
    let model = Model::open(&args.run)?;
    let cases = cases::find(&args.run.input, model.manifest.channels.len())?;
    let mut record = RunRecord::new(&model, &args.run)?;
    let mut failures: Vec<(String, Failure)> = Vec::new();
    for (name, sentence) in &cases.bad {
        fail(&mut record, &mut failures, name, Failure::says(Exit::BadInput, sentence.clone()), args);
    }
    for case in &cases.good {
        if interrupt::requested() {
            failures.push((case.name.clone(), interrupt::failure()));
            break;
        }
        match one_case(&model, case, &cases, args) {
            Ok(done) => record.cases.push(done),
            Err(failure) => {
                let stop = failure.exit == Exit::Interrupted;
                fail(&mut record, &mut failures, &case.name, failure, args);
                if stop {
                    break;
                }
            }
        }
    }
    record.finish(started.elapsed());
    if let Some(path) = &args.record {
        record.write(path)?;
    }
    conclude(cases, failures)
}

fn fail(
    record: &mut RunRecord,
    failures: &mut Vec<(String, Failure)>,
    name: &str,
    failure: Failure,
    args: &SegmentArgs,
) {
    record.cases.push(CaseRecord::failed(name, &failure));
    if !args.quiet && args.run.input[0].is_dir() {
        eprintln!("{name}: {failure}");
    }
    failures.push((name.to_owned(), failure));
}

/// A single scan's failure is the program's; of several cases, the list comes last.
fn conclude(cases: Cases, mut failures: Vec<(String, Failure)>) -> Result<Exit, Failure> {
    if let Some(at) = failures.iter().position(|(_, f)| f.exit == Exit::Interrupted) {
        return Err(failures.swap_remove(at).1);
    }
    if !cases.folder {
        return failures.pop().map_or(Ok(Exit::Done), |(_, failure)| Err(failure));
    }
    if failures.is_empty() {
        return Ok(Exit::Done);
    }
    let total = cases.good.len() + cases.bad.len();
    eprintln!("{} of {total} cases failed:", failures.len());
    for (name, failure) in &failures {
        eprintln!("  {name}: {failure}");
    }
    Ok(Exit::SomeFailed)
}

/// Where the labels of a case go.
fn output_path(case: &Case, cases: &Cases, output: &Path) -> Result<PathBuf, Failure> {
    let named_as_file = cases::stem(output).is_some() && !output.is_dir();
    match (cases.folder, named_as_file) {
        (true, true) => Err(Failure::says(
            Exit::Usage,
            format!("the input is a folder, so the output must be one too, but {} names a file", output.display()),
        )),
        (false, true) => Ok(output.to_owned()),
        _ => Ok(output.join(format!("{}.nii.gz", case.name))),
    }
}

fn one_case(model: &Model, case: &Case, cases: &Cases, args: &SegmentArgs) -> Result<CaseRecord, Failure> {
    let started = Instant::now();
    let output = output_path(case, cases, &args.output)?;
    let mut inputs = Vec::new();
    for path in &case.channels {
        let sha256 =
            digest::file_sha256(path).or_exit_with(Exit::BadInput, || format!("{} cannot be read", path.display()))?;
        inputs.push(FileRecord { path: path.clone(), sha256 });
    }
    let options = CaseOptions::from(&args.run);
    let hashes: Vec<String> = inputs.iter().map(|i| i.sha256.clone()).collect();
    let key = case_run::result_key(model, &hashes, &options);
    if output.exists() && !args.overwrite {
        if !label_file::is_result_of(&output, &key) {
            return Err(Failure::says(
                Exit::CouldNotWrite,
                format!(
                    "{} is there already and was not made from this input with this model; --overwrite replaces it",
                    output.display()
                ),
            ));
        }
        if !args.quiet {
            say!("{}: done before, {} is complete", case.name, output.display());
        }
        return CaseRecord::resumed(&case.name, inputs, &output);
    }
    let planned = case_run::plan(model, case, &options)?;
    if !args.quiet {
        for warning in planned.files.warnings() {
            eprintln!("{}: warning: {warning}", case.name);
        }
        eprintln!(
            "{}: {} tiles, {} network passes, peak RAM at most {}",
            case.name,
            planned.layout.tiling.tiles(),
            planned.layout.passes(model.manifest.folds),
            human_bytes(planned.memory.peak_bytes)
        );
    }
    let plan = crate::plan::describe(model, case, &planned);
    let seconds = case_run::run(model, case, planned, &key, &output, args.quiet)?;
    let elapsed = started.elapsed().as_secs_f64();
    let peak = process::resident_bytes().map(|(_, peak)| peak);
    if !args.quiet {
        let ram = peak.map_or("peak RAM unknown on this system".into(), |p| format!("peak RAM {}", human_bytes(p)));
        say!("{}: labels in {}, {}, {ram}", case.name, output.display(), human_seconds(elapsed));
    }
    CaseRecord::done(&case.name, inputs, &output, plan, seconds, elapsed, peak)
}
