//! Training runs: steps, log, checkpoints, resuming.
//!
//! A run is stored in `WORK/runs/NAME`. Its whole state is saved after every epoch, and each patch depends on the seed and
//! its place alone. A run that was stopped therefore continues as if it had not been stopped: on one machine, with the
//! same bytes.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | the inputs of runs: settings, the network to train, the shared context |
//! | [`batches`] | the batches of a fold, in order |
//! | [`projection`] | features projected to a teacher's channels |
//! | [`terms`] | the terms of a loss |
//! | [`step`] | one step of one network |
//! | [`epoch`] | the numbers of an epoch while it runs |
//! | `facts`, `checkpoint` | the description of a run, and its state, as files |
//! | [`run`] | the training run of one network: its folder, its state, its epochs |
//! | [`observer`] | notifications about the progress |
//! | [`supervised`] | training of one network on the labels alone |

pub mod batches;
mod checkpoint;
pub mod epoch;
mod facts;
pub mod observer;
pub mod projection;
pub mod run;
pub mod settings;
pub mod step;
pub mod supervised;
pub mod terms;
