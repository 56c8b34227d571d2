//! Training runs: steps, log, checkpoints, resuming.
//!
//! A run lives in `WORK/runs/NAME`. After every epoch its whole state is saved, and each patch follows from the seed and
//! its place alone, so a run that was stopped goes on as if it had not been: on one machine, to the same bytes.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | what a run is asked to do |
//! | [`patches`] | the patches of a fold, in order |
//! | [`lift`] | activations brought to a teacher's channels |
//! | [`step`] | one step of one network |
//! | [`course`] | one network's run: its folder, its state, its epochs |
//! | `checkpoint` | its state as a file |
//! | [`teacher`] | a run of one network on the labels |

mod checkpoint;
pub mod course;
pub mod lift;
pub mod patches;
pub mod settings;
pub mod step;
pub mod teacher;
