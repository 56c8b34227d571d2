//! A family trained side by side: each batch and each answer of the teachers serves all members.

use super::boundary::{BoundarySettings, Edges};
use super::feature::{self, Held};
use super::jacobian;
use super::levels::Levels;
use super::logit::{Known, LogitSettings};
use super::ramp::Ramp;
use super::side_by_side::{self, Share};
use super::teachers::{Slopes, Teachers};
use super::whole_case::SoftFolder;
use crate::dataset::splits::Split;
use crate::loss::SegmentationLoss;
use crate::plan::TrainingPlan;
use crate::targets::{Heads, Targets};
use crate::training::course::{CROSS_ENTROPY, Clock, Course, DICE, label_terms};
use crate::training::patches::{self, FoldPatches, Patches};
use crate::training::settings::{Member, RunSettings};
use crate::training::step::{Seen, Term};
use crate::training::teacher::Progress;
use crate::work::Work;
use anyhow::{Context, Result as AnyResult, bail};
use scanside_app::error::{Error, ErrorKind, OrError};
use std::time::Instant;
use tch::{Device, TchError, Tensor};

/// Name of the logit term in logs.
pub const LOGIT: &str = "logit";
/// Name of the boundary term in logs.
pub const BOUNDARY: &str = "boundary";
/// Name of the feature term in logs.
pub const FEATURE: &str = "feature";
/// Name of the Jacobian's term in logs.
pub const JACOBIAN: &str = "jacobian";

/// Steps between two measurements of how strongly each term pulls.
const WEIGH_EVERY: usize = 25;

/// Patches without labels are drawn by other random numbers than those with.
const UNLABELLED_SEED: u64 = 0x5851_f42d_4c95_7f2d;

/// What students learn from their teachers.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The teachers' probabilities, and what they count.
    pub logit: Option<(LogitSettings, f64)>,
    /// How these change in space, and what that counts.
    pub boundary: Option<(BoundarySettings, f64)>,
    /// What the teacher's activations count, where they matter to it.
    pub feature: Option<f64>,
    /// What counts how the answer changes with the image; needs [`RunSettings::autograd`], and goes without features.
    pub jacobian: Option<f64>,
    /// When all of these begin to count.
    pub ramp: Ramp,
}

/// How teachers speak.
#[derive(Debug)]
pub enum Speech {
    /// Of every patch, as the students see it.
    Online(Teachers),
    /// Of whole cases, once: their soft labels go with the patches.
    Cached(SoftFolder),
}

impl Speech {
    /// How many batches teachers have looked at.
    fn passes(&self) -> u64 {
        match self {
            Speech::Online(teachers) => teachers.passes(),
            Speech::Cached(_) => 0,
        }
    }
}

/// A member of the family.
#[derive(Clone, Debug)]
pub struct Pupil {
    /// Its network and folder.
    pub member: Member,
    /// It learns from the teachers too, not from the labels alone.
    pub distilled: bool,
}

/// Trains all pupils to the last epoch. With `resume` runs of their names go on; without, there must be none.
///
/// `labelled` names the training cases whose labels may be used; nothing: all. Where it is given, each step sees a batch of
/// these, and distilled pupils as many patches of all training cases beside it, on which the teachers alone speak.
///
/// # Errors
/// The work folder is not prepared, the settings contradict a run there is, something cannot be written, or the user
/// stopped the run.
#[allow(clippy::too_many_arguments)] // Where, what, by whom, and who watches.
pub fn train(
    work: &Work,
    plan: &TrainingPlan,
    settings: &RunSettings,
    pupils: &[Pupil],
    speech: &mut Speech,
    lesson: &Lesson,
    labelled: Option<&[String]>,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<Vec<Course>, Error> {
    let whole = patches::split(work, settings)?;
    let split = match labelled {
        None => whole.clone(),
        Some(ids) => Split { train: ids.to_vec(), val: whole.val.clone() },
    };
    // Networks that libtorch computes share its threads and its device, and the images that slopes are taken at.
    let alone = settings.autograd || settings.device != Device::Cpu;
    let share = Share::of(settings.threads, if alone { 1 } else { pupils.len() });
    share.split();
    let own = RunSettings { threads: share.threads, ..settings.clone() };
    let mut courses = Vec::with_capacity(pupils.len());
    for pupil in pupils {
        courses.push(Course::open(work, plan, &own, &split, &pupil.member, resume)?);
    }
    // A run that was killed between two checkpoints has members that are an epoch ahead; they wait.
    let first = courses.iter().map(Course::epochs_done).min().unwrap_or(0);
    for course in &courses {
        progress.begins(course.facts(), course.epochs_done());
    }
    let loss = SegmentationLoss::new(plan.targets.clone(), plan.batch_dice);
    let open = match speech {
        Speech::Online(_) => None,
        Speech::Cached(folder) => Some(folder.clone()),
    };
    let open = open.map(|folder| move |id: &str| folder.open(id));
    let open = open.as_ref().map(|open| open as &patches::OpenSoft<'_>);
    let mut patches = FoldPatches::new(work, plan, settings, &split, first, open)?;
    let mut unlabelled = match labelled {
        None => None,
        Some(_) => {
            let settings = RunSettings { seed: settings.seed ^ UNLABELLED_SEED, ..settings.clone() };
            Some(FoldPatches::new(work, plan, &settings, &Split { train: whole.train, val: Vec::new() }, first, open)?)
        }
    };
    let levels = Levels::of(&plan.unet);
    let steps = (settings.epochs * settings.steps_per_epoch) as u64;
    for epoch in first..settings.epochs {
        let (begun, waited, passes) = (Instant::now(), patches.waited(), speech.passes());
        let asked = active(&mut courses, pupils, epoch).any(|(_, pupil)| pupil.distilled);
        for step in 0..settings.steps_per_epoch {
            let batch = patches.next_batch()?;
            let heard = match asked {
                true => {
                    let more = unlabelled.as_mut().map(FoldPatches::next_batch).transpose()?;
                    let ask = match (lesson.feature, lesson.jacobian) {
                        (None, None) => Ask::Logits,
                        (Some(_), _) => Ask::Activations(&loss),
                        (None, Some(_)) => Ask::Slopes(settings.seed, (epoch * settings.steps_per_epoch + step) as u64),
                    };
                    // Networks wait while teachers speak.
                    share.gather();
                    let heard = Heard::new(&plan.targets, lesson, speech, &levels, &batch, more, ask);
                    share.split();
                    Some(heard.or_error(ErrorKind::DoesNotFit)?)
                }
                false => None,
            };
            let count = lesson.ramp.at((epoch * settings.steps_per_epoch + step) as u64, steps);
            let mut lessons = Vec::with_capacity(pupils.len());
            for (course, pupil) in active(&mut courses, pupils, epoch) {
                let heard = heard.as_ref().filter(|_| pupil.distilled).map(Heard::shallow_clone);
                lessons.push((course, batch.shallow_clone(), heard));
            }
            let values = side_by_side::each(share.at_once, lessons, |(course, batch, heard)| match heard {
                Some(heard) => course.step(epoch, &heard.images, step % WEIGH_EVERY == 0, |seen| {
                    let mut terms = label_terms(&loss, &of_batch(seen.logits, &batch)?, &batch.labels)?;
                    terms.extend(lesson.terms(&plan.targets.heads, seen, &heard, &batch, count)?);
                    Ok(terms)
                }),
                None => course.step(epoch, &batch.images, false, |seen| label_terms(&loss, seen.logits, &batch.labels)),
            });
            for ((course, _), value) in active(&mut courses, pupils, epoch).zip(values) {
                let facts = course.facts().clone();
                progress.step(&facts, epoch, step, &value?);
            }
        }
        active(&mut courses, pupils, epoch).try_for_each(|(course, _)| course.steps_done())?;
        patches.watch(|batch| {
            let watchers = active(&mut courses, pupils, epoch).map(|(course, _)| (course, batch.shallow_clone()));
            side_by_side::each(share.at_once, watchers.collect(), |(course, batch)| course.watch(&batch, &loss))
                .into_iter()
                .collect()
        })?;
        let clock = Clock {
            seconds: begun.elapsed().as_secs_f64(),
            wait_seconds: (patches.waited() - waited).as_secs_f64(),
            teacher_passes: speech.passes() - passes,
        };
        for (course, _) in active(&mut courses, pupils, epoch) {
            let record = course.end_epoch(epoch, clock)?;
            let facts = course.facts().clone();
            progress.epoch(&facts, &record);
        }
    }
    courses.iter_mut().try_for_each(Course::finish)?;
    Ok(courses)
}

/// Those who have not done this epoch yet.
fn active<'a>(
    courses: &'a mut [Course],
    pupils: &'a [Pupil],
    epoch: usize,
) -> impl Iterator<Item = (&'a mut Course, &'a Pupil)> {
    courses.iter_mut().zip(pupils).filter(move |(course, _)| course.epochs_done() <= epoch)
}

/// What belongs to the labelled patches, which come first.
fn of_batch(tensors: &[Tensor], batch: &Patches) -> Result<Vec<Tensor>, TchError> {
    let samples = batch.labels.size()[0];
    tensors.iter().map(|tensor| tensor.f_narrow(0, 0, samples)).collect()
}

/// Where teachers see something, `[n, z, y, x]`.
fn foreground(heads: &Heads, logits: &Tensor) -> Result<Tensor, TchError> {
    match heads {
        Heads::Labels(_) => logits.f_argmax(1, false)?.f_gt(0),
        Heads::Regions(_) => logits.f_gt(0)?.f_any_dim(1, false),
    }
}

/// What the teachers say of a batch.
struct Heard {
    /// The labelled patches, then those without labels.
    images: Tensor,
    /// Their probabilities, if these are learnt.
    known: Vec<Option<Known>>,
    /// How these change in space, if that is learnt.
    edges: Option<Edges>,
    /// What the teacher holds at the places of the lifts, of the labelled patches.
    held: Vec<Held>,
    /// How the teacher's answer changes with the images, if that was asked.
    slopes: Option<Slopes>,
}

/// What teachers are asked beside their logits.
enum Ask<'a> {
    /// Nothing.
    Logits,
    /// Their activations, and what these matter to their loss on the labels.
    Activations(&'a SegmentationLoss),
    /// How their answer changes with the image; the direction's seed and step.
    Slopes(u64, u64),
}

impl Heard {
    fn new(
        targets: &Targets,
        lesson: &Lesson,
        speech: &mut Speech,
        levels: &Levels,
        batch: &Patches,
        more: Option<Patches>,
        ask: Ask<'_>,
    ) -> AnyResult<Heard> {
        let both = |of: &dyn Fn(&Patches) -> Option<Tensor>| -> AnyResult<Tensor> {
            let parts: Option<Vec<Tensor>> = [Some(batch), more.as_ref()].into_iter().flatten().map(of).collect();
            Ok(Tensor::f_cat(&parts.context("patches came without soft labels")?, 0)?)
        };
        let images = both(&|patches| Some(patches.images.shallow_clone()))?;
        let (mut held, mut slopes) = (Vec::new(), None);
        let logits = match (speech, ask) {
            (Speech::Cached(_), Ask::Logits) => {
                let probabilities = both(&|patches| patches.soft.as_ref().map(Tensor::shallow_clone))?;
                levels.from_probabilities(&targets.heads, &probabilities)?
            }
            (Speech::Cached(_), _) => bail!("soft labels know nothing of a teacher's layers"),
            (Speech::Online(teachers), Ask::Logits) => teachers.logits(&images)?,
            (Speech::Online(teachers), Ask::Activations(loss)) => {
                let (logits, all) = teachers.activations(&images, |logits| {
                    let value = loss.deep(&of_batch(logits, batch)?, &batch.labels)?;
                    Ok(value.dice.f_add(&value.cross_entropy)?)
                })?;
                held = all;
                logits
            }
            (Speech::Online(teachers), Ask::Slopes(seed, step)) => {
                // A leaf: students are differentiated with respect to it too.
                let _ = images.set_requires_grad(true);
                let direction = |logits: &Tensor| jacobian::direction(seed, step, &logits.size(), logits.device());
                let (logits, found) = teachers.slopes(&images, direction)?;
                slopes = Some(found);
                logits
            }
        };
        let samples = batch.labels.size()[0];
        let narrow = |held: Held| -> AnyResult<Held> {
            let of = |tensor: &Tensor| tensor.f_narrow(0, 0, samples);
            Ok(Held { activations: of(&held.activations)?, gradient: of(&held.gradient)? })
        };
        let held = held.into_iter().map(narrow).collect::<Result<_, _>>()?;
        let heads = &targets.heads;
        let known = match &lesson.logit {
            Some((settings, _)) => settings.known_deep(heads, &logits, &foreground(heads, &logits[0])?)?,
            None => Vec::new(),
        };
        let edges = match &lesson.boundary {
            Some((settings, _)) => Some(settings.edges(heads, &logits[0])?),
            None => None,
        };
        Ok(Heard { images, known, edges, held, slopes })
    }

    /// The same tensors, for another thread.
    fn shallow_clone(&self) -> Heard {
        Heard {
            images: self.images.shallow_clone(),
            known: self.known.iter().map(|known| known.as_ref().map(Known::shallow_clone)).collect(),
            edges: self.edges.as_ref().map(Edges::shallow_clone),
            held: self.held.iter().map(Held::shallow_clone).collect(),
            slopes: self.slopes.as_ref().map(Slopes::shallow_clone),
        }
    }
}

impl Lesson {
    fn terms(
        &self,
        heads: &Heads,
        seen: &Seen<'_>,
        heard: &Heard,
        batch: &Patches,
        count: f64,
    ) -> AnyResult<Vec<Term>> {
        let (logits, mut terms) = (seen.logits, Vec::new());
        if let Some((settings, weight)) = &self.logit {
            let value = settings.deep(heads, logits, &heard.known)?;
            terms.push(Term { name: LOGIT, weight: weight * count, value });
        }
        if let (Some((settings, weight)), Some(edges)) = (&self.boundary, &heard.edges) {
            let value = settings.loss(heads, &logits[0], edges)?;
            terms.push(Term { name: BOUNDARY, weight: weight * count, value });
        }
        if let Some(weight) = self.feature {
            let value = feature::loss(&heard.held, &of_batch(&seen.lifted, batch)?)?;
            terms.push(Term { name: FEATURE, weight: weight * count, value });
        }
        if let (Some(weight), Some(slopes)) = (self.jacobian, &heard.slopes) {
            let student = jacobian::slope(&heard.images, &logits[0], &slopes.direction, true)?;
            let value = jacobian::loss(&student, &slopes.teacher)?;
            terms.push(Term { name: JACOBIAN, weight: weight * count, value });
        }
        Ok(terms)
    }
}

/// Sentences on terms that pull hardly at all, or harder than everything else, once the ramp has ended.
pub fn imbalance(pulls: &std::collections::BTreeMap<String, f64>) -> Vec<String> {
    const IDLE: f64 = 0.02;
    const DOMINATES: f64 = 5.0;
    let of = |name: &str| pulls.get(name).copied().unwrap_or(0.0);
    let labels = (of(DICE).powi(2) + of(CROSS_ENTROPY).powi(2)).sqrt();
    [LOGIT, BOUNDARY, FEATURE, JACOBIAN]
        .into_iter()
        .filter_map(|name| {
            let share = pulls.get(name)? / labels;
            match share {
                share if share < IDLE => {
                    Some(format!("the {name} term is idle: it pulls {share:.3} times as hard as the labels"))
                }
                share if share > DOMINATES => {
                    Some(format!("the {name} term dominates: it pulls {share:.1} times as hard as the labels"))
                }
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn terms_out_of_balance_are_named() {
        let pulls = |logit: f64, boundary: f64| {
            BTreeMap::from([
                (DICE.to_string(), 3.0),
                (CROSS_ENTROPY.to_string(), 4.0),
                (LOGIT.to_string(), logit),
                (BOUNDARY.to_string(), boundary),
            ])
        };
        assert!(imbalance(&pulls(2.0, 0.5)).is_empty());
        let said = imbalance(&pulls(50.0, 0.01));
        assert!(said[0].contains("logit term dominates") && said[1].contains("boundary term is idle"), "{said:?}");
    }
}
