//! Distillation: students learn from teachers in addition to the labels.
//!
//! | module | holds |
//! |---|---|
//! | [`student`] | narrower networks of the same shape |
//! | [`logit`] | loss on the teacher's probabilities, voxel by voxel |
//! | [`boundary`] | loss on the spatial gradient of the probabilities |
//! | [`feature`] | loss on the teacher's features, weighted by its own gradient |
//! | [`jacobian`] | loss on the gradient with respect to the image, for comparison |
//! | [`ramp`] | the weight of these losses over the training |
//! | [`levels`] | logits at the lower resolutions, computed from those of the full resolution |
//! | [`model_teacher`] | a teacher that is a model file |
//! | [`source`] | where teachers come from, and which cases they were trained on |
//! | [`teachers`] | frozen networks, their probabilities averaged |
//! | [`soft_labels`] | the teachers' probabilities of whole cases, computed once and stored |
//! | [`signal`] | how teacher predictions are obtained |
//! | `teacher_batch` | what the losses need from the teachers for one batch |
//! | [`losses`] | the losses of a training, as terms |
//! | `teacher_query` | runs the teachers, and computes what the losses need |
//! | `parallel` | several networks at once, each on its own threads |
//! | [`train`] | students trained together |
//!
//! The teacher's logits are constants: no gradient flows into them.

pub mod boundary;
pub mod feature;
pub mod jacobian;
pub mod levels;
pub mod logit;
pub mod losses;
pub mod model_teacher;
mod parallel;
pub mod ramp;
pub mod signal;
pub mod soft_labels;
pub mod source;
pub mod student;
mod teacher_batch;
mod teacher_query;
pub mod teachers;
pub mod train;
