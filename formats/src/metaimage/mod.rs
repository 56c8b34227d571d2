//! MetaImage: a header of text lines, and voxels behind it (`.mha`) or in a second file (`.mhd`).
//!
//! What a header means is decided as ITK 5.4 decides it: unknown keys are ignored, `MET_LONG` has four bytes, and a scaling of
//! values is not applied. Read are plain and zlib-compressed voxels, two or three axes, and a fourth one as channels; the
//! rest is refused by name.

mod fields;
mod format;
mod header;

pub(crate) use format::MetaImage;
