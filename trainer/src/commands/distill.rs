//! `scanside-train distill`: one teacher, a family of students.

use super::runs::{self, WhichWeights};
use super::say;
use super::schedule::{ScheduleArgs, decay, positive};
use super::teacher::{Lines, finished};
use crate::dataset::random::RandomState;
use crate::dataset::splits;
use crate::distill::boundary::BoundarySettings;
use crate::distill::family::{self, Lesson, Pupil};
use crate::distill::logit::LogitSettings;
use crate::distill::ramp::Ramp;
use crate::distill::source::{TeacherSource, check_leaks, seen_by_fold};
use crate::distill::student::Student;
use crate::distill::teachers::Teachers;
use crate::export::TrainedNetwork;
use crate::export::plans::Described;
use crate::plan::{Cost, TrainingPlan};
use crate::report::run::{RunFacts, RunFolder};
use crate::training::patches;
use crate::training::settings::{Member, Start};
use crate::work::{Work, read_text};
use clap::{Args, ValueEnum};
use scanside::exit::{Exit, Failure, OrExit};
use scanside::model::DEFAULT_CHECKPOINT;
use scanside_core::nnunet;
use scanside_core::nnunet::checkpoint::Checkpoint;
use scanside_core::nnunet::layers::Layers;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Train narrow students of a teacher, side by side: by its labels, its probabilities and their edges.
#[derive(Args, Debug)]
pub struct DistillArgs {
    /// Work folder that `scanside-train plan` made.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Teachers: training runs (folders, or names in the work folder) or nnU-Net v2 model folders (all folds in them). The
    /// probabilities of several are averaged.
    #[arg(short, long, value_name = "RUN|NNUNET_FOLDER", num_args = 1.., required = true)]
    pub teacher: Vec<PathBuf>,
    /// Students: by how much the teacher's channels are divided.
    #[arg(long, value_name = "R", value_delimiter = ',', default_value = "2,4,8")]
    pub family: Vec<u8>,
    /// But no stage has fewer channels than this.
    #[arg(long, value_name = "CHANNELS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub floor: u16,
    /// The last decoder stage of students has one convolution instead of the plan's.
    #[arg(long)]
    pub light_top: bool,
    /// What students learn from their teachers beside the labels.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "logit,gradient")]
    pub losses: Vec<LossChoice>,
    /// Train every student a second time without its teachers, on the same patches, for comparison.
    #[arg(long)]
    pub ablation: bool,
    /// Use the labels of so many training cases only, chosen by the seed; on the others the teachers alone speak.
    #[arg(long, value_name = "CASES", value_parser = clap::value_parser!(u32).range(1..))]
    pub labelled: Option<u32>,
    /// Divides logits before probabilities are compared.
    #[arg(long, value_name = "T", default_value_t = 2.0, value_parser = positive)]
    pub temperature: f64,
    /// What the teachers' probabilities count beside the labels' loss.
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = positive)]
    pub logit_weight: f64,
    /// What the edges of these probabilities count.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.5, value_parser = positive)]
    pub gradient_weight: f64,
    /// Take teachers of which it is not known what they were trained on.
    #[arg(long)]
    pub trust_teacher: bool,
    /// What one step keeps of the averaged weights, which are watched, validated and exported.
    #[arg(long, value_name = "DECAY", default_value_t = 0.999, value_parser = decay)]
    pub ema: f64,
    /// How long, on what, and from which random numbers; runs of other seeds than 0 have theirs in their names.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

/// What students learn from their teachers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LossChoice {
    /// The teachers' probabilities, voxel by voxel.
    Logit,
    /// How these change in space, on the teachers' edges.
    Gradient,
}

/// Runs the command.
///
/// # Errors
/// A teacher cannot be read, does not fit, or knows what students are judged by; and as [`family::train`].
pub fn run(args: &DistillArgs) -> Result<Exit, Failure> {
    let settings = args.schedule.settings(Some(args.ema))?;
    let work = Work::new(&args.work);
    let plan = TrainingPlan::read(&work)?;
    let split = patches::split(&work, &settings)?;
    let mut sources = Vec::new();
    for teacher in &args.teacher {
        sources.extend(sources_of(&work, &plan, teacher)?);
    }
    check_leaks(&sources, &split.val, args.trust_teacher)?;
    let labelled = match args.labelled {
        None => None,
        Some(count) if (count as usize) < split.train.len() => {
            Some(choose(&split.train, count as usize, args.schedule.seed as u32))
        }
        Some(count) => {
            return Err(Failure::says(
                Exit::Usage,
                format!("--labelled {count}: the fold trains on {} cases", split.train.len()),
            ));
        }
    };
    let pupils = pupils(args, &plan, &sources)?;
    say(&table(&plan, &pupils));
    let has = |choice| args.losses.contains(&choice);
    let lesson = Lesson {
        logit: has(LossChoice::Logit)
            .then(|| (LogitSettings { temperature: args.temperature, ..LogitSettings::default() }, args.logit_weight)),
        boundary: has(LossChoice::Gradient).then(|| (BoundarySettings::new(plan.spacing_mm), args.gradient_weight)),
        ramp: Ramp::default(),
    };
    let mut teachers = Teachers::new(&sources, &plan, &settings)?;
    let mut lines = Lines::default();
    let courses = family::train(
        &work,
        &plan,
        &settings,
        &pupils,
        &mut teachers,
        &lesson,
        labelled.as_deref(),
        args.schedule.resume,
        &mut lines,
    )?;
    let runs: Vec<RunFolder> = courses.iter().map(|course| course.folder().clone()).collect();
    say(&finished(&work, &runs));
    Ok(Exit::Done)
}

/// Some of the training cases, in their order.
fn choose(ids: &[String], count: usize, seed: u32) -> Vec<String> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    RandomState::new(seed).shuffle(&mut order);
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|i| ids[i].clone()).collect()
}

/// The networks of a run or a model folder.
fn sources_of(work: &Work, plan: &TrainingPlan, given: &Path) -> Result<Vec<TeacherSource>, Failure> {
    if let Some(run) = runs::find(work, given) {
        let trained = runs::read(&run, WhichWeights::Auto)?;
        let facts = RunFacts::read(&run)?;
        let seen = (facts.dataset == plan.dataset_name).then_some(facts.training_cases);
        return Ok(vec![TeacherSource { name: facts.name, network: trained.network, seen }]);
    }
    if !nnunet::is_model_folder(given) {
        return Err(Failure::says(
            Exit::BadModel,
            format!("{} is neither a training run nor an nnU-Net v2 model folder", given.display()),
        ));
    }
    let read = |name: &str| read_text(&given.join(name));
    let (plans, dataset) = (read("plans.json")?, read("dataset.json")?);
    let ids = patches::prepared_ids(work)?;
    let known = splits::read(&work.splits(), &ids)?;
    let mut sources = Vec::new();
    for fold in nnunet::folds_of(given, DEFAULT_CHECKPOINT).or_exit(Exit::BadModel)? {
        let path = given.join(format!("fold_{fold}")).join(DEFAULT_CHECKPOINT);
        let mut checkpoint = Checkpoint::open(&path).or_exit(Exit::BadModel)?;
        let (configuration, trainer) = (checkpoint.configuration().to_string(), checkpoint.trainer_name().to_string());
        let described = Described::read(&plans, &dataset, &configuration, &trainer)?;
        let mut weights = BTreeMap::new();
        for tensor in Layers::of(&described.unet).expected() {
            let values = checkpoint.read_f32(tensor.name()).or_exit(Exit::BadModel)?;
            weights.insert(tensor.names[0].clone(), (tensor.shape, values));
        }
        let network = TrainedNetwork::new(described.unet, weights)?;
        let seen = seen_by_fold(&described.plans.dataset_name, &plan.dataset_name, fold, &known, &ids)?;
        sources.push(TeacherSource { name: format!("{}, fold {fold}", given.display()), network, seen });
    }
    Ok(sources)
}

fn pupils(args: &DistillArgs, plan: &TrainingPlan, sources: &[TeacherSource]) -> Result<Vec<Pupil>, Failure> {
    let teacher = sources.first().ok_or_else(|| Failure::says(Exit::BadModel, "there is no teacher"))?;
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let mut suffix = format!("_fold_{}", args.schedule.fold);
    if args.schedule.seed != 0 {
        suffix += &format!("_seed_{}", args.schedule.seed);
    }
    if let Some(count) = args.labelled {
        suffix += &format!("_labelled_{count}");
    }
    let mut losses: Vec<String> = Vec::new();
    for loss in &args.losses {
        losses.push(match loss {
            LossChoice::Logit => format!("logit (weight {}, temperature {})", args.logit_weight, args.temperature),
            LossChoice::Gradient => format!("gradient (weight {})", args.gradient_weight),
        });
    }
    let mut pupils = Vec::new();
    for &divisor in &args.family {
        if divisor == 0 {
            return Err(Failure::says(Exit::Usage, "--family: channels cannot be divided by 0"));
        }
        let student = Student { divisor: divisor.into(), floor: args.floor.into(), light_top: args.light_top };
        // The student is the plan's network made narrow as its teacher would be: a wider teacher may teach it.
        let unet = student.of(&plan.unet);
        let note = |key: &str, text: String| (key.to_string(), text);
        let notes = BTreeMap::from([
            note("loss", format!("Dice + cross entropy, deep supervision; {}", losses.join(", "))),
            note("teacher", names.join("; ")),
        ]);
        let member =
            Member { name: format!("{}{suffix}", student.name()), unet: unet.clone(), start: Start::Fresh, notes };
        pupils.push(Pupil { member, distilled: true });
        if args.ablation {
            let notes = BTreeMap::from([note("loss", "Dice + cross entropy, deep supervision".into())]);
            let member = Member { name: format!("{}-plain{suffix}", student.name()), unet, start: Start::Fresh, notes };
            pupils.push(Pupil { member, distilled: false });
        }
    }
    if pupils.is_empty() {
        return Err(Failure::says(Exit::Usage, format!("--family names no student of {}", teacher.name)));
    }
    Ok(pupils)
}

/// What each network costs.
fn table(plan: &TrainingPlan, pupils: &[Pupil]) -> String {
    let whole = Cost::of(&plan.unet, &plan.patch_zyx);
    let mut text = format!("{:<32} {:>12} {:>8} {:>10} {:>8}\n", "network", "parameters", "saved", "GMAC", "saved");
    let mut row = |name: &str, cost: Cost| {
        let saved = |part: u64, all: u64| 100.0 * (1.0 - part as f64 / all as f64);
        text += &format!(
            "{name:<32} {:>12} {:>7.1}% {:>10.2} {:>7.1}%\n",
            cost.parameters,
            saved(cost.parameters, whole.parameters),
            cost.macs as f64 / 1e9,
            saved(cost.macs, whole.macs)
        );
    };
    row("the plan's own", whole);
    for pupil in pupils {
        row(&pupil.member.name, Cost::of(&pupil.member.unet, &plan.patch_zyx));
    }
    text
}
