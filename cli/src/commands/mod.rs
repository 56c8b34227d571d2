//! One file per command: it turns arguments into options of the library, and results into text.

pub(crate) mod bench;
pub(crate) mod choose;
pub(crate) mod compile;
pub(crate) mod evaluate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod plan;
pub(crate) mod segment;
pub(crate) mod worker;
