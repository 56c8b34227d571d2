//! `scanside-train distill`: trains students of a teacher.

mod args;
mod budget;
mod import_teacher;
mod students;
mod teacher_sources;

pub use args::{DistillArgs, LossChoice, SoftLabelChoice};

use super::evaluate::evaluate;
use super::progress_lines::ProgressLines;
use super::{note, print, report, runs};
use crate::dataset::splits::Split;
use crate::distill::signal::TeacherSignal;
use crate::distill::soft_labels::SoftLabelFolder;
use crate::distill::source::{TeacherNetwork, TeacherSource, check_leaks};
use crate::distill::teachers::Teachers;
use crate::distill::train::{self, Distillation};
use crate::exit::Exit;
use crate::export::tensors::sha256;
use crate::plan::TrainingPlan;
use crate::report::run::RunFolder;
use crate::training::batches;
use crate::training::settings::TrainingContext;
use crate::work::Work;
use import_teacher::{TeacherFacts, import};
use scanside_app::error::Error;
use scanside_app::interrupt::Stop;

/// Runs the command.
///
/// # Errors
/// A teacher cannot be read, does not fit, or was trained on validation cases of the students; and as [`train::train`].
pub fn run(args: &DistillArgs, stop: &Stop) -> Result<Exit, Error> {
    let mut settings = args.training.settings(Some(args.ema))?;
    settings.autograd = args.has(LossChoice::Jacobian);
    let work = Work::new(&args.training.work);
    let plan = TrainingPlan::read(&work)?;
    let split = batches::split(&work, &settings)?;
    let context = TrainingContext { work: &work, plan: &plan, settings: &settings, resume: args.training.resume, stop };
    let labelled = args.labelled(&split)?;
    let (sources, teachers) = read_teachers(args, &context, &split)?;
    let mut students = students::of(args, &plan, &sources, &teachers)?;
    print(&students::table(&plan, &students))?;
    if let Some(budget) = args.budget {
        students = budget::keep_within(&context, students, budget, args.training.threads)?;
    }
    let mut signal = signal(args, &context, &split, sources)?;
    let losses = args.losses(&plan);
    let distillation = Distillation { context, students: &students, losses: &losses, labelled: labelled.as_deref() };
    let trained = train::train(&distillation, &mut signal, &mut ProgressLines::default())?;
    let folders: Vec<RunFolder> = trained.iter().map(|run| run.folder().clone()).collect();
    // The evaluation needs memory, too.
    drop((trained, signal));
    let exit = match args.training.no_validation {
        true => Exit::Done,
        false => evaluate_and_compare(&work, teachers, &folders, args.training.threads, stop)?,
    };
    for folder in &folders {
        print(&folder.page().display().to_string())?;
    }
    Ok(exit)
}

/// The networks of the teachers, and their runs; those of other programs are imported.
fn read_teachers(
    args: &DistillArgs,
    context: &TrainingContext<'_>,
    split: &Split,
) -> Result<(Vec<TeacherSource>, Vec<RunFolder>), Error> {
    let TrainingContext { work, plan, .. } = *context;
    let mut sources = Vec::new();
    let mut trained_on = Vec::new();
    for given in &args.teacher {
        let networks = teacher_sources::read(work, plan, given)?;
        trained_on.push(teacher_sources::training_cases(&networks));
        sources.extend(networks);
    }
    check_leaks(&sources, &split.val, args.trust_teacher)?;
    for source in &sources {
        if let TeacherNetwork::Model(file) = &source.network {
            file.check_fits(plan)?;
        }
    }
    let mut teachers = Vec::new();
    for (given, trained_on) in args.teacher.iter().zip(&trained_on) {
        teachers.push(match runs::find(work, given) {
            Some(run) => run,
            None => {
                let facts = TeacherFacts { fold: args.training.fold, split, trained_on: trained_on.as_deref() };
                import(work, plan, given, &facts)?
            }
        });
    }
    Ok((sources, teachers))
}

fn signal(
    args: &DistillArgs,
    context: &TrainingContext<'_>,
    split: &Split,
    sources: Vec<TeacherSource>,
) -> Result<TeacherSignal, Error> {
    let hashes: Vec<String> = sources.iter().map(|source| source.network.sha256()).collect();
    let mut teachers = Teachers::new(sources, context.plan, context.settings)?;
    Ok(match args.soft_labels {
        SoftLabelChoice::Online => TeacherSignal::PerPatch(teachers),
        SoftLabelChoice::Cached => {
            let progress = &mut |i: usize, n: usize, id: &str| note!("soft labels {}/{n}: {id}", i + 1);
            let hash = sha256(&hashes.join(" "));
            TeacherSignal::Cached(SoftLabelFolder::fill(context, &split.train, &mut teachers, &hash, progress)?)
        }
    })
}

/// Evaluates the students, and their teachers where nobody did yet, and writes the page that compares them.
fn evaluate_and_compare(
    work: &Work,
    teachers: Vec<RunFolder>,
    students: &[RunFolder],
    threads: Option<u16>,
    stop: &Stop,
) -> Result<Exit, Error> {
    let unknown = teachers.into_iter().filter(|teacher| !teacher.validation().is_file());
    let runs: Vec<RunFolder> = unknown.chain(students.iter().cloned()).collect();
    let exit = evaluate(work, &runs, threads, stop)?;
    match report::write(work, None, &work.page()) {
        Ok(_) => print(&work.page().display().to_string())?,
        Err(error) => note!("the students cannot be compared with their teacher: {}", error.chain()),
    }
    Ok(exit)
}
