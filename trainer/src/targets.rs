//! The training targets of a network's heads.

/// The label of voxels outside the nonzero mask and outside the case, as nnU-Net stores it.
pub const OUTSIDE: i16 = -1;

/// How label values become targets of the heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// One head per label, or per region.
    pub heads: Heads,
    /// Voxels with this value are ignored.
    pub ignore: Option<i16>,
}

/// The heads' meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Head `i` is label `i`; the heads exclude each other (softmax). Head 0 is background.
    Labels(usize),
    /// Head `i` is true where the label is one of `regions[i]`; heads may overlap (sigmoid).
    Regions(Vec<Vec<i16>>),
}

impl Targets {
    /// Number of heads.
    pub fn count(&self) -> usize {
        match &self.heads {
            Heads::Labels(count) => *count,
            Heads::Regions(regions) => regions.len(),
        }
    }
}
