//! The bare program's scenes in the standard build: both must give what the scenes name.

extern crate alloc;

#[path = "../../tests/nostd-probe/src/scene.rs"]
mod scene;
#[path = "../../tests/nostd-probe/src/student.rs"]
mod student;

use scanside_core::network::Isa;
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
    let _ = student::Aligned(());
}

/// Damage is an error, never a panic: cut off anywhere, any byte changed, and changed with a checksum to match.
#[test]
fn damaged_images_are_refused() {
    let bytes = scanside_testing::student::write().expect("a compiled student");
    let mut blocks = vec![Block::ZERO; bytes.len().div_ceil(64)];
    let mut check = |change: &dyn Fn(&mut Vec<u8>), mend: bool| {
        let mut b = bytes.clone();
        change(&mut b);
        if mend && b.len() >= 64 {
            let (len, sum) = (b.len() as u64, crc32fast::hash(&b[64..]));
            b[16..24].copy_from_slice(&len.to_le_bytes());
            b[24..28].copy_from_slice(&sum.to_le_bytes());
        }
        numbers_mut(&mut blocks)[..b.len()].copy_from_slice(&b);
        let image = scanside_core::network::Image::parse(&numbers::<u8>(&blocks)[..b.len()]);
        // What passes the checks is laid out; a changed weight is no damage once the checksum is mended.
        image
            .and_then(|i| i.networks(Isa::SCALAR))
            .map(|n| n.iter().map(|n| n.workspace_blocks(1)).sum::<usize>())
            .is_ok()
    };
    assert!(check(&|_| {}, false));
    for len in (0..bytes.len()).step_by(61) {
        assert!(!check(&|b| b.truncate(len), false), "cut to {len}");
        check(&|b| b.truncate(len), true);
    }
    // The minor version, of which any is read, and what is reserved.
    let unchecked = |at: usize| (10..12).contains(&at) || (28..64).contains(&at);
    // The graphs are the small sections; every byte of them and of the tables, several values.
    let weights = bytes.len().min(4096);
    for at in (0..weights).chain((weights..bytes.len()).step_by(97)) {
        for flip in [1u8, 0x80, 0xff] {
            assert!(!check(&|b| b[at] ^= flip, false) || unchecked(at), "byte {at}");
            check(&|b| b[at] ^= flip, true);
        }
    }
}
