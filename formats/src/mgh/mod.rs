//! MGH, FreeSurfer's format: a header of 284 bytes and voxels, most significant byte first, mostly compressed (`.mgz`).
//!
//! A header says where the middle of the volume is, in RAS. Frames are channels.

mod format;
mod header;

pub(crate) use format::Mgh;
