use super::labels::read_labels;
use super::*;
use crate::label_map::LabelType;
use proptest::prelude::*;
use scanside_core::volume::{Box3, Grid, VoxelSource, VoxelType};
use std::fs;
use std::io::Write;
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

fn grid(shape_zyx: [usize; 3]) -> Grid {
    Grid {
        shape_zyx,
        spacing_mm: [2.5, 0.75, 0.5],
        origin: [-12.5, 30.0, 7.25],
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    }
}

fn image(grid: &Grid, voxel_type: VoxelType, gz: bool, values: &[f32]) -> Vec<u8> {
    let mut writer = ImageWriter::create(Vec::new(), grid, voxel_type, gz).expect("a header");
    let plane = grid.shape_zyx[1] * grid.shape_zyx[2];
    values.chunks(plane).for_each(|p| writer.write_plane(p).expect("a plane"));
    writer.finish().expect("a file")
}

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|k| (k % 120) as f32).collect()
}

fn saved(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file");
    path
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

fn read(source: &mut dyn VoxelSource, channel: usize, bounds: &Box3) -> Vec<f32> {
    let mut out = vec![f32::NAN; bounds.voxels()];
    source.read(channel, bounds, &mut out).expect("voxels");
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
        (108, 0f32.to_le_bytes().to_vec(), "start at byte 0"),
        (108, 352.5f32.to_le_bytes().to_vec(), "start at byte 352.5"),
        (108, f32::NAN.to_le_bytes().to_vec(), "start at byte NaN"),
        (108, 1e30f32.to_le_bytes().to_vec(), "at least 352"),
        (344, b"ni1\0".to_vec(), "pair of files"),
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
        let error = NiftiFile::open(saved(folder.path(), name, &bytes)).expect_err("too large");
        let expected = 2 * 32767u64.pow(3);
        assert!(matches!(error, NiftiError::Truncated { expected: e, .. } if e == expected), "{error}");
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}

#[test]
fn missing_and_forbidden_files_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = NiftiFile::open(folder.path().join("none.nii")).expect_err("missing");
    assert!(matches!(&error, NiftiError::NotFound { .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    let denied = NiftiError::reading(Path::new("x.nii"), std::io::ErrorKind::PermissionDenied.into());
    assert!(matches!(denied, NiftiError::Denied { .. }) && denied.to_string().contains("permission"));
    let error = NiftiFile::open(folder.path()).expect_err("a folder");
    assert!(matches!(&error, NiftiError::Read { .. }), "{error}");
    assert!(matches!(ChannelFiles::open::<PathBuf>(&[]), Err(NiftiError::NoFiles)));
}

#[test]
fn truncated_data_give_both_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let shape = [3, 40, 50];
    let values: Vec<f32> = (0..6000).map(|k| ((k * 7919) % 30011) as f32 - 15000.0).collect();
    let plain = image(&grid(shape), VoxelType::I16, false, &values);
    let path = saved(folder.path(), "short.nii", &plain[..plain.len() - 1]);
    let error = NiftiFile::open(&path).expect_err("short");
    assert!(error.to_string().contains("12000 bytes") && error.to_string().contains("11999"), "{error}");

    let packed = image(&grid(shape), VoxelType::I16, true, &values);
    let path = saved(folder.path(), "short.nii.gz", &packed[..packed.len() / 2]);
    let files = ChannelFiles::open(&[&path]).expect("the header is there");
    let error = ResidentSource::load(files.clone()).err().expect("half a file");
    assert!(matches!(error, NiftiError::Truncated { expected: 12000, got, .. } if got > 0 && got < 12000), "{error}");
    let mut out = vec![0.0; 6000];
    let said = NiftiSource::new(files).read(0, &Box3::full(shape), &mut out).expect_err("half a file").to_string();
    assert!(said.contains("12000 bytes") && said.contains("short.nii.gz"), "{said}");
    assert!(matches!(read_labels(&path), Err(NiftiError::Truncated { .. } | NiftiError::NotALabel { .. })));
}

#[test]
fn a_wrong_checksum_is_an_error_where_all_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut packed = image(&grid([2, 3, 4]), VoxelType::I16, true, &counted(24));
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    let files = ChannelFiles::open(&[saved(folder.path(), "bad.nii.gz", &packed)]).expect("a header");
    let error = ResidentSource::load(files).err().expect("a wrong checksum");
    assert!(matches!(error, NiftiError::Damaged { .. }), "{error}");

    // Padding behind the data is no fault.
    packed[crc] ^= 1;
    packed.extend([0; 700]);
    let files = ChannelFiles::open(&[saved(folder.path(), "padded.nii.gz", &packed)]).expect("a header");
    assert!(ResidentSource::load(files).is_ok());
}

#[test]
fn a_file_that_changes_between_reads_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path(), "a.nii", &image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24)));
    let mut source = NiftiSource::new(ChannelFiles::open(&[&path]).expect("a file"));
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
    let files = ChannelFiles::open(&[&first, &same]).expect("alike");
    assert_eq!((files.channels(), files.warnings().len(), files.stored_bytes()), (2, 0, 96));

    let moved = save("moved.nii.gz", &Grid { origin: [0.0, 1.0, 2.0], ..base.clone() });
    let files = ChannelFiles::open(&[&first, &moved]).expect("a warning");
    assert_eq!(files.warnings().len(), 1);
    assert!(files.warnings()[0].contains("origin") && files.warnings()[0].contains("moved"), "{:?}", files.warnings());

    let shape = save("shape.nii.gz", &grid([2, 4, 3]));
    let error = ChannelFiles::open(&[&first, &shape]).expect_err("shapes").to_string();
    assert!(error.contains("4 x 3 x 2") && error.contains("3 x 4 x 2") && error.contains("c_0000"), "{error}");

    let spacing = save("spacing.nii.gz", &Grid { spacing_mm: [2.5, 0.75, 0.500001], ..base });
    let error = ChannelFiles::open(&[&first, &spacing]).expect_err("spacings").to_string();
    assert!(error.contains("0.5 x 0.75 x 2.5 mm") && error.contains("0.50000"), "{error}");
}

#[test]
fn what_a_caller_must_not_ask_is_an_error_not_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path(), "a.nii", &image(&grid([2, 3, 4]), VoxelType::I16, false, &counted(24)));
    let files = ChannelFiles::open(&[path]).expect("a file");
    let mut streamed = NiftiSource::new(files.clone());
    let mut resident = ResidentSource::load(files).expect("voxels");
    assert_eq!(resident.resident_bytes(), 48);
    for source in [&mut streamed as &mut dyn VoxelSource, &mut resident] {
        assert!(source.read(1, &Box3::full([2, 3, 4]), &mut [0.0; 24]).is_err());
        assert!(source.read(0, &Box3([0..3, 0..3, 0..4]), &mut [0.0; 36]).is_err());
        assert!(source.read(0, &Box3::full([2, 3, 4]), &mut [0.0; 23]).is_err());
        assert!(source.read(0, &Box3([1..1, 0..3, 0..4]), &mut []).is_ok());
    }
}

#[test]
fn writers_count_planes_and_refuse_large_labels() {
    let header = Header::parse(&good_header()).expect("a header");
    let new = |t| LabelWriter::create(Vec::new(), &header, true, t, "made by a test").expect("a header");
    let mut writer = new(LabelType::U8);
    assert!(matches!(writer.write_plane(&[1, 2]), Err(NiftiError::PlaneSize { expected: 1, got: 2 })));
    assert!(matches!(writer.write_plane(&[256]), Err(NiftiError::LabelTooLarge { value: 256, most: 255 })));
    assert!(matches!(new(LabelType::U8).finish(), Err(NiftiError::PlaneCount { expected: 1, got: 0 })));
    writer.write_plane(&[255]).expect("a plane");
    assert!(matches!(writer.write_plane(&[1]), Err(NiftiError::PlaneCount { expected: 1, got: 2 })));
    let bytes = writer.finish().expect("a file");
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, bytes[8], 0xff], "no name, no time, no system");
    let bad = Grid { spacing_mm: [0.0, 1.0, 1.0], ..grid([1, 1, 1]) };
    let error = ImageWriter::create(Vec::new(), &bad, VoxelType::U8, false).err().expect("a refusal");
    assert!(error.to_string().contains("axis 3 is 0"), "{error}");
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
        assert!(matches!(error, NiftiError::NotALabel { at_xyz: [2, 1, 1], .. }), "{error}");
    }
}

#[test]
fn integers_are_rounded_and_clamped_when_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = [-40000.0, -1.5, -0.4, 0.0, 0.5, 1.49, 40000.0, f32::NAN];
    let path = saved(folder.path(), "a.nii", &image(&grid([1, 2, 4]), VoxelType::I16, false, &values));
    let mut source = NiftiSource::new(ChannelFiles::open(&[path]).expect("a file"));
    let expected = [-32768.0, -2.0, 0.0, 0.0, 1.0, 1.0, 32767.0, 0.0];
    assert_eq!(read(&mut source, 0, &Box3::full([1, 2, 4])), expected);
}

fn a_rotation() -> impl Strategy<Value = [[f64; 3]; 3]> {
    let turn = [-1.0..1.0f64, -1.0..1.0, -1.0..1.0, -1.0..1.0]
        .prop_filter("not zero", |q| q.iter().map(|v| v * v).sum::<f64>() > 1e-3);
    (turn, any::<bool>()).prop_map(|(q, mirrored)| {
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        let [a, b, c, d] = q.map(|v| v / length);
        let flip = if mirrored { -1.0 } else { 1.0 };
        [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), flip * 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, flip * 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), flip * (a * a + d * d - c * c - b * b)],
        ]
    })
}

fn a_grid() -> impl Strategy<Value = Grid> {
    (
        [1..5usize, 1..9, 1..9],
        [0.1..6.0f64, 0.1..6.0, 0.1..6.0],
        [-900.0..900.0f64, -900.0..900.0, -900.0..900.0],
        a_rotation(),
    )
        .prop_map(|(shape_zyx, spacing_mm, origin, direction)| Grid { shape_zyx, spacing_mm, origin, direction })
}

fn a_box(shape: [usize; 3]) -> impl Strategy<Value = Box3> {
    shape
        .map(|n| (0..n).prop_flat_map(move |start| (Just(start), start + 1..=n)).prop_map(|(a, b)| a..b))
        .prop_map(Box3)
}

fn near(a: &Grid, b: &Grid) -> bool {
    let flat = |g: &Grid| {
        g.spacing_mm.into_iter().chain(g.origin).chain(g.direction.into_iter().flatten()).collect::<Vec<_>>()
    };
    flat(a).iter().zip(flat(b)).all(|(x, y)| (x - y).abs() <= 3e-7 * y.abs().max(1.0))
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
        let files = ChannelFiles::open(&paths).expect("files");
        prop_assert!(near(files.grid(), &grid), "{:?} {grid:?}", files.grid());
        let mut streamed = NiftiSource::new(files.clone());
        let mut resident = ResidentSource::load(files.clone()).expect("voxels");
        prop_assert_eq!(resident.resident_bytes() as u64, files.stored_bytes());
        for (channel, bounds) in boxes {
            let expected = cut(&values[channel], grid.shape_zyx, &bounds);
            prop_assert_eq!(&read(&mut streamed, channel, &bounds), &expected);
            prop_assert_eq!(&read(&mut resident, channel, &bounds), &expected);
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
        prop_assert!(near(s.grid(), &grid));
    }

    #[test]
    fn labels_come_back(
        grid in a_grid(), kind in 0..TYPES.len(), gz in any::<bool>(), wide in any::<bool>(), seed in any::<u16>(),
    ) {
        let n: usize = grid.shape_zyx.iter().product();
        let scan = Header::parse(&image(&grid, TYPES[kind], false, &counted(n))).expect("a header");
        let most = if wide { u16::MAX } else { 255 };
        let labels: Vec<u16> = (0..n).map(|k| (k as u16).wrapping_mul(seed) & most).collect();
        let write = || {
            let dtype = if wide { LabelType::U16 } else { LabelType::U8 };
            let mut writer = LabelWriter::create(Vec::new(), &scan, gz, dtype, "made by a test").expect("a header");
            labels.chunks(grid.shape_zyx[1] * grid.shape_zyx[2]).for_each(|p| writer.write_plane(p).expect("a plane"));
            writer.finish().expect("a file")
        };
        let bytes = write();
        prop_assert_eq!(&bytes, &write(), "the same bytes each time");
        let folder = tempfile::tempdir().expect("a folder");
        let read = read_labels(&saved(folder.path(), "l", &bytes)).expect("labels");
        prop_assert_eq!(read.geometry.grid(), scan.grid());
        prop_assert!(read.labels.iter().zip(&labels).all(|(a, b)| *a == u32::from(*b)));
    }
}

/// Reads everything from `bytes` by every way there is; whatever comes is fine as long as it comes back.
fn survive(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path(), "x", bytes);
    let _ = read_labels(&path);
    if let Ok(header) = Header::parse(bytes) {
        assert!(header.grid().direction.iter().flatten().all(|v| v.is_finite()));
        let writer = LabelWriter::create(Vec::new(), &header, false, LabelType::U8, "made by a test");
        assert!(writer.is_ok());
    }
    let Ok(files) = ChannelFiles::open(&[&path]) else {
        return;
    };
    let shape = files.grid().shape_zyx;
    // What passes the check against the file's length is small here, 1032 times the file at most.
    let mut out = vec![0.0; Box3::full(shape).voxels()];
    for channel in 0..files.channels().min(3) {
        let _ = NiftiSource::new(files.clone()).read(channel, &Box3::full(shape), &mut out);
        if let Ok(mut resident) = ResidentSource::load(files.clone()) {
            resident.read(channel, &Box3::full(shape), &mut out).expect("what was loaded can be read");
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
        survive(&[start, rest].concat());
    }

    #[test]
    fn mutated_files_never_panic(
        seed in 0..7usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        header_only in any::<bool>(),
        keep in 0.0..1.5f64,
    ) {
        let mut bytes = seeds()[seed].clone();
        let end = if header_only { bytes.len().min(352) } else { bytes.len() };
        for (at, value) in changes {
            let at = at.index(end);
            bytes[at] = value;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        survive(&bytes);
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
        survive(&bytes);
    }
}
