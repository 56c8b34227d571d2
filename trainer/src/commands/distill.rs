//! `scanside-train distill`: one teacher, a family of students.

use super::adopt::adopt;
use super::budget::keep_within;
use super::judge::judge;
use super::runs::{self, WhichWeights};
use super::schedule::{ScheduleArgs, decay, positive};
use super::teacher::Lines;
use super::{report, say};
use crate::dataset::random::RandomState;
use crate::dataset::splits;
use crate::distill::boundary::BoundarySettings;
use crate::distill::family::{self, Lesson, Pupil, Speech};
use crate::distill::feature::places;
use crate::distill::logit::LogitSettings;
use crate::distill::model_teacher::ModelFile;
use crate::distill::ramp::Ramp;
use crate::distill::source::{TeacherNetwork, TeacherSource, check_leaks, seen_by_file, seen_by_fold};
use crate::distill::student::Student;
use crate::distill::teachers::Teachers;
use crate::distill::whole_case::SoftFolder;
use crate::exit::Exit;
use crate::export::TrainedNetwork;
use crate::export::plans::Described;
use crate::export::tensors::sha256;
use crate::network::Feature;
use crate::plan::{Cost, TrainingPlan};
use crate::report::run::{RunFacts, RunFolder};
use crate::training::patches;
use crate::training::settings::{LiftSettings, Member, Start};
use crate::work::{Work, read_text};
use clap::{Args, ValueEnum};
use scanside_app::choose::Budget;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::model::DEFAULT_CHECKPOINT;
use scanside_core::nnunet;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::checkpoint::Checkpoint;
use scanside_core::nnunet::layers::Layers;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Train narrow students of a teacher, side by side: by its labels, its probabilities and their edges.
#[derive(Args, Debug)]
pub struct DistillArgs {
    /// Work folder that `scanside-train plan` made.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Teachers: training runs (folders, or names in the work folder), nnU-Net v2 model folders (all folds in them), or
    /// self-describing ONNX files of any network. The probabilities of several are averaged.
    #[arg(short, long, value_name = "RUN|NNUNET_FOLDER|MODEL", num_args = 1.., required = true)]
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
    /// What the teacher's activations count, where they matter to it.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.05, value_parser = positive)]
    pub feature_weight: f64,
    /// What counts how the answer changes with the image.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.05, value_parser = positive)]
    pub jacobian_weight: f64,
    /// Train those students only that segment the dataset's largest case in this time and memory on this machine, from file
    /// to file: latency=20s,ram=1G, or one of them.
    #[arg(long, value_name = "BUDGET", value_parser = super::budget::parse)]
    pub budget: Option<Budget>,
    /// When teachers are asked: about every patch as its student sees it, or once about every whole case, mirrored and tile by
    /// tile. The answers are kept, and training costs what the students cost; features need the former.
    #[arg(long, value_enum, default_value_t = SoftLabelChoice::Online)]
    pub soft_labels: SoftLabelChoice,
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

/// When teachers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SoftLabelChoice {
    /// About every patch.
    Online,
    /// Once about every case.
    Cached,
}

/// What students learn from their teachers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LossChoice {
    /// The teachers' probabilities, voxel by voxel.
    Logit,
    /// How these change in space, on the teachers' edges.
    Gradient,
    /// How the answer changes with the image (Sobolev training): for comparison, several times as slow, without features.
    Jacobian,
    /// The teacher's activations, weighted by the gradient of its own loss: one teacher, and it is asked for more.
    Feature,
}

/// Runs the command.
///
/// # Errors
/// A teacher cannot be read, does not fit, or knows what students are judged by; and as [`family::train`].
pub fn run(args: &DistillArgs) -> Result<Exit, Error> {
    let mut settings = args.schedule.settings(Some(args.ema))?;
    settings.autograd = args.losses.contains(&LossChoice::Jacobian);
    let work = Work::new(&args.work);
    let plan = TrainingPlan::read(&work)?;
    let split = patches::split(&work, &settings)?;
    let mut sources = Vec::new();
    let mut seen = Vec::new();
    for teacher in &args.teacher {
        let networks = sources_of(&work, &plan, teacher)?;
        seen.push(seen_by_all(&networks));
        sources.extend(networks);
    }
    check_leaks(&sources, &split.val, args.trust_teacher)?;
    let labelled = match args.labelled {
        None => None,
        Some(count) if (count as usize) < split.train.len() => {
            Some(choose(&split.train, count as usize, args.schedule.seed as u32))
        }
        Some(count) => {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("--labelled {count}: the fold trains on {} cases", split.train.len()),
            ));
        }
    };
    for source in &sources {
        if let TeacherNetwork::Model(file) = &source.network {
            file.check_fits(&plan)?;
        }
    }
    let mut teachers = Vec::new();
    for (given, seen) in args.teacher.iter().zip(&seen) {
        teachers.push(match runs::find(&work, given) {
            Some(run) => run,
            None => adopt(&work, &plan, given, args.schedule.fold, &split, seen.as_deref())?,
        });
    }
    let mut pupils = pupils(args, &plan, &sources, &teachers)?;
    say(&table(&plan, &pupils));
    if let Some(budget) = args.budget {
        pupils = keep_within(&work, &plan, pupils, budget, args.schedule.threads, args.schedule.resume)?;
    }
    let has = |choice| args.losses.contains(&choice);
    let lesson = Lesson {
        logit: has(LossChoice::Logit)
            .then(|| (LogitSettings { temperature: args.temperature, ..LogitSettings::default() }, args.logit_weight)),
        boundary: has(LossChoice::Gradient).then(|| (BoundarySettings::new(plan.spacing_mm), args.gradient_weight)),
        feature: has(LossChoice::Feature).then_some(args.feature_weight),
        jacobian: has(LossChoice::Jacobian).then_some(args.jacobian_weight),
        ramp: Ramp::default(),
    };
    let sha256 = sha256(&sources.iter().map(|source| source.network.sha256()).collect::<Vec<_>>().join(" "));
    let mut asked = Teachers::new(sources, &plan, &settings)?;
    let mut speech = match args.soft_labels {
        SoftLabelChoice::Online => Speech::Online(asked),
        SoftLabelChoice::Cached => {
            let told = &mut |i: usize, n: usize, id: &str| eprintln!("soft labels {}/{n}: {id}", i + 1);
            let train = &split.train;
            Speech::Cached(SoftFolder::fill(&work, &plan, train, &mut asked, &sha256, settings.device, told)?)
        }
    };
    let mut lines = Lines::default();
    let courses = family::train(
        &work,
        &plan,
        &settings,
        &pupils,
        &mut speech,
        &lesson,
        labelled.as_deref(),
        args.schedule.resume,
        &mut lines,
    )?;
    let students: Vec<RunFolder> = courses.iter().map(|course| course.folder().clone()).collect();
    // Validating takes memory too.
    drop((courses, speech));
    let mut exit = Exit::Done;
    if !args.schedule.no_validation {
        // Before the students what they are compared with, if nobody judged that yet.
        let unknown = teachers.into_iter().filter(|teacher| !teacher.validation().is_file());
        let runs: Vec<RunFolder> = unknown.chain(students.iter().cloned()).collect();
        exit = judge(&work, &runs, args.schedule.threads)?;
        match report::write(&work, None, &work.page()) {
            Ok(_) => say(&work.page().display().to_string()),
            Err(failure) => eprintln!("the students are not compared with their teacher: {}", failure.chain()),
        }
    }
    for student in &students {
        say(&student.page().display().to_string());
    }
    Ok(exit)
}

/// The cases that networks were trained on, if that is known of all.
fn seen_by_all(networks: &[TeacherSource]) -> Option<Vec<String>> {
    let cases: Option<Vec<&Vec<String>>> = networks.iter().map(|network| network.seen.as_ref()).collect();
    let cases: BTreeSet<&String> = cases?.into_iter().flatten().collect();
    Some(cases.into_iter().cloned().collect())
}

/// Some of the training cases, in their order.
fn choose(ids: &[String], count: usize, seed: u32) -> Vec<String> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    RandomState::new(seed).shuffle(&mut order);
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|i| ids[i].clone()).collect()
}

/// The networks of a run, a model folder or a model file.
fn sources_of(work: &Work, plan: &TrainingPlan, given: &Path) -> Result<Vec<TeacherSource>, Error> {
    if let Some(run) = runs::find(work, given) {
        let facts = RunFacts::read(&run)?;
        let known = facts.dataset == plan.dataset_name && !facts.training_cases.is_empty();
        let seen = known.then_some(facts.training_cases);
        if let Some(model) = runs::taken_over(&run) {
            let network = TeacherNetwork::Model(Box::new(ModelFile::read(&model)?));
            return Ok(vec![TeacherSource { name: facts.name, network, seen }]);
        }
        let trained = runs::read(&run, WhichWeights::Auto)?;
        return Ok(vec![TeacherSource { name: facts.name, network: TeacherNetwork::Trained(trained.network), seen }]);
    }
    let ids = patches::prepared_ids(work)?;
    let known = splits::read(&work.splits(), &ids)?;
    if given.is_file() {
        let file = ModelFile::read(given)?;
        let seen = seen_by_file(&file.manifest().provenance, &plan.dataset_name, &known, &ids)?;
        let network = TeacherNetwork::Model(Box::new(file));
        return Ok(vec![TeacherSource { name: given.display().to_string(), network, seen }]);
    }
    if !nnunet::is_model_folder(given) {
        return Err(Error::new(
            ErrorKind::Model,
            format!("{} is neither a training run, nor an nnU-Net v2 model folder, nor a model file", given.display()),
        ));
    }
    let read = |name: &str| read_text(&given.join(name));
    let (plans, dataset) = (read("plans.json")?, read("dataset.json")?);
    let mut sources = Vec::new();
    for fold in nnunet::folds_of(given, DEFAULT_CHECKPOINT).or_error(ErrorKind::Model)? {
        let path = given.join(format!("fold_{fold}")).join(DEFAULT_CHECKPOINT);
        let mut checkpoint = Checkpoint::open(&path).or_error(ErrorKind::Model)?;
        let (configuration, trainer) = (checkpoint.configuration().to_string(), checkpoint.trainer_name().to_string());
        let described = Described::read(&plans, &dataset, &configuration, &trainer)?;
        let mut weights = BTreeMap::new();
        for tensor in Layers::of(&described.unet).expected() {
            let values = checkpoint.read_f32(tensor.name()).or_error(ErrorKind::Model)?;
            weights.insert(tensor.names[0].clone(), (tensor.shape, values));
        }
        let network = TeacherNetwork::Trained(TrainedNetwork::new(described.unet, weights)?);
        let seen = seen_by_fold(&described.plans.dataset_name, &plan.dataset_name, fold, &known, &ids)?;
        sources.push(TeacherSource { name: format!("{}, fold {fold}", given.display()), network, seen });
    }
    Ok(sources)
}

fn pupils(
    args: &DistillArgs,
    plan: &TrainingPlan,
    sources: &[TeacherSource],
    teachers: &[RunFolder],
) -> Result<Vec<Pupil>, Error> {
    let names = teachers.iter().map(|run| Ok(RunFacts::read(run)?.name)).collect::<Result<Vec<String>, Error>>()?;
    let mut suffix = format!("_fold_{}", args.schedule.fold);
    if args.schedule.seed != 0 {
        suffix += &format!("_seed_{}", args.schedule.seed);
    }
    if let Some(count) = args.labelled {
        suffix += &format!("_labelled_{count}");
    }
    let speaks = match args.soft_labels {
        SoftLabelChoice::Online => "of every patch",
        SoftLabelChoice::Cached => "of whole cases, once",
    };
    let mut losses: Vec<String> = Vec::new();
    for loss in &args.losses {
        losses.push(match loss {
            LossChoice::Logit => format!("logit (weight {}, temperature {})", args.logit_weight, args.temperature),
            LossChoice::Gradient => format!("gradient (weight {})", args.gradient_weight),
            LossChoice::Feature => format!("feature (weight {})", args.feature_weight),
            LossChoice::Jacobian => format!("jacobian (weight {})", args.jacobian_weight),
        });
    }
    let taught = layers_of(args, sources)?;
    let mut pupils = Vec::new();
    for &divisor in &args.family {
        if divisor == 0 {
            return Err(Error::new(ErrorKind::Usage, "--family: channels cannot be divided by 0"));
        }
        let student = Student { divisor: divisor.into(), floor: args.floor.into(), light_top: args.light_top };
        // The student is the plan's network made narrow as its teacher would be: a wider teacher may teach it.
        let unet = student.of(&plan.unet);
        let note = |key: &str, text: String| (key.to_string(), text);
        let notes = BTreeMap::from([
            note("loss", format!("Dice + cross entropy, deep supervision; {}", losses.join(", "))),
            note("teacher", names.join("; ")),
            note("teacher_speaks", speaks.to_string()),
        ]);
        let lift = |teacher: &UNet, feature: Feature| LiftSettings {
            feature,
            from: feature.channels(&unet),
            to: feature.channels(teacher),
        };
        let lifts = match taught {
            None => Vec::new(),
            Some(teacher) => places(teacher.decoder_convs.len()).into_iter().map(|f| lift(teacher, f)).collect(),
        };
        let name = format!("{}{suffix}", student.name());
        let member = Member { name, unet: unet.clone(), start: Start::Fresh, lifts, notes };
        pupils.push(Pupil { member, distilled: true });
        if args.ablation {
            let notes = BTreeMap::from([note("loss", "Dice + cross entropy, deep supervision".into())]);
            let name = format!("{}-plain{suffix}", student.name());
            let member = Member { name, unet, start: Start::Fresh, lifts: Vec::new(), notes };
            pupils.push(Pupil { member, distilled: false });
        }
    }
    if pupils.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("--family names no student of {}", names.join("; "))));
    }
    Ok(pupils)
}

/// The network of the only teacher, if its activations are asked for.
fn layers_of<'a>(args: &DistillArgs, sources: &'a [TeacherSource]) -> Result<Option<&'a UNet>, Error> {
    let usage = |sentence: &'static str| Err(Error::new(ErrorKind::Usage, sentence));
    let has = |choice| args.losses.contains(&choice);
    let (feature, jacobian) = (has(LossChoice::Feature), has(LossChoice::Jacobian));
    if !feature && !jacobian {
        return Ok(None);
    }
    if feature && jacobian {
        return usage("--losses: feature and jacobian go one at a time");
    }
    if args.soft_labels == SoftLabelChoice::Cached {
        return usage("--losses feature and jacobian need --soft-labels online");
    }
    match sources {
        [TeacherSource { network: TeacherNetwork::Trained(trained), .. }] => Ok(feature.then(|| trained.unet())),
        _ => usage("--losses feature and jacobian learn from one teacher, a run or an nnU-Net folder of one fold"),
    }
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
