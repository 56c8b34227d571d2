//! A run's files, the page that shows them to people, and the page that compares runs.
//!
//! | module | holds |
//! |---|---|
//! | [`run`] | the folder of a run and the facts about it |
//! | [`log`] | one line per epoch |
//! | [`progress`] | how far a run is |
//! | [`page`] | the HTML page: needs nothing from outside, and no scripts |
//! | [`curves`], [`chart`] | its diagrams |
//! | [`overlay`], [`plane`], [`outline`] | its pictures of cases |
//! | [`family`] | the runs of a work folder compared with their teacher |

pub mod chart;
pub mod curves;
pub mod family;
pub mod log;
pub mod outline;
pub mod overlay;
pub mod page;
pub mod plane;
pub mod progress;
pub mod run;
