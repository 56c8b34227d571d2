//! The reader against folders that nnU-Net itself made, and against files that nobody should make.

mod files;
mod golden;
mod hostile;
mod network;
