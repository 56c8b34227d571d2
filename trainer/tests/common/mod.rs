//! Small raw datasets on disk.

use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::nifti::ImageWriter;
use std::path::{Path, PathBuf};

/// A grid of cubic voxels along the patient's axes.
pub(crate) fn grid(shape_zyx: [usize; 3]) -> Grid {
    Grid {
        shape_zyx,
        spacing_mm: [1.0; 3],
        origin: [0.0; 3],
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    }
}

/// Writes a volume.
pub(crate) fn write(path: &Path, grid: &Grid, kind: VoxelType, voxels: &[f32]) {
    let [_, n1, n2] = grid.shape_zyx;
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ImageWriter::create(file, grid, kind, path.extension().is_some_and(|e| e == "gz")).unwrap();
    voxels.chunks_exact(n1 * n2).for_each(|plane| writer.write_plane(plane).unwrap());
    writer.finish().unwrap();
}

/// A sound dataset of two channels, labels 0, 1, 2 and cases `a` to `e`, for tests to spoil.
pub(crate) struct Raw {
    pub(crate) root: PathBuf,
    pub(crate) shape: [usize; 3],
}

impl Raw {
    pub(crate) fn new(folder: &Path) -> Raw {
        let root = folder.join("Dataset007_Spoilt");
        std::fs::create_dir_all(root.join("imagesTr")).unwrap();
        std::fs::create_dir_all(root.join("labelsTr")).unwrap();
        let raw = Raw { root, shape: [12, 10, 9] };
        raw.describe(r#"{"background": 0, "a": 1, "b": 2}"#, 5);
        for (number, case) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            for channel in 0..2 {
                write(&raw.image(case, channel), &grid(raw.shape), VoxelType::I16, &raw.voxels(number, channel));
            }
            write(&raw.label(case), &grid(raw.shape), VoxelType::U8, &raw.labels());
        }
        raw
    }

    pub(crate) fn describe(&self, labels: &str, announced: usize) {
        let json = format!(
            r#"{{"channel_names": {{"0": "T1", "1": "CT"}}, "labels": {labels}, "numTraining": {announced}, "file_ending": ".nii.gz"}}"#
        );
        std::fs::write(self.root.join("dataset.json"), json).unwrap();
    }

    pub(crate) fn image(&self, case: &str, channel: usize) -> PathBuf {
        self.root.join(format!("imagesTr/{case}_{channel:04}.nii.gz"))
    }

    pub(crate) fn label(&self, case: &str) -> PathBuf {
        self.root.join(format!("labelsTr/{case}.nii.gz"))
    }

    pub(crate) fn voxels(&self, number: usize, channel: usize) -> Vec<f32> {
        let count: usize = self.shape.iter().product();
        (0..count).map(|i| ((i * (7 + number) + channel * 31) % 101) as f32 + 1.0).collect()
    }

    pub(crate) fn labels(&self) -> Vec<f32> {
        let count: usize = self.shape.iter().product();
        (0..count).map(|i| if i < count / 3 { 1.0 } else { (i % 5 == 0) as u8 as f32 * 2.0 }).collect()
    }
}
