//! Whole cases segmented and measured.
