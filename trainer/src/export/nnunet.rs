//! A model folder that nnU-Net's own programs load unchanged.
//!
//! ```text
//! FOLDER/
//!   dataset.json
//!   plans.json                       with the network's own channels
//!   fold_0/checkpoint_final.pth      weights under every name that nnU-Net's strict loading asks for
//! ```
//!
//! `nnUNetv2_predict_from_modelfolder -m FOLDER -f 0` runs it; nnU-Net's default is to want folds 0 to 4.

use super::pickle::{self, TensorEntry};
use super::plans::Described;
use super::{ModelFacts, TrainedNetwork, short_name};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::model::DEFAULT_CHECKPOINT;
use scanside_core::nnunet::layers::Layers;
use scanside_core::nnunet::{FoldName, ImportOptions, import_folder};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An error of the file system, of the archive or of the reader.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Folder inside the archive, named as PyTorch names it after the file.
const ROOT: &str = "checkpoint_final";
/// PyTorch's alignment of storages, so that they can be mapped.
const ALIGNMENT: u16 = 64;

/// Writes the folder, or the fold into a folder of the same plans and dataset that lacks it. It appears whole or not at
/// all, after it was read back.
///
/// # Errors
/// The folder exists with other contents, it cannot be written, or the plans describe another network.
pub fn write(folder: &Path, network: &TrainedNetwork, facts: &ModelFacts) -> Result<(), Error> {
    let (plans, _) = Described::of(network, facts)?;
    let unwritable = || format!("{} cannot be written", folder.display());
    let fold = format!("fold_{}", facts.fold);
    let extends = folder.exists() && !is_empty(folder);
    if extends {
        check_place(folder, &fold, &plans, facts)?;
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).or_error_with(ErrorKind::Output, unwritable)?;
    // Beside the folder, so that it can be renamed to it.
    let staged = tempfile::Builder::new()
        .prefix(".scanside-part-")
        .tempdir_in(parent)
        .or_error_with(ErrorKind::Output, unwritable)?;
    let model = staged.path().join("model");
    let content = || -> Result<(), AnyError> {
        fs::create_dir_all(model.join(&fold))?;
        write_file(&model.join("dataset.json"), |file| Ok(file.write_all(facts.dataset.as_bytes())?))?;
        write_file(&model.join("plans.json"), |file| Ok(file.write_all(plans.as_bytes())?))?;
        write_file(&model.join(&fold).join(DEFAULT_CHECKPOINT), |file| write_checkpoint(file, network, facts))
    };
    content().or_error_with(ErrorKind::Output, unwritable)?;
    read_back(&model, facts.fold).or_error_with(ErrorKind::Model, || "the written model folder cannot be read back")?;
    let (from, to) = if extends { (model.join(&fold), folder.join(&fold)) } else { (model, folder.to_path_buf()) };
    fs::rename(from, to).or_error_with(ErrorKind::Output, unwritable)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// An existing folder can only get another fold of the same training.
fn check_place(folder: &Path, fold: &str, plans: &str, facts: &ModelFacts) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::new(ErrorKind::Output, why));
    if folder.join(fold).exists() {
        return refuse(format!("{} already exists; choose another folder", folder.join(fold).display()));
    }
    for (name, text) in [("plans.json", plans), ("dataset.json", &facts.dataset)] {
        if fs::read(folder.join(name)).ok().as_deref() != Some(text.as_bytes()) {
            return refuse(format!(
                "{} already exists, and its {name} is not this network's; choose another folder",
                folder.display()
            ));
        }
    }
    Ok(())
}

fn write_file(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> Result<(), AnyError>) -> Result<(), AnyError> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    content(&mut file)?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    Ok(())
}

/// A zip archive with the pickle, and one entry per tensor that copies share.
fn write_checkpoint(file: &mut BufWriter<File>, network: &TrainedNetwork, facts: &ModelFacts) -> Result<(), AnyError> {
    let expected = Layers::of(network.unet()).expected();
    let mut entries = Vec::new();
    for (storage, tensor) in expected.iter().enumerate() {
        let shape = tensor.shape.as_slice();
        entries.extend(tensor.names.iter().map(|name| TensorEntry { name, storage, shape }));
    }
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    let mut archive = ZipWriter::new(file);
    let mut entry = |name: &str, mut bytes: &mut dyn Iterator<Item = u8>| -> Result<(), AnyError> {
        archive.start_file(format!("{ROOT}/{name}"), options)?;
        let mut block = Vec::with_capacity(1 << 16);
        loop {
            block.clear();
            block.extend((&mut bytes).take(1 << 16));
            if block.is_empty() {
                return Ok(());
            }
            archive.write_all(&block)?;
        }
    };
    entry("data.pkl", &mut pickle::checkpoint(&entries, facts).into_iter())?;
    entry("byteorder", &mut b"little".iter().copied())?;
    for (storage, tensor) in expected.iter().enumerate() {
        let (_, values) = &network.weights()[short_name(tensor)];
        entry(&format!("data/{storage}"), &mut values.iter().flat_map(|value| value.to_le_bytes()))?;
    }
    entry("version", &mut b"3\n".iter().copied())?;
    archive.finish()?;
    Ok(())
}

/// Reads everything back with the strict reader, which checks names, shapes and checksums.
fn read_back(model: &Path, fold: FoldName) -> Result<(), AnyError> {
    let options = ImportOptions { folds: Some(vec![fold]), ..ImportOptions::default() };
    import_folder(model, &options)?;
    Ok(())
}
