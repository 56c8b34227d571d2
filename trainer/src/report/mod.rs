//! The files of a run, its page, and the page that compares runs.
//!
//! | module | holds |
//! |---|---|
//! | [`run`] | the folder of a run, and its description |
//! | [`log`] | the log: one line per epoch |
//! | [`progress`] | the progress of a run |
//! | [`page`] | the HTML page, in one file without scripts |
//! | `svg`, [`axis`] | SVG elements; axes of diagrams |
//! | [`chart`], [`curves`] | the diagrams of a run |
//! | [`overlay`], [`outline`] | its pictures of cases |
//! | [`family`] | the comparison of a work folder's runs with their teacher |

pub mod axis;
pub mod chart;
pub mod curves;
pub mod family;
pub mod log;
pub mod outline;
pub mod overlay;
pub mod page;
pub mod progress;
pub mod run;
mod svg;
