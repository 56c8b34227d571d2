//! `scanside-train report`: compares the runs of a work folder with their teacher.

use super::validate::validation_cases;
use super::{note, print, runs};
use crate::exit::Exit;
use crate::report::family::{Family, page};
use crate::report::run::RunFolder;
use crate::validate::ValidationCase;
use crate::work::Work;
use clap::Args;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::output;
use std::path::{Path, PathBuf};

/// Options of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The work folder; its validated runs are compared.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// The page to write [default: WORK/report.html].
    #[arg(short, long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
    /// The run that others are compared with: its folder, or its name in the work folder [default: the teacher of the
    /// students].
    #[arg(short, long, value_name = "RUN")]
    pub teacher: Option<PathBuf>,
    /// Print one JSON document with every number of the page.
    #[arg(long)]
    pub json: bool,
}

/// Compares, and writes the page.
///
/// # Errors
/// As [`Family::read`]; the given teacher is not a run; the page cannot be written.
pub fn run(args: &ReportArgs) -> Result<Exit, Error> {
    let work = Work::new(&args.work);
    let teacher = match &args.teacher {
        None => None,
        Some(given) => Some(runs::find(&work, given).ok_or_else(|| {
            let sentence =
                format!("{} is neither the folder of a run nor a run of {}", given.display(), args.work.display());
            Error::new(ErrorKind::Model, sentence)
        })?),
    };
    let target = args.output.clone().unwrap_or_else(|| work.page());
    let family = write(&work, teacher.as_ref(), &target)?;
    let document = family.document();
    for left in &document.left_out {
        note!("{} is not compared: {}", left.run, left.reason);
    }
    if args.json {
        print(&serde_json::to_string_pretty(document).or_error(ErrorKind::Internal)?)?;
    } else {
        print(&target.display().to_string())?;
    }
    Ok(Exit::Done)
}

/// Compares the runs with `teacher`, or with the teacher of the students, and writes the page.
///
/// # Errors
/// As [`run`].
pub(super) fn write(work: &Work, teacher: Option<&RunFolder>, target: &Path) -> Result<Family, Error> {
    let family = Family::read(work, teacher)?;
    let cases = raw_cases(work, &family.document().settings.fold).unwrap_or_else(|error| {
        note!("the page has no pictures of cases: {}", error.chain());
        Vec::new()
    });
    output::write_whole(target, page::render(&family, &cases)?.as_bytes())?;
    Ok(family)
}

/// The raw files of a fold's validation cases, which only pictures need.
fn raw_cases(work: &Work, fold: &str) -> Result<Vec<ValidationCase>, Error> {
    validation_cases(work, fold.parse().or_error_with(ErrorKind::Input, || format!("{fold:?} is not a fold"))?)
}
