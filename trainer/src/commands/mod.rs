//! The program's commands: arguments in, words and exit codes out.

pub mod plan;
pub mod teacher;
