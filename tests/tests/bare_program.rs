//! The bare program's scene in the standard build: both must give the labels that the scene names.

extern crate alloc;

#[path = "../nostd-probe/src/scene.rs"]
mod scene;

#[test]
fn the_standard_build_gives_the_bare_programs_labels() {
    assert_eq!(scene::run(), Some(scene::EXPECTED));
}
