//! Segmentation inside a program of one's own: a scan in, labels out, with a compiled model.
//!
//! ```text
//! scanside compile model.onnx -o model.image
//! cargo run --release -p scanside-formats --example embed -- model.image scan.nii.gz labels.nii.gz
//! ```

use scanside_core::executor::Serial;
use scanside_core::network::{Image, Isa, NativeEngine};
use scanside_core::pipeline::{Run, RunOptions, Surroundings};
use scanside_core::workspace::{Block, blocks_for, numbers, numbers_mut};
use scanside_formats::{LabelOptions, LabelType, Scan, label_writer};
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;

/// The run's own memory stays under this. The process takes its code and the model beside it.
const BUDGET_BYTES: usize = 1 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, scan, labels] = arguments.as_slice() else {
        return Err("usage: embed MODEL.image SCAN.nii.gz LABELS.nii.gz".into());
    };

    // A compiled model is used in place, from memory that starts at an address divisible by 64.
    let bytes = fs::read(model)?;
    let mut blocks = vec![Block::ZERO; blocks_for(bytes.len())];
    numbers_mut(&mut blocks)[..bytes.len()].copy_from_slice(&bytes);
    let image = Image::open(&numbers(&blocks)[..bytes.len()])?;
    let manifest = image.manifest()?;
    let engine = NativeEngine::new(image.networks(Isa::detect())?).ok_or("the model's folds differ in shape")?;

    let scan = Scan::open(&[scan])?;
    let mut source = scan.stream();
    let run = Run::look(&manifest, source.as_mut(), RunOptions::default())?;
    let planned = run.plan(&engine, &Surroundings::default(), 1, Some(BUDGET_BYTES))?;
    println!("{} passes of the network in {} MB", planned.run().passes(), planned.memory.peak_bytes / 1_000_000);
    if planned.memory.resident_source {
        source = scan.load()?;
    }

    let wide = planned.run().layout().decision.largest_value() > u16::from(u8::MAX);
    let stored = if wide { LabelType::U16 } else { LabelType::U8 };
    let options = LabelOptions { path: Path::new(labels), stored, description: "" };
    let mut writer = label_writer(Box::new(File::create(labels)?), scan.geometry(), &options)?;
    planned.segment(source.as_mut(), &Serial, writer.as_mut(), &mut ())?;
    writer.finish()?;
    Ok(())
}
