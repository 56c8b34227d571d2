//! The students that `distill` is asked to train.

use super::args::{DistillArgs, LossChoice, SoftLabelChoice};
use crate::distill::feature;
use crate::distill::source::{TeacherNetwork, TeacherSource};
use crate::distill::student::{StudentSpec, StudentWidth};
use crate::network::Feature;
use crate::plan::{Cost, TrainingPlan};
use crate::report::run::{RunFacts, RunFolder};
use crate::training::settings::{InitialWeights, ProjectionSettings, RunSpec};
use scanside_app::error::{Error, ErrorKind};
use scanside_core::nnunet::architecture::UNet;
use std::collections::BTreeMap;

/// The loss of students that learn from the labels alone.
const LABEL_LOSS: &str = "Dice + cross entropy, deep supervision";

/// The students that the arguments ask for. `sources` are the teachers' networks, `teachers` their runs.
///
/// # Errors
/// The arguments contradict each other or the teachers.
pub(super) fn of(
    args: &DistillArgs,
    plan: &TrainingPlan,
    sources: &[TeacherSource],
    teachers: &[RunFolder],
) -> Result<Vec<StudentSpec>, Error> {
    let names = teachers.iter().map(|run| Ok(RunFacts::read(run)?.name)).collect::<Result<Vec<String>, Error>>()?;
    let feature_teacher = feature_teacher(args, sources)?;
    let suffix = suffix(args);
    let mut students = Vec::new();
    for &divisor in &args.family {
        if divisor == 0 {
            return Err(Error::new(ErrorKind::Usage, "--family: channels cannot be divided by 0"));
        }
        let width = StudentWidth { divisor: divisor.into(), floor: args.floor.into(), light_top: args.light_top };
        // The plan's network is made narrower, not the teacher's, which may be wider than the plan's.
        let unet = width.of(&plan.unet);
        let spec = |name: String, notes: Vec<(&str, String)>, projections| RunSpec {
            name,
            unet: unet.clone(),
            initial_weights: InitialWeights::Random,
            projections,
            notes: notes.into_iter().map(|(key, text)| (key.to_string(), text)).collect::<BTreeMap<_, _>>(),
        };
        let projections = feature_teacher.map_or_else(Vec::new, |teacher| projections(teacher, &unet));
        let notes = vec![
            ("loss", format!("{LABEL_LOSS}; {}", losses(args).join(", "))),
            ("teacher", names.join("; ")),
            ("teacher_speaks", signal_note(args.soft_labels).to_string()),
        ];
        let run = spec(format!("{}{suffix}", width.name()), notes, projections);
        students.push(StudentSpec { run, distilled: true });
        if args.ablation {
            let notes = vec![("loss", LABEL_LOSS.to_string())];
            let run = spec(format!("{}-plain{suffix}", width.name()), notes, Vec::new());
            students.push(StudentSpec { run, distilled: false });
        }
    }
    if students.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("--family names no student of {}", names.join("; "))));
    }
    Ok(students)
}

/// The end of the students' names: what distinguishes this training from others.
fn suffix(args: &DistillArgs) -> String {
    let mut suffix = format!("_fold_{}", args.training.fold);
    if args.training.seed != 0 {
        suffix += &format!("_seed_{}", args.training.seed);
    }
    if let Some(count) = args.labelled {
        suffix += &format!("_labelled_{count}");
    }
    suffix
}

/// The value of the note `teacher_speaks`, which `run.json` and the check on resuming compare.
fn signal_note(choice: SoftLabelChoice) -> &'static str {
    match choice {
        SoftLabelChoice::Online => "of every patch",
        SoftLabelChoice::Cached => "of whole cases, once",
    }
}

fn losses(args: &DistillArgs) -> Vec<String> {
    let text = |loss: &LossChoice| match loss {
        LossChoice::Logit => format!("logit (weight {}, temperature {})", args.logit_weight, args.temperature),
        LossChoice::Gradient => format!("gradient (weight {})", args.gradient_weight),
        LossChoice::Feature => format!("feature (weight {})", args.feature_weight),
        LossChoice::Jacobian => format!("jacobian (weight {})", args.jacobian_weight),
    };
    args.losses.iter().map(text).collect()
}

fn projections(teacher: &UNet, student: &UNet) -> Vec<ProjectionSettings> {
    let projection = |feature: Feature| ProjectionSettings {
        feature,
        student_channels: feature.channels(student),
        teacher_channels: feature.channels(teacher),
    };
    feature::compared(teacher.decoder_convs.len()).into_iter().map(projection).collect()
}

/// The network of the only teacher, if students are to learn from its features.
fn feature_teacher<'a>(args: &DistillArgs, sources: &'a [TeacherSource]) -> Result<Option<&'a UNet>, Error> {
    let usage = |sentence: &'static str| Err(Error::new(ErrorKind::Usage, sentence));
    let (feature, jacobian) = (args.has(LossChoice::Feature), args.has(LossChoice::Jacobian));
    if !feature && !jacobian {
        return Ok(None);
    }
    if feature && jacobian {
        return usage("--losses: feature and jacobian cannot be combined");
    }
    if args.soft_labels == SoftLabelChoice::Cached {
        return usage("--losses feature and jacobian need --soft-labels online");
    }
    match sources {
        [TeacherSource { network: TeacherNetwork::Trained(trained), .. }] => Ok(feature.then(|| trained.unet())),
        _ => usage(
            "--losses feature and jacobian need exactly one teacher: a run, or an nnU-Net model folder with one fold",
        ),
    }
}

/// A table of the networks' costs.
pub(super) fn table(plan: &TrainingPlan, students: &[StudentSpec]) -> String {
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
    row("the plan's network", whole);
    for student in students {
        row(&student.run.name, Cost::of(&student.run.unet, &plan.patch_zyx));
    }
    text
}
