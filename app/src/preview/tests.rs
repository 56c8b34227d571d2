//! Pictures of small scans whose intensities and labels say where they lie.

use super::canvas::BACKGROUND;
use super::*;
use scanside_core::manifest::{Channel, Labels, NetworkGrid, Normalization};
use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::Scan;
use scanside_formats::nifti::ImageWriter;

fn manifest(names: &[&str]) -> Manifest {
    let heads = ["background"].iter().chain(names).zip(0..).map(|(name, value)| Label::new(*name, value)).collect();
    let ct = Normalization::Ct { mean: 0.0, std: 1.0, lower: 0.0, upper: 100.0 };
    let mut manifest =
        Manifest::new(NetworkGrid::new([8; 3], [None; 3]), vec![Channel::new("CT", ct)], Labels::Exclusive { heads });
    manifest.name = "a model".into();
    manifest
}

/// Writes a volume whose voxels are `value(patient)`, by place in the patient: shares from the right, the front and the feet.
fn write(path: &Path, grid: &Grid, value: impl Fn([f64; 3]) -> f32) {
    let [planes, rows, columns] = grid.shape_zyx;
    let far = crate::geometry::position_mm(grid, grid.shape_zyx.map(|n| n as f64 - 1.0));
    let share = |at: [f64; 3]| {
        std::array::from_fn(|k| {
            let (a, b) = (grid.origin[k].min(far[k]), grid.origin[k].max(far[k]));
            (at[k] - a) / (b - a)
        })
    };
    let mut writer = ImageWriter::create(File::create(path).unwrap(), grid, VoxelType::I16, false).unwrap();
    for z in 0..planes {
        let at = |i: usize| crate::geometry::position_mm(grid, [z as f64, (i / columns) as f64, (i % columns) as f64]);
        let plane: Vec<f32> = (0..rows * columns).map(|i| value(share(at(i)))).collect();
        writer.write_plane(&plane).unwrap();
    }
    writer.finish().unwrap();
}

/// Every order and every direction of the file's axes gives the same picture.
#[test]
fn pictures_are_turned_as_the_directions_say() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, labels) = (folder.path().join("scan.nii"), folder.path().join("labels.nii"));
    // Millimetres along the patient's axes: left, back, head.
    let (extent, spacing) = ([24usize, 20, 12], [1.0, 1.25, 3.0]);
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut first: Option<Vec<u8>> = None;
    for order in orders {
        for signs in 0..8 {
            let mut grid = Grid { shape_zyx: [0; 3], spacing_mm: [0.0; 3], origin: [0.0; 3], direction: [[0.0; 3]; 3] };
            for (file_xyz, patient) in order.into_iter().enumerate() {
                grid.shape_zyx[2 - file_xyz] = extent[patient];
                grid.spacing_mm[2 - file_xyz] = spacing[patient];
                grid.direction[patient][file_xyz] = if signs >> patient & 1 == 1 { -1.0 } else { 1.0 };
            }
            // Bright towards the patient's left and head, a label at the right front of the feet and one at the left back. Odd
            // numbers of voxels have a middle.
            write(&scan, &grid, |[left, _, head]| (60.0 * left + 40.0 * head) as f32);
            write(&labels, &grid, |[left, back, head]| {
                let one = left < 0.38 && back < 0.36 && head < 0.2;
                if one { 1.0 } else { 2.0 * f32::from(u8::from(left > 0.63 && back > 0.75 && head > 0.05)) }
            });
            let scan = Scan::open(&[&scan]).unwrap();
            let volume = LabelledScan::open(&scan, &labels).unwrap();
            let picture = Preview::draw(&volume, &manifest(&["one", "two", "absent"])).unwrap();
            let pixels = picture.canvas.pixels().to_vec();
            let first = first.get_or_insert_with(|| pixels.clone());
            let different = first.iter().zip(&pixels).filter(|(a, b)| a != b).count();
            // Sums of a few samples are rounded in another order.
            assert!(first.len() == pixels.len() && different * 500 < pixels.len(), "{order:?} {signs}: {different}");
        }
    }
    let pixels = first.unwrap();
    assert!(pixels.iter().filter(|p| **p == canvas::colour(0)).count() > 100);
    assert!(pixels.iter().filter(|p| **p == canvas::colour(1)).count() > 100);
    // The patch in the legend is all that an absent label shows.
    assert_eq!(pixels.iter().filter(|p| **p == canvas::colour(2)).count(), canvas::CAPITAL_HEIGHT.pow(2));
    assert!(pixels.contains(&BACKGROUND));
}

#[test]
fn a_picture_is_a_png_and_replaces_only_previews() {
    let folder = tempfile::tempdir().unwrap();
    let golden = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/statistics").join(name);
    let scan = Scan::open(&[golden("scan_0000.nii"), golden("scan_0001.nii")]).unwrap();
    let volume = LabelledScan::open(&scan, &golden("labels.nii")).unwrap();
    let mut manifest = manifest(&["liver", "left, upper", "absent", "dot", "specks"]);
    if let Labels::Exclusive { heads } = &mut manifest.labels {
        heads[1].rgb = Some([1, 2, 3]);
    }
    let picture = Preview::draw(&volume, &manifest).unwrap();
    let path = folder.path().join("sub/case.png");
    picture.write(&path).unwrap();
    picture.write(&path).unwrap();
    let mut decoder = png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let palette = reader.info().palette.clone().unwrap();
    assert_eq!(palette[3 * usize::from(canvas::colour(0))..][..3], [1, 2, 3]);
    assert_eq!(palette[3 * usize::from(canvas::colour(1))..][..3], [70, 160, 255]);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert_eq!(pixels, picture.canvas.pixels());
    std::fs::copy(golden("../../../docs/hippocampus.png"), &path).unwrap();
    let error = picture.write(&path).unwrap_err();
    assert!(error.to_string().contains("is no preview"), "{error}");
}
