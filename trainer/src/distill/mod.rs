//! One teacher, a family of students: what a student learns beside the labels.
//!
//! | module | holds |
//! |---|---|
//! | [`student`] | narrower networks of the same shape |
//! | [`logit`] | the teacher's probabilities, voxel by voxel |
//! | [`boundary`] | how the teacher's probabilities change in space |
//! | [`feature`] | the teacher's activations, where they matter to it |
//! | [`jacobian`] | how its answer changes with the image, for comparison |
//! | [`ramp`] | when these terms begin to count |
//! | [`levels`] | what probabilities of full resolution come to at the lower ones |
//! | [`model_teacher`] | a teacher that is a model file |
//! | [`source`] | where teachers come from, and what they have seen |
//! | [`teachers`] | frozen networks, their probabilities averaged |
//! | [`whole_case`] | soft labels: what teachers say of whole cases, asked once and kept |
//! | [`family`] | students trained together |
//! | `side_by_side` | several networks at once, each on a thread |
//!
//! The teacher's logits are constants here: no gradient flows into them.

pub mod boundary;
pub mod family;
pub mod feature;
pub mod jacobian;
pub mod levels;
pub mod logit;
pub mod model_teacher;
pub mod ramp;
mod side_by_side;
pub mod source;
pub mod student;
pub mod teachers;
pub mod whole_case;
