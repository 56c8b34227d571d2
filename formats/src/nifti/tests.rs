use super::*;
use crate::label_map::{LabelType, LabelWriter};
use crate::testing::{a_grid, distance, grid, mutated, read, saved, survive, voxels, write_labels};
use crate::{FormatError, Geometry, LabelOptions, Scan, label_writer, read_labels};
use proptest::prelude::*;
use scanside_core::volume::{Box3, Grid, Reader, VoxelSource, VoxelType};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

const TYPES: [VoxelType; 10] = [
    VoxelType::U8,
    VoxelType::I8,
    VoxelType::U16,
    VoxelType::I16,
    VoxelType::U32,
    VoxelType::I32,
    VoxelType::U64,
    VoxelType::I64,
    VoxelType::F32,
    VoxelType::F64,
];

fn image(grid: &Grid, voxel_type: VoxelType, gz: bool, values: &[f32]) -> Vec<u8> {
    let mut writer = ImageWriter::create(Vec::new(), grid, voxel_type, gz).expect("a header");
    let plane = grid.shape_zyx[1] * grid.shape_zyx[2];
    values.chunks(plane).for_each(|p| writer.write_plane(p).expect("a plane"));
    writer.finish().expect("a file")
}

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|k| (k % 120) as f32).collect()
}

fn cut(values: &[f32], shape: [usize; 3], bounds: &Box3) -> Vec<f32> {
    let [zs, ys, xs] = bounds.0.clone();
    let mut out = Vec::new();
    for z in zs {
        for y in ys.clone() {
            out.extend(xs.clone().map(|x| values[(z * shape[1] + y) * shape[2] + x]));
        }
    }
    out
}

/// A NIfTI-1 header that is accepted, to be spoiled.
fn good_header() -> Vec<u8> {
    image(&grid([1, 1, 1]), VoxelType::I16, false, &[0.0])[..352].to_vec()
}

fn spoiled(at: usize, bytes: &[u8]) -> String {
    let mut header = good_header();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    Header::parse(&header).expect_err("a refusal").to_string()
}

#[test]
fn a_refused_field_is_named_with_its_value() {
    assert!(Header::parse(&good_header()).is_ok());
    let i16s = |v: &[i16]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    for (at, bytes, phrase) in [
        (0, vec![9, 0, 0, 0], "starts with 9"),
        (40, i16s(&[0]), "counts 0 dimensions"),
        (40, i16s(&[8]), "counts 8 dimensions"),
        (40, i16s(&[-3]), "counts -3 dimensions"),
        (40, i16s(&[1, 9]), "one line of 9 voxels"),
        (42, i16s(&[0]), "axis 1 a size of 0"),
        (44, i16s(&[-5]), "axis 2 a size of -5"),
        (40, i16s(&[7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]), "[32767, 32767"),
        (70, i16s(&[32]), "complex numbers of 64 bits (type code 32)"),
        (70, i16s(&[77]), "code is 77"),
        (72, i16s(&[8]), "8 bits per voxel"),
        (80, 0f32.to_le_bytes().to_vec(), "axis 1 is 0"),
        (88, f32::INFINITY.to_le_bytes().to_vec(), "axis 3 is inf"),
        (108, 352.5f32.to_le_bytes().to_vec(), "start at byte 352.5"),
        (108, f32::NAN.to_le_bytes().to_vec(), "start at byte NaN"),
        (108, 1e30f32.to_le_bytes().to_vec(), "at least 348"),
        (344, b"abc\0".to_vec(), "ANALYZE"),
    ] {
        let said = spoiled(at, &bytes);
        assert!(said.contains(phrase), "{said:?} should say {phrase:?}");
    }
    assert!(Header::parse(&good_header()[..300]).expect_err("short").to_string().contains("300 bytes"));
    assert!(Header::parse(&[]).is_err());
}

#[test]
fn nifti2_sizes_that_overflow_are_refused() {
    let long = Grid { shape_zyx: [1, 1, 40_000], ..grid([1, 1, 1]) };
    let file = image(&long, VoxelType::U8, false, &vec![1.0; 40_000]);
    assert_eq!(Header::parse(&file).map(|h| h.version()), Ok(Version::Two));
    for sizes in [[i64::MAX, i64::MAX, 1], [1 << 40, 1 << 40, 2], [i64::MAX, 1, 1], [1 << 62, 4, 1]] {
        let mut bad = file[..544].to_vec();
        for (k, n) in sizes.iter().enumerate() {
            bad[24 + 8 * k..32 + 8 * k].copy_from_slice(&n.to_le_bytes());
        }
        let error = Header::parse(&bad).map(|h| h.data_bytes());
        // i64::MAX single bytes can be counted, though no file holds them.
        match sizes {
            [i64::MAX, 1, 1] => assert_eq!(error, Ok(i64::MAX as u64)),
            _ => assert!(matches!(error, Err(HeaderError::TooManyVoxels { .. })), "{error:?}"),
        }
    }
    let mut mark = file[..544].to_vec();
    mark[8] = b'\n';
    assert!(Header::parse(&mark).expect_err("damaged").to_string().contains("binary mode"));
}

#[test]
fn sizes_beyond_what_the_file_can_hold_are_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = good_header();
    bytes[42..48].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).expect("bytes");
    for (name, bytes) in [("a.nii", bytes), ("a.nii.gz", gz.finish().expect("gz"))] {
        let error = Scan::open(&[saved(folder.path(), name, &bytes)]).expect_err("too large");
        let expected = 2 * 32767u64.pow(3);
        assert!(matches!(error, FormatError::Truncated { expected: e, .. } if e == expected), "{error}");
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}

#[test]
fn missing_and_forbidden_files_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Scan::open(&[folder.path().join("none.nii")]).expect_err("missing");
    assert!(matches!(&error, FormatError::NotFound { .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    let denied = FormatError::reading(Path::new("x.nii"), std::io::ErrorKind::PermissionDenied.into());
    assert!(matches!(denied, FormatError::Denied { .. }) && denied.to_string().contains("permission"));
    let error = Scan::open(&[folder.path()]).expect_err("a folder");
    assert!(matches!(&error, FormatError::NotAFile { .. }), "{error}");
    assert!(matches!(Scan::open::<PathBuf>(&[]), Err(FormatError::NoFiles)));
}

#[test]
fn truncated_data_give_both_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let shape = [3, 40, 50];
    let values: Vec<f32> = (0..6000).map(|k| ((k * 7919) % 30011) as f32 - 15000.0).collect();
    let plain = image(&grid(shape), VoxelType::I16, false, &values);
    let path = saved(folder.path(), "short.nii", &plain[..plain.len() - 1]);
    let error = Scan::open(&[&path]).expect_err("short");
    assert!(error.to_string().contains("12000 bytes") && error.to_string().contains("11999"), "{error}");

    let packed = image(&grid(shape), VoxelType::I16, true, &values);
    let path = saved(folder.path(), "short.nii.gz", &packed[..packed.len() / 2]);
    let files = Scan::open(&[&path]).expect("the header is there");
    let error = files.load().err().expect("half a file");
    assert!(matches!(error, FormatError::Truncated { expected: 12000, got, .. } if got > 0 && got < 12000), "{error}");
    let mut out = vec![0.0; 6000];
    let said = files.stream().read(0, &Box3::full(shape), &mut out).expect_err("half a file").to_string();
    assert!(said.contains("12000 bytes") && said.contains("short.nii.gz"), "{said}");
    assert!(matches!(read_labels(&path), Err(FormatError::Truncated { .. } | FormatError::NotALabel { .. })));
}

#[test]
fn a_wrong_checksum_is_an_error_where_all_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut packed = image(&grid([2, 3, 4]), VoxelType::I16, true, &counted(24));
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    let files = Scan::open(&[saved(folder.path(), "bad.nii.gz", &packed)]).expect("a header");
    let error = files.load().err().expect("a wrong checksum");
    assert!(matches!(error, FormatError::Damaged { .. }), "{error}");

    // Padding behind the data is no fault.
    packed[crc] ^= 1;
    packed.extend([0; 700]);
    let files = Scan::open(&[saved(folder.path(), "padded.nii.gz", &packed)]).expect("a header");
    assert!(files.load().is_ok());
}

#[test]
fn a_file_that_changes_between_reads_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path(), "a.nii", &image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24)));
    let mut source = Scan::open(&[&path]).expect("a file").stream();
    fs::write(&path, image(&grid([2, 4, 3]), VoxelType::I16, false, &counted(24))).expect("a file");
    let error = source.read(0, &Box3::full([2, 3, 4]), &mut [0.0; 24]).expect_err("another file");
    assert!(error.to_string().contains("changed"), "{error}");
}

#[test]
fn channels_must_share_shape_and_spacing_but_not_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = grid([2, 3, 4]);
    let save = |name: &str, g: &Grid| {
        let n = g.shape_zyx.iter().product();
        saved(folder.path(), name, &image(g, VoxelType::I16, true, &counted(n)))
    };
    let first = save("c_0000.nii.gz", &base);
    let same = save("c_0001.nii.gz", &base);
    let files = Scan::open(&[&first, &same]).expect("alike");
    assert_eq!((files.channels(), files.warnings().len(), files.stored_bytes()), (2, 0, 96));

    let moved = save("moved.nii.gz", &Grid { origin: [0.0, 1.0, 2.0], ..base.clone() });
    let files = Scan::open(&[&first, &moved]).expect("a warning");
    assert_eq!(files.warnings().len(), 1);
    assert!(files.warnings()[0].contains("origin") && files.warnings()[0].contains("moved"), "{:?}", files.warnings());

    let shape = save("shape.nii.gz", &grid([2, 4, 3]));
    let error = Scan::open(&[&first, &shape]).expect_err("shapes").to_string();
    assert!(error.contains("4 x 3 x 2") && error.contains("3 x 4 x 2") && error.contains("c_0000"), "{error}");

    let spacing = save("spacing.nii.gz", &Grid { spacing_mm: [2.5, 0.75, 0.50001], ..base.clone() });
    let error = Scan::open(&[&first, &spacing]).expect_err("spacings").to_string();
    assert!(error.contains("0.5 x 0.75 x 2.5 mm") && error.contains("0.50001"), "{error}");

    // Rounding is no difference, and the first file's spacing counts.
    let next = f64::from(f32::from_bits(0.5f32.to_bits() + 1));
    let nudged =
        save("nudged.nii.gz", &Grid { spacing_mm: [2.5, 0.75, next], origin: [-12.500_1, 30.0, 7.25], ..base });
    for (paths, spacing) in [([&first, &nudged], 0.5), ([&nudged, &first], next)] {
        let files = Scan::open(&paths).expect("alike but for rounding");
        assert_eq!((files.grid().spacing_mm[2], files.warnings().len()), (spacing, 0));
        assert_eq!(files.stream().spacing_mm()[2], spacing);
    }
}

#[test]
fn what_a_caller_must_not_ask_is_an_error_not_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path(), "a.nii", &image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24)));
    let files = Scan::open(&[path]).expect("a file");
    let mut streamed = files.stream();
    let mut resident = files.load().expect("voxels");
    assert_eq!(resident.resident_bytes(), 48);
    for source in [streamed.as_mut() as &mut dyn VoxelSource, resident.as_mut()] {
        assert!(source.read(1, &Box3::full([2, 3, 4]), &mut [0.0; 24]).is_err());
        assert!(source.read(0, &Box3([0..3, 0..3, 0..4]), &mut [0.0; 36]).is_err());
        assert!(source.read(0, &Box3::full([2, 3, 4]), &mut [0.0; 23]).is_err());
        assert!(source.read(0, &Box3([1..1, 0..3, 0..4]), &mut []).is_ok());
    }
}

#[test]
fn writers_count_planes_and_refuse_large_labels() {
    let geometry = Geometry::of_grid(grid([1, 1, 1]));
    let new = |stored| {
        let options = LabelOptions { path: Path::new("a.nii.gz"), stored, description: "made by a test" };
        label_writer(Box::new(Cursor::new(Vec::new())), &geometry, &options).expect("a header")
    };
    let mut writer: Box<dyn LabelWriter> = new(LabelType::U8);
    assert!(matches!(writer.write_plane(&[1, 2]), Err(FormatError::PlaneSize { expected: 1, got: 2 })));
    assert!(matches!(writer.write_plane(&[256]), Err(FormatError::LabelTooLarge { value: 256, most: 255 })));
    assert!(matches!(new(LabelType::U8).finish(), Err(FormatError::PlaneCount { expected: 1, got: 0 })));
    writer.write_plane(&[255]).expect("a plane");
    assert!(matches!(writer.write_plane(&[1]), Err(FormatError::PlaneCount { expected: 1, got: 2 })));
    writer.finish().expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.nii.gz");
    write_labels(&path, &geometry, LabelType::U8, &[255]);
    let bytes = fs::read(path).expect("a file");
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, bytes[8], 0xff], "no name, no time, no system");
    let bad = Grid { spacing_mm: [0.0, 1.0, 1.0], ..grid([1, 1, 1]) };
    let error = ImageWriter::create(Vec::new(), &bad, VoxelType::U8, false).err().expect("a refusal");
    assert!(error.to_string().contains("axis 3 is 0"), "{error}");
    let sheared = Grid { direction: [[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ..grid([1, 1, 1]) };
    let error = ImageWriter::create(Vec::new(), &sheared, VoxelType::U8, false).err().expect("a refusal");
    assert!(error.to_string().contains("perpendicular"), "{error}");
}

#[test]
fn labels_of_any_type_are_read_and_others_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = counted(24);
    for voxel_type in TYPES {
        let path = saved(folder.path(), "l.nii.gz", &image(&grid([2, 3, 4]), voxel_type, true, &values));
        let read = read_labels(&path).expect("labels");
        assert_eq!(read.geometry.grid(), &grid([2, 3, 4]));
        assert!(read.labels.iter().zip(&values).all(|(l, v)| *l as f32 == *v), "{voxel_type:?}");
    }
    for bad in [0.5, -1.0, f32::NAN, f32::INFINITY, 1e10] {
        let mut values = counted(24);
        values[12 + 4 + 2] = bad;
        let path = saved(folder.path(), "l.nii", &image(&grid([2, 3, 4]), VoxelType::F32, false, &values));
        let error = read_labels(&path).expect_err("no label");
        assert!(matches!(error, FormatError::NotALabel { at_xyz: [2, 1, 1], .. }), "{error}");
    }
}

#[test]
fn integers_are_rounded_and_clamped_when_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = [-40000.0, -1.5, -0.4, 0.0, 0.5, 1.49, 40000.0, f32::NAN];
    let path = saved(folder.path(), "a.nii", &image(&grid([1, 2, 4]), VoxelType::I16, false, &values));
    let mut source = Scan::open(&[path]).expect("a file").stream();
    let expected = [-32768.0, -2.0, 0.0, 0.0, 1.0, 1.0, 32767.0, 0.0];
    assert_eq!(read(source.as_mut(), 0, &Box3::full([1, 2, 4])), expected);
}

fn a_box(shape: [usize; 3]) -> impl Strategy<Value = Box3> {
    shape
        .map(|n| (0..n).prop_flat_map(move |start| (Just(start), start + 1..=n)).prop_map(|(a, b)| a..b))
        .prop_map(Box3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn boxes_read_in_any_order_are_cuts_of_what_was_written(
        (grid, boxes) in a_grid().prop_flat_map(|g| {
            let shape = g.shape_zyx;
            (Just(g), prop::collection::vec((0..2usize, a_box(shape)), 1..6))
        }),
        kind in 0..TYPES.len(),
        gz in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let n: usize = grid.shape_zyx.iter().product();
        let values = [counted(n), counted(n).iter().map(|v| 127.0 - v).collect::<Vec<_>>()];
        let paths = [0, 1].map(|c| saved(folder.path(), &format!("c{c}"), &image(&grid, TYPES[kind], gz, &values[c])));
        let files = Scan::open(&paths).expect("files");
        prop_assert!(distance(files.grid(), &grid) <= 3e-7, "{:?} {grid:?}", files.grid());
        let mut streamed = files.stream();
        let mut resident = files.load().expect("voxels");
        prop_assert_eq!(resident.resident_bytes() as u64, files.stored_bytes());
        for (channel, bounds) in boxes {
            let expected = cut(&values[channel], grid.shape_zyx, &bounds);
            prop_assert_eq!(&read(streamed.as_mut(), channel, &bounds), &expected);
            prop_assert_eq!(&read(resident.as_mut(), channel, &bounds), &expected);
        }
    }

    #[test]
    fn qform_and_sform_of_a_written_image_agree(grid in a_grid()) {
        let with_sform = image(&grid, VoxelType::U8, false, &vec![0.0; grid.shape_zyx.iter().product()]);
        let mut with_qform = with_sform.clone();
        with_qform[254..256].copy_from_slice(&[0, 0]);
        let (s, q) = (Header::parse(&with_sform).expect("sform"), Header::parse(&with_qform).expect("qform"));
        // A quaternion of floats near a half turn loses more than a matrix of floats.
        for (a, b) in s.grid().direction.iter().flatten().zip(q.grid().direction.iter().flatten()) {
            prop_assert!((a - b).abs() < 1e-3, "{:?} {:?}", s.grid(), q.grid());
        }
        prop_assert!(distance(s.grid(), &grid) <= 3e-7);
    }

    #[test]
    fn labels_come_back(
        grid in a_grid(), kind in 0..TYPES.len(), gz in any::<bool>(), wide in any::<bool>(), seed in any::<u16>(),
    ) {
        let n: usize = grid.shape_zyx.iter().product();
        let folder = tempfile::tempdir().expect("a folder");
        let scan = Scan::open(&[saved(folder.path(), "s.nii", &image(&grid, TYPES[kind], false, &counted(n)))]);
        let scan = scan.expect("a scan");
        let (most, stored) = if wide { (u16::MAX, LabelType::U16) } else { (255, LabelType::U8) };
        let labels: Vec<u16> = (0..n).map(|k| (k as u16).wrapping_mul(seed) & most).collect();
        let [path, again] = ["l", "m"].map(|name| folder.path().join(name.to_owned() + if gz { ".nii.gz" } else { ".nii" }));
        write_labels(&path, scan.geometry(), stored, &labels);
        write_labels(&again, scan.geometry(), stored, &labels);
        prop_assert_eq!(fs::read(&path).expect("a file"), fs::read(again).expect("a file"), "the same bytes each time");
        let read = read_labels(&path).expect("labels");
        prop_assert_eq!(read.geometry.grid(), scan.grid());
        prop_assert!(read.labels.iter().zip(&labels).all(|(a, b)| *a == u32::from(*b)));
    }
}

/// By both readers, as a file of either name.
fn survive_bytes(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    survive(&saved(folder.path(), "x", bytes));
    for files in [Files::One, Files::Pair] {
        let _ = Header::parse_as(bytes, files, Reader::Nibabel);
        if let Ok(header) = Header::parse_as(bytes, files, Reader::SimpleItk) {
            assert!(header.grid().direction.iter().flatten().all(|v| v.is_finite()));
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nifti");
    let names = [
        "type_i2.nii",
        "type_f4_big.nii",
        "nifti2.nii",
        "nifti2_big.nii.gz",
        "gz_members.nii.gz",
        "time.nii",
        "plane.nii",
    ];
    names.map(|name| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic(
        start in prop::sample::select(vec![vec![], vec![0x5c, 1, 0, 0], vec![0, 0, 1, 0x5c], vec![0x1c, 2, 0, 0], vec![0x1f, 0x8b, 8, 0]]),
        rest in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        survive_bytes(&[start, rest].concat());
    }

    #[test]
    fn mutated_files_never_panic(
        seed in 0..7usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        header_only in any::<bool>(),
        keep in 0.0..1.5f64,
    ) {
        let header_bytes = if header_only { 352 } else { usize::MAX };
        survive_bytes(&mutated(seeds()[seed].clone(), &changes, header_bytes, keep));
    }

    #[test]
    fn hostile_fields_never_panic(
        seed in 0..7usize,
        field in prop::sample::select(vec![40usize, 42, 44, 46, 48, 50, 70, 72, 76, 80, 84, 88, 108, 112, 116, 252, 254, 256, 268, 280, 284, 300]),
        value in prop::sample::select(vec![
            [0u8, 0, 0, 0], [0xff; 4], [0, 0, 0xc0, 0x7f], [0, 0, 0x80, 0x7f], [0x7f, 0xff, 0xff, 0xff], [1, 0, 0, 0], [0, 0, 0, 0x80],
            [0xff, 0xff, 0x7f, 0x7f],
        ]),
    ) {
        let mut bytes = seeds()[seed].clone();
        if bytes.len() > field + 4 {
            bytes[field..field + 4].copy_from_slice(&value);
        }
        survive_bytes(&bytes);
    }
}

fn float_image(values: &[f32], scaling: [f32; 2], double: bool) -> Vec<u8> {
    let voxel_type = if double { VoxelType::F64 } else { VoxelType::F32 };
    let mut bytes = image(&grid([2, 2, 2]), voxel_type, false, values);
    bytes[112..116].copy_from_slice(&scaling[0].to_le_bytes());
    bytes[116..120].copy_from_slice(&scaling[1].to_le_bytes());
    bytes
}

#[test]
fn voxels_that_are_not_finite_are_0_to_itk_and_counted_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = [f32::NAN, 1.0, f32::INFINITY, 3.0, 4.0, f32::NEG_INFINITY, 6.0, 7.0];
    for (double, [slope, inter]) in [(false, [1.0, 0.0]), (true, [1.0, 0.0]), (false, [2.0, 5.0]), (true, [2.0, 5.0])] {
        let path = saved(folder.path(), "n.nii", &float_image(&values, [slope, inter], double));
        let scan = Scan::open(&[&path]).expect("a scan");
        assert!(scan.warnings().is_empty(), "no voxel was read yet");
        // Planes that are looked at beforehand are not counted twice.
        let mut source = scan.stream();
        for z in [1, 0, 1] {
            read(source.as_mut(), 0, &Box3([z..z + 1, 0..2, 0..2]));
        }
        let expected: Vec<f32> = values.iter().map(|v| if v.is_finite() { v * slope + inter } else { inter }).collect();
        assert_eq!(voxels(&scan), expected);
        let [warning] = &scan.warnings()[..] else { panic!("{:?}", scan.warnings()) };
        assert!(warning.contains("n.nii") && warning.ends_with("there are 3"), "{warning}");

        let scan = Scan::open_as(&[&path], Reader::Nibabel).expect("a scan");
        let kept = voxels(&scan);
        assert!(kept[0].is_nan() && kept[2] == f32::INFINITY && kept[5] == f32::NEG_INFINITY, "{kept:?}");
        assert!(scan.warnings().is_empty());
    }
}

#[test]
fn nibabel_scales_in_double_precision_and_drops_a_slope_of_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = 16_777_217.0f64;
    let mut bytes = image(&grid([1, 1, 1]), VoxelType::I32, false, &[0.0]);
    bytes[352..356].copy_from_slice(&(large as i32).to_le_bytes());
    for (slope, inter, by_itk, by_nibabel) in [
        (0.5f32, 0.0f32, (16_777_216.0 * 0.5) as f32, (large * 0.5) as f32),
        (0.0, 7.0, 16_777_223.0, large as f32),
        (f32::NAN, 7.0, 16_777_223.0, large as f32),
        (f32::INFINITY, 7.0, 16_777_223.0, large as f32),
    ] {
        bytes[112..116].copy_from_slice(&slope.to_le_bytes());
        bytes[116..120].copy_from_slice(&inter.to_le_bytes());
        let path = saved(folder.path(), "s.nii", &bytes);
        assert_eq!(voxels(&Scan::open(&[&path]).expect("a scan")), [by_itk], "{slope}");
        assert_eq!(voxels(&Scan::open_as(&[&path], Reader::Nibabel).expect("a scan")), [by_nibabel], "{slope}");
    }
    bytes[112..120].copy_from_slice(&[0, 0, 0x80, 0x3f, 0, 0, 0xc0, 0x7f]);
    let path = saved(folder.path(), "s.nii", &bytes);
    let error = Scan::open_as(&[&path], Reader::Nibabel).expect_err("an intercept of NaN").to_string();
    assert!(error.contains("scl_inter"), "{error}");
    assert!(Scan::open(&[&path]).is_ok());
}

#[test]
fn nibabel_takes_sheared_axes_and_no_unit_of_length() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24));
    bytes[252..254].copy_from_slice(&[0, 0]);
    bytes[284..288].copy_from_slice(&0.25f32.to_le_bytes());
    bytes[123] = 1;
    let path = saved(folder.path(), "sheared.nii", &bytes);
    let error = Scan::open(&[&path]).expect_err("sheared").to_string();
    assert!(error.contains("orthonormal"), "{error}");
    let scan = Scan::open_as(&[&path], Reader::Nibabel).expect("a scan");
    assert_eq!(scan.grid().spacing_mm, [2.5, 0.75, 0.5], "metres do not count");
    assert_eq!(voxels(&scan), counted(24));
    // Labels are under the scan's own transform, and can be compared.
    let labels = folder.path().join("l.nii.gz");
    write_labels(&labels, scan.geometry(), LabelType::U8, &[1; 24]);
    let map = read_labels(&labels).expect("labels");
    assert_eq!(map.geometry.grid(), scan.grid());
    let (Some(old), Some(new)) = (scan.geometry().own::<Header>(), map.geometry.own::<Header>()) else { panic!() };
    assert_eq!(old.raw()[252..328], new.raw()[252..328]);
    // A transform that says nothing is no fault: directions do not count.
    bytes[280..328].fill(0);
    let path = saved(folder.path(), "zeros.nii", &bytes);
    assert_eq!(Scan::open_as(&[path], Reader::Nibabel).expect("a scan").grid().spacing_mm, [2.5, 0.75, 0.5]);
}

#[test]
fn headers_that_itk_repairs_are_read_as_it_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24));
    let i16s = |v: &[i16]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    // The header goes straight into the voxels, without the four bytes for extensions.
    let mut at_348 = with(108, &348f32.to_le_bytes());
    at_348.drain(348..352);
    let mut said_0 = with(108, &0f32.to_le_bytes());
    said_0.drain(348..352);
    for (name, bytes, warnings) in [
        ("size 0 behind z", with(40, &i16s(&[4, 4, 3, 2, 0, 0, 0, 0])), 0),
        ("size 0 behind channels", with(40, &i16s(&[5, 4, 3, 2, 1, 0, 0, 0])), 0),
        ("negative size", with(40, &i16s(&[4, 4, 3, 2, -1, 1, 1, 1])), 0),
        ("voxels at 348", at_348, 0),
        ("voxels said to be at 0", said_0, 1),
        ("mark of a pair", with(344, b"ni1\0"), 0),
    ] {
        let scan = Scan::open(&[saved(folder.path(), "r.nii", &bytes)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(scan.grid(), &grid([2, 3, 4]), "{name}");
        assert_eq!((voxels(&scan), scan.channels()), (counted(24), 1), "{name}");
        assert_eq!(scan.warnings().len(), warnings, "{name}: {:?}", scan.warnings());
    }
    // One file that says it is half of a pair is read where it says, which must be behind the header.
    let mut both = with(344, b"ni1\0");
    both[108..112].fill(0);
    assert!(Scan::open(&[saved(folder.path(), "r.nii", &both)]).is_err());
}

#[test]
fn a_pair_is_read_by_either_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut header = image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24));
    let data = header.split_off(352);
    header.truncate(348);
    header[344..348].copy_from_slice(b"ni1\0");
    header[108..112].fill(0);
    let gz = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).expect("bytes");
        gz.finish().expect("gz")
    };
    for (k, (head_name, data_name)) in
        [("hdr", "img"), ("hdr.gz", "img.gz"), ("hdr", "img.gz"), ("HDR", "IMG")].iter().enumerate()
    {
        let pack = |name: &str, bytes: &[u8]| if name.ends_with("gz") { gz(bytes) } else { bytes.to_vec() };
        let paths = [
            saved(folder.path(), &format!("{k}.{head_name}"), &pack(head_name, &header)),
            saved(folder.path(), &format!("{k}.{data_name}"), &pack(data_name, &data)),
        ];
        for path in paths.iter().filter(|path| !path.ends_with("2.img.gz")) {
            let scan = Scan::open(&[path]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((scan.grid(), voxels(&scan)), (&grid([2, 3, 4]), counted(24)), "{}", path.display());
        }
    }
    let alone = saved(folder.path(), "alone.hdr", &header);
    let error = Scan::open(&[alone]).expect_err("no voxels").to_string();
    assert!(error.contains("alone.img"), "{error}");
    let mut analyze = header.clone();
    analyze[344..348].fill(0);
    saved(folder.path(), "old.img", &data);
    let error = Scan::open(&[saved(folder.path(), "old.hdr", &analyze)]).expect_err("ANALYZE").to_string();
    assert!(error.contains("ANALYZE 7.5") && error.contains("old.hdr"), "{error}");
}

#[test]
fn foreign_files_are_called_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dicom = vec![0; 400];
    dicom[128..132].copy_from_slice(b"DICM");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
    let mut twice = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    twice.write_all(&image(&grid([1, 1, 1]), VoxelType::U8, true, &[0.0])).expect("bytes");
    let twice = twice.finish().expect("gz");
    for (bytes, name) in [
        (&dicom[..], "DICOM"),
        (pointer, "git-lfs"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"NRRD0004\ntype: short\n", "NRRD"),
        (&twice, "compressed twice"),
        (b"", "empty file"),
    ] {
        let error = Scan::open(&[saved(folder.path(), "f.nii.gz", bytes)]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("f.nii.gz"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_to_nothing_and_pipes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("a.nii.gz");
    std::os::unix::fs::symlink("../.git/annex/objects/x/MD5E-s1--00.nii.gz", &link).expect("a link");
    let error = Scan::open(&[link]).expect_err("nothing").to_string();
    assert!(error.contains("git annex get"), "{error}");
    let error = Scan::open(&[Path::new("/dev/null")]).expect_err("a device").to_string();
    assert!(error.contains("a pipe or a device"), "{error}");
}
