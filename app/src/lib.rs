//! The library under Scanside's programs: models, cases, plans, runs, outputs, records, comparison.
//!
//! It knows files, processes and threads, but no command line: options are structs, errors are [`Error`]s with a
//! [kind](ErrorKind), and nothing is printed. A program maps kinds to exit codes and shows progress through an
//! [`Observer`](scanside_core::pipeline::Observer).
//!
//! # Layers
//!
//! Each module knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | the error type |
//! | [`interrupt`] | a request to stop, from a signal or from the caller |
//! | [`units`] | bytes and seconds, read and written for people |
//! | [`machine`] | this process and this computer: memory, CPU, threads |
//! | [`digest`] | SHA-256 of files and facts |
//! | [`output`] | files that appear whole or not at all |
//! | [`model`] | models of every form, opened for running; imported and compiled |
//! | [`cases`] | which files make which case |
//! | [`run`] | one case: looked at, planned, run |
//! | [`time`] | how long a planned case will take |
//! | [`plan`] | the plan of a case, for people and records |
//! | [`record`] | the run record |
//! | [`batch`] | all cases of an input |
//! | [`measure`] | seconds and memory per patch |
//! | [`choose`] | the best of several models within limits of memory and time |
//! | [`worker`] | jobs in a process of their own, so that one model's memory does not count for the next |
//! | [`evaluate`] | label maps compared with reference label maps |

pub mod batch;
pub mod cases;
pub mod choose;
pub mod digest;
pub mod error;
pub mod evaluate;
pub mod interrupt;
pub mod machine;
pub mod measure;
pub mod model;
pub mod output;
pub mod plan;
pub mod record;
pub mod run;
pub mod time;
pub mod units;
pub mod worker;

pub use error::{Error, ErrorKind};
