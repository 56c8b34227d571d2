//! The start of an uncompressed NIfTI file is a header or an error; labels written under an accepted header can be read
//! again and lie where the scan lies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_formats::LabelType;
use scanside_formats::nifti::{Header, LabelWriter};
use std::hint::black_box;

fuzz_target!(|bytes: &[u8]| {
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(e) => return drop(black_box(e.to_string())),
    };
    black_box((header.description(), header.intent_code()));
    let grid = header.grid();
    assert!(grid.spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0), "{grid:?}");
    assert!(grid.origin.iter().chain(grid.direction.iter().flatten()).all(|v| v.is_finite()), "{grid:?}");

    let mut file = Vec::new();
    let labels = LabelWriter::create(&mut file, &header, false, LabelType::U16, "fuzzed").expect("a label map");
    drop(labels);
    let again = Header::parse(&file).expect("the header of a label map");
    assert_eq!(again.grid(), grid);
});
