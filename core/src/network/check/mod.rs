//! Checks every number of a graph that may come from a damaged or hostile file.
//!
//! A graph that passes can be laid out and run: no index leaves its tensor, no size overflows on this machine, integer
//! sums are exact, and every tensor and table is read only after an earlier step wrote it, so what memory held before
//! does not matter. Checking, laying out and opening take time and memory in proportion to the graph's length and the
//! weights': nothing is allocated or counted by a number that stands alone in the file.

mod bounds;
mod integers;
mod scratch;
mod step;
mod value;

pub(super) use bounds::MOST_BYTES;
pub(super) use integers::check_totals;

use super::spec::{Graph, Place, SpecError, Storage};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Steps of the largest network; those that are known have less than two hundred. Laying out memory compares steps in
/// pairs, so this bounds the time that opening a file takes.
const MOST_STEPS: usize = 1 << 10;

impl Graph {
    /// Checks the graph against `weight_bytes` of weights.
    ///
    /// # Errors
    /// The first thing that does not hold together, with the step it is in.
    pub fn check(&self, weight_bytes: usize) -> Result<(), SpecError> {
        let steps = self.steps.len();
        if steps > MOST_STEPS {
            return bad(format!("{steps} steps are more than a network has ({MOST_STEPS})"));
        }
        // Each buffer and each table is written by a step of its own.
        if self.buffers > steps || self.tables.len() > steps {
            let tables = self.tables.len();
            return bad(format!(
                "{} buffers and {tables} tables are more than its {steps} steps can write",
                self.buffers
            ));
        }
        bounds::tensor(self.channels, self.patch)?;
        bounds::tensor(self.heads, self.patch)?;
        let mut c = Checker {
            graph: self,
            weight_bytes,
            buffers: alloc::vec![None; self.buffers],
            tables: alloc::vec![false; self.tables.len()],
            kernel_bytes: 0,
        };
        for step in &self.steps {
            c.step(step).map_err(|e| SpecError(format!("step \"{}\": {}", step.name, e.0)))?;
        }
        if let Some(t) = c.tables.iter().position(|written| !written) {
            return bad(format!("no step writes table {t}"));
        }
        if self.steps.iter().any(|s| s.place == Place::Output) { Ok(()) } else { bad("no step writes the output") }
    }
}

/// What a buffer holds after the steps so far.
#[derive(Clone, Copy, PartialEq)]
struct Held {
    channels: usize,
    grid: [usize; 3],
    storage: Storage,
}

/// A graph with what its steps so far have written.
struct Checker<'a> {
    graph: &'a Graph,
    weight_bytes: usize,
    buffers: Vec<Option<Held>>,
    /// Whether a table was written.
    tables: Vec<bool>,
    /// Bytes of the kernels of all convolutions so far.
    kernel_bytes: usize,
}

fn bad<T>(why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(why.into()))
}

#[cfg(test)]
mod tests;
