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
//! | [`input`] | files that are read: whether they can be, and that no output replaces one |
//! | [`units`] | bytes and seconds, read and written for people |
//! | [`machine`] | this process and this computer: memory, CPU, threads |
//! | [`digest`] | SHA-256 of files and facts |
//! | [`output`] | files that appear whole or not at all, whatever else writes at the same time |
//! | [`interrupt`] | a request to stop, from a signal or from the caller |
//! | [`own_labels`] | label files that this program wrote, recognised |
//! | [`model`] | models of every form, opened for running; imported and compiled |
//! | `geometry` | whether two volumes lie in the same place |
//! | [`cases`] | which files make which case |
//! | [`components`] | of some labels only the largest component |
//! | `labelled_scan` | a scan and its label file, read together plane by plane |
//! | [`statistics`] | voxels, volume, intensity and place of each label, in one table for many cases |
//! | [`preview`] | a picture of a scan with its labels |
//! | [`extras`] | what is made beside a label file |
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
pub mod components;
pub mod digest;
pub mod error;
pub mod evaluate;
pub mod extras;
mod geometry;
pub mod input;
pub mod interrupt;
mod labelled_scan;
pub mod machine;
pub mod measure;
pub mod model;
pub mod output;
pub mod own_labels;
pub mod plan;
pub mod preview;
pub mod record;
pub mod run;
pub mod statistics;
pub mod time;
pub mod units;
pub mod worker;

pub use error::{Error, ErrorKind};
