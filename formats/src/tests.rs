//! What holds for every format: labels come back, grids are kept, and damaged files give errors.

use crate::testing::{a_grid, distance, grid, mutated, saved, survive, voxels, write_labels};
use crate::{FormatError, Geometry, LabelOptions, LabelType, Scan, label_writer, read_labels};
use proptest::prelude::*;
use scanside_core::volume::{Box3, Grid};
use std::fs;
use std::io::Cursor;
use std::path::Path;

const ENDINGS: [&str; 6] = [".nii.gz", ".nii", ".nrrd", ".mha", ".mgz", ".mgh"];

/// How far a grid may be from what it was, by the precision of the format's numbers. In MGH the middle of the volume is kept.
fn precision(ending: &str) -> f64 {
    match ending {
        ".nrrd" | ".mha" => 1e-13,
        _ => 1e-6,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn labels_and_grids_come_back(grid in a_grid(), ending in prop::sample::select(&ENDINGS[..]), wide in any::<bool>(), seed in any::<u16>()) {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, again] = ["a", "b"].map(|name| folder.path().join(format!("{name}{ending}")));
        let (most, stored) = if wide { (u16::MAX, LabelType::U16) } else { (255, LabelType::U8) };
        let n: usize = grid.shape_zyx.iter().product();
        let labels: Vec<u16> = (0..n).map(|k| (k as u16).wrapping_mul(seed) & most).collect();
        write_labels(&path, &Geometry::of_grid(grid.clone()), stored, &labels);
        let map = read_labels(&path).expect("labels");
        prop_assert!(map.labels.iter().zip(&labels).all(|(a, b)| *a == u32::from(*b)));
        prop_assert!(distance(map.grid(), &grid) <= precision(ending), "{:?} {grid:?}", map.grid());
        // Under the file's own header: the same bytes, but for what the format does not keep of the grid.
        write_labels(&again, &map.geometry, stored, &labels);
        let scan = Scan::open(&[&again]).expect("labels");
        prop_assert_eq!(scan.grid(), map.grid());
        prop_assert_eq!(scan.description(), "made by a test");
        prop_assert_eq!(fs::read(&path).expect("a file").len(), fs::read(&again).expect("a file").len());
    }

    #[test]
    fn boxes_are_cut_alike_from_every_format(grid in a_grid(), ending in prop::sample::select(&ENDINGS[..]), start in any::<[prop::sample::Index; 3]>()) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(format!("a{ending}"));
        let [nz, ny, nx] = grid.shape_zyx;
        let labels: Vec<u16> = (0..nz * ny * nx).map(|n| (n % 251) as u16).collect();
        write_labels(&path, &Geometry::of_grid(grid.clone()), LabelType::U8, &labels);
        let scan = Scan::open(&[&path]).expect("a scan");
        let all = voxels(&scan);
        prop_assert!(all.iter().zip(&labels).all(|(a, b)| *a == f32::from(*b)));
        let [z, y, x] = [0, 1, 2].map(|k| start[k].index(grid.shape_zyx[k]));
        let bounds = Box3([z..nz, y..ny, x..nx]);
        let mut source = scan.stream();
        for _ in 0..2 {
            let cut = crate::testing::read(source.as_mut(), 0, &bounds);
            let rows = (z..nz).flat_map(|z| (y..ny).map(move |y| (z * ny + y) * nx));
            let expected: Vec<f32> = rows.flat_map(|row| all[row + x..row + nx].iter().copied()).collect();
            prop_assert_eq!(cut, expected);
        }
    }
}

/// Small files of every kind.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats");
    let names = [
        "gzip.nrrd",
        "gzip_byte_skip.nrrd",
        "channels_space.nrrd",
        "spacings.nrrd",
        "line_skip.nrrd",
        "zlib.mha",
        "big.mha",
        "channels.mha",
        "header_end.mha",
        "type_short.mgh",
        "packed.mgz",
        "frames.mgz",
    ];
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    names.map(|name| (name.to_owned(), bytes(name))).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mutated_files_never_panic(
        seed in 0..12usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in 0.3..1.5f64,
    ) {
        let (name, bytes) = seeds()[seed].clone();
        let folder = tempfile::tempdir().expect("a folder");
        survive(&saved(folder.path(), &name, &mutated(bytes, &changes, 300, keep)));
    }

    #[test]
    fn hostile_values_never_panic(
        seed in 0..9usize,
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "", "0", "-1", "4294967296", "18446744073709551615", "99999999999999999999", "nan", "inf", "1e400", "1 2", "1 1 1 1",
            "4294967296 4294967296 4294967296", "9223372036854775807 1 1", "(", "()", "(1,2)", "(nan,0,0) (0,1,0) (0,0,1)", "none",
            "none none none", "../x", "LIST", "%d", "True", "gzip", "double", "MET_DOUBLE",
        ]),
    ) {
        let (name, bytes) = seeds()[seed].clone();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        let separator = if name.ends_with("nrrd") { ": " } else { " = " };
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| Some((line, line.split_once(separator)?.0))).collect();
        let (line, key) = lines[line.index(lines.len())];
        let hostile = text.replacen(line, &format!("{key}{separator}{value}"), 1);
        let folder = tempfile::tempdir().expect("a folder");
        let rest = &bytes[bytes.len().min(400)..];
        survive(&saved(folder.path(), &name, &[hostile.as_bytes(), rest].concat()));
    }
}

#[test]
fn a_header_without_end_is_refused_without_reading_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let endless = |start: &str| [start.as_bytes(), &b"a: b\n".repeat(300_000)[..]].concat();
    for (name, start) in [("a.mha", "ObjectType = Image\n"), ("b.mha", "ObjectType = ")] {
        let error = Scan::open(&[saved(folder.path(), name, &endless(start))]).expect_err(name).to_string();
        assert!(error.contains("does not end") && error.contains(name), "{error}");
    }
    let comments = [&b"NRRD0004\n"[..], &b"# a comment\n".repeat(100_000)].concat();
    let error = Scan::open(&[saved(folder.path(), "a.nrrd", &comments)]).expect_err("endless").to_string();
    assert!(error.contains("does not end"), "{error}");
    let cut = Scan::open(&[saved(folder.path(), "b.nrrd", b"NRRD0004\ntype: short\n")]).expect_err("cut").to_string();
    assert!(cut.contains("cut off"), "{cut}");
}

#[test]
fn sizes_beyond_what_a_file_can_hold_are_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mgh = [0u8; 300];
    mgh[3] = 1;
    mgh[4..20].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff].repeat(4));
    for (name, bytes) in [
        ("a.mgh", &mgh[..]),
        ("a.nrrd", b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4294967296 4294967296 2\nencoding: gzip\n\n"),
        ("b.nrrd", b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 100000 100000 100000\nencoding: raw\n\n"),
        ("a.mha", b"NDims = 3\nDimSize = 99999 99999 99999\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"),
    ] {
        let error = Scan::open(&[saved(folder.path(), name, bytes)]).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_grid_that_a_format_cannot_hold_is_refused() {
    let sheared = Grid { direction: [[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ..grid([1, 1, 1]) };
    let begin = |name: &str| {
        let options = LabelOptions { path: Path::new(name), stored: LabelType::U8, description: "" };
        label_writer(Box::new(Cursor::new(Vec::new())), &Geometry::of_grid(sheared.clone()), &options).err()
    };
    let error = begin("a.nii.gz").expect("a refusal").to_string();
    assert!(error.contains(".nrrd or .mha"), "{error}");
    assert!(begin("a.nrrd").is_none() && begin("a.mha").is_none() && begin("a.mgz").is_none());
    assert!(matches!(begin("a.hdr"), Some(FormatError::NotWritten { .. })));
}

#[test]
fn channels_may_be_of_different_formats() {
    let folder = tempfile::tempdir().expect("a folder");
    let geometry = Geometry::of_grid(grid([2, 3, 4]));
    let paths = ["a_0000.nii.gz", "a_0001.NRRD", "a_0002.mha", "a_0003.mgz"].map(|name| folder.path().join(name));
    for (k, path) in paths.iter().enumerate() {
        write_labels(path, &geometry, LabelType::U8, &[k as u16; 24]);
    }
    let scan = Scan::open(&paths).expect("a scan");
    assert_eq!((scan.channels(), scan.warnings().len()), (4, 0));
    let expected: Vec<f32> = (0..4).flat_map(|k| [k as f32; 24]).collect();
    assert_eq!(voxels(&scan), expected);
}

#[test]
fn the_length_of_compressed_labels_is_in_the_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.mha");
    write_labels(&path, &Geometry::of_grid(grid([2, 3, 4])), LabelType::U8, &[7; 24]);
    let bytes = fs::read(&path).expect("a file");
    let end = b"ElementDataFile = LOCAL\n";
    let start = bytes.windows(end.len()).position(|w| w == end).expect("the last key") + end.len();
    let text = String::from_utf8_lossy(&bytes[..start]);
    let length = text.lines().find_map(|line| line.strip_prefix("CompressedDataSize =")).expect("the length").trim();
    assert_eq!(length.parse(), Ok(bytes.len() - start));
}
