//! The check of integer weights: what makes their sums exact.

use super::bad;
use crate::arch::BLOCK_ROWS;
use crate::kernels::ConvGeometry;
use crate::network::spec::{ConvSpec, Graph, Kind, SpecError};
use crate::network::weights::Weights;
use alloc::format;

/// Input channels of a group of integer weights.
const GROUP: usize = 4;

/// Checks that the totals of integer weights are their sums, and that the weights which fill up the last group of
/// channels are zero: sums stay in 32 bits and are the same on every instruction set only then. The graph was checked.
pub(in crate::network) fn check_totals(graph: &Graph, weights: &Weights<'_>) -> Result<(), SpecError> {
    for step in &graph.steps {
        if let Kind::Conv(g, ConvSpec::Int { weights: packed, totals, .. }) = &step.kind {
            check(g, weights.get(*packed), weights.get(*totals))
                .map_err(|e| SpecError(format!("step \"{}\": {}", step.name, e.0)))?;
        }
    }
    Ok(())
}

/// `packed` is `[block][cin / 4][tap][BLOCK_ROWS][4]`.
fn check(g: &ConvGeometry, packed: &[i8], totals: &[i32]) -> Result<(), SpecError> {
    let per_group = g.taps() * BLOCK_ROWS * GROUP;
    let per_block = g.cin.div_ceil(GROUP) * per_group;
    for (block, totals) in packed.chunks_exact(per_block).zip(totals.chunks(BLOCK_ROWS)) {
        let mut sums = [0i32; BLOCK_ROWS];
        for (i, group) in block.chunks_exact(per_group).enumerate() {
            let used = GROUP.min(g.cin - i * GROUP);
            for rows in group.chunks_exact(BLOCK_ROWS * GROUP) {
                for (sum, lanes) in sums.iter_mut().zip(rows.chunks_exact(GROUP)) {
                    *sum += lanes.iter().map(|&w| i32::from(w)).sum::<i32>();
                    if lanes[used..].iter().any(|&w| w != 0) {
                        return bad(format!("weights beyond its {} input channels are not zero", g.cin));
                    }
                }
            }
        }
        if let Some(c) = (0..totals.len()).find(|&c| totals[c] != sums[c]) {
            return bad(format!("a total of integer weights is {}, their sum is {}", totals[c], sums[c]));
        }
    }
    Ok(())
}
