//! Copies a label map into a file of another format, at the same place.
//!
//! ```text
//! cargo run --release -p scanside-formats --example convert_labels -- labels.nii.gz labels.nrrd [MORE.nii.gz MORE.mha ...]
//! ```

use scanside_formats::{LabelOptions, LabelType, label_writer, read_labels};
use std::error::Error;
use std::fs::File;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() || paths.len() % 2 == 1 {
        return Err("usage: convert_labels FROM TO [FROM TO ...]".into());
    }
    for pair in paths.chunks_exact(2) {
        convert(Path::new(&pair[0]), Path::new(&pair[1]))?;
    }
    Ok(())
}

fn convert(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let map = read_labels(from)?;
    let labels = map.labels.iter().map(|&label| u16::try_from(label)).collect::<Result<Vec<u16>, _>>()?;
    let wide = labels.iter().any(|&label| label > u16::from(u8::MAX));
    let stored = if wide { LabelType::U16 } else { LabelType::U8 };
    let options = LabelOptions { path: to, stored, description: "converted" };
    let mut writer = label_writer(Box::new(File::create(to)?), &map.geometry, &options)?;
    let [_, rows, columns] = map.grid().shape_zyx;
    for plane in labels.chunks_exact(rows * columns) {
        writer.write_plane(plane)?;
    }
    writer.finish()?;
    Ok(())
}
