//! One teacher, a family of students: what a student learns beside the labels.
//!
//! | module | holds |
//! |---|---|
//! | [`student`] | narrower networks of the same shape |
//! | [`logit`] | the teacher's probabilities, voxel by voxel |
//! | [`boundary`] | how the teacher's probabilities change in space |
//! | [`ramp`] | when these terms begin to count |
//!
//! The teacher's logits are constants here: no gradient flows into them.

pub mod boundary;
pub mod logit;
pub mod ramp;
pub mod student;
