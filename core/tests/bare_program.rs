//! The bare program's scenes in the standard build: both must give what the scenes name.
#![cfg(feature = "std")]

extern crate alloc;

#[path = "../../tests/nostd-probe/src/scene.rs"]
mod scene;
#[path = "../../tests/nostd-probe/src/student.rs"]
mod student;

use scanside_core::manifest::Manifest;
use scanside_core::network::{Image, Isa};
use scanside_core::workspace::{Block, numbers, numbers_mut};
use scanside_testing::data::golden;

#[test]
fn the_standard_build_gives_the_bare_programs_labels() {
    assert_eq!(scene::run(), Some(scene::EXPECTED));
}

/// The file that the bare program holds is what this build writes, and gives the same bits.
///
/// `SCANSIDE_WRITE=1 cargo test -p scanside-core --test bare_program` writes it anew after a change of the format.
#[test]
fn a_student_read_from_bytes_gives_the_same_bits() {
    let path = golden().join("image/student.image");
    let made = scanside_testing::student::write().expect("a compiled student");
    if std::env::var_os("SCANSIDE_WRITE").is_some() {
        std::fs::write(&path, &made).expect("the file");
    }
    let bytes = std::fs::read(&path).expect("the file");
    assert!(bytes == made, "{} is not what this build writes", path.display());
    let mut blocks = vec![Block::ZERO; bytes.len().div_ceil(64)];
    numbers_mut(&mut blocks)[..bytes.len()].copy_from_slice(&bytes);
    let aligned = &numbers::<u8>(&blocks)[..bytes.len()];
    assert_eq!(student::run(aligned, Isa::SCALAR), Some(student::EXPECTED));
    for isa in Isa::available() {
        assert!(student::run(aligned, isa).is_some(), "{isa:?}");
    }
    assert!(student::run(&aligned[1..], Isa::SCALAR).is_none());
    let image = Image::open(aligned).expect("an image");
    let json: Manifest = serde_json::from_str(image.manifest_json().expect("text")).expect("a manifest");
    assert_eq!(Ok(json), image.manifest());
}
