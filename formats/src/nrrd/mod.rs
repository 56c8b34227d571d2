//! NRRD: a header of text lines, and voxels behind it (`.nrrd`) or in a second file (`.nhdr`).
//!
//! What a header means is decided as ITK 5.4 decides it: `RAS` and `LAS` spaces are turned to LPS, spacing is the length of a
//! direction vector, directions need not be perpendicular. Read are the encodings raw and gzip, two or three axes in
//! space, and a fourth one as channels; the rest is refused by name.

mod fields;
mod format;
mod header;

pub(crate) use format::Nrrd;
