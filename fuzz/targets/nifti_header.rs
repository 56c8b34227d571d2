//! The start of an uncompressed NIfTI file is a header or an error, by the rules of either reader and for either kind of file;
//! labels written under an accepted header can be read again and lie where the scan lies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_core::volume::Reader;
use scanside_formats::nifti::{Files, Header};
use scanside_formats::{Geometry, LabelOptions, LabelType, label_writer};
use scanside_fuzz::InputFile;
use std::fs::File;
use std::hint::black_box;
use std::sync::{LazyLock, Mutex};

static LABELS: LazyLock<Mutex<InputFile>> = LazyLock::new(|| Mutex::new(InputFile::new(".nii")));

fuzz_target!(|bytes: &[u8]| {
    for files in [Files::One, Files::Pair] {
        for reader in [Reader::SimpleItk, Reader::Nibabel] {
            match Header::parse_as(bytes, files, reader) {
                Ok(header) => accepted(&header, reader),
                Err(e) => drop(black_box(e.to_string())),
            }
        }
    }
});

fn accepted(header: &Header, reader: Reader) {
    black_box((header.description(), header.intent_code(), header.warnings().len()));
    let grid = header.grid();
    assert!(grid.spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0), "{grid:?}");
    assert!(grid.origin.iter().chain(grid.direction.iter().flatten()).all(|v| v.is_finite()), "{grid:?}");
    if header.is_planar() {
        return;
    }
    let file = LABELS.lock().expect("one thread");
    let options = LabelOptions { path: file.path(), stored: LabelType::U16, description: "fuzzed" };
    let geometry = Geometry::of_grid(grid.clone()).with_own(header.clone());
    let out = File::create(file.path()).expect("the temporary file");
    drop(label_writer(Box::new(out), &geometry, &options).expect("a label map"));
    let written = std::fs::read(file.path()).expect("the temporary file");
    let again = Header::parse_as(&written, Files::One, reader).expect("the header of a label map");
    assert_eq!(again.grid(), grid);
}
