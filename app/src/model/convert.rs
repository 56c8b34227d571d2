//! Models written in another form: imported from nnU-Net, compiled into an image.

use super::options::ModelOptions;
use super::precision_name;
use super::read::{self, Described, Opened};
use crate::error::{Error, ErrorKind, OrError, OrPathError};
use crate::input::KeptFiles;
use crate::output::{PendingFile, refuse_existing};
use scanside_core::manifest::Manifest;
use scanside_core::network::write_image;
use scanside_core::nnunet::FoldChoice;
use std::io::Write;
use std::path::Path;

/// A model that was written.
#[derive(Debug)]
pub struct Written {
    /// Its manifest.
    pub manifest: Manifest,
    /// The folds that are averaged of an nnU-Net folder, and those that are not.
    pub folds: Option<FoldChoice>,
    /// How its weights are stored: `f32`, `f16` or `int8`; known of compiled models.
    pub precision: Option<&'static str>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Quantised convolutions of the file that run in floating point all the same, with the reason.
    pub float_convolutions: Vec<String>,
}

/// Writes an nnU-Net v2 model folder as one self-describing ONNX file.
///
/// # Errors
/// The folder is no model that can be read; the file is there already and `overwrite` is not set, or cannot be written.
pub fn import(folder: &Path, options: &ModelOptions, output: &Path, overwrite: bool) -> Result<Written, Error> {
    check_output(output, folder, options, overwrite)?;
    if folder.is_file() {
        let sentence = format!("{} is a file; give the nnU-Net v2 model folder", folder.display());
        return Err(Error::new(ErrorKind::Usage, sentence).about(folder));
    }
    let Described { manifest, model: mut graph, folds } = read::read(folder, options)?;
    graph.set_manifest(&manifest).or_error(ErrorKind::Model)?;
    let mut file = PendingFile::create(output)?;
    graph.write(&mut file).map_err(|e| Error::cannot_write(output, e))?;
    file.publish()?;
    let bytes = std::fs::metadata(output).map_or(0, |m| m.len());
    Ok(Written { manifest, folds, precision: None, bytes, float_convolutions: Vec::new() })
}

/// Refuses an output that is a part of the model, or that exists and is not to be replaced.
fn check_output(output: &Path, model: &Path, options: &ModelOptions, overwrite: bool) -> Result<(), Error> {
    let mut kept = KeptFiles::default();
    kept.add_model(model);
    options.manifest.iter().for_each(|path| kept.add_input(path));
    kept.refuse(output)?;
    if overwrite { Ok(()) } else { refuse_existing(output, None) }
}

/// Writes a model as one file that is read in place.
///
/// # Errors
/// The model cannot be read, is compiled already, or runs only in tract; the file is there already and `overwrite` is not
/// set, or cannot be written.
pub fn compile(model: &Path, options: &ModelOptions, output: &Path, overwrite: bool) -> Result<Written, Error> {
    check_output(output, model, options, overwrite)?;
    if read::is_compiled(model) {
        let sentence = format!("{} is a compiled model already", model.display());
        return Err(Error::new(ErrorKind::Model, sentence).about(model));
    }
    let Opened { manifest, engine, folds, .. } = read::open(model, options)?;
    let Some(native) = engine.native() else {
        let why = engine.not_lowered().unwrap_or("it has no folds");
        let sentence = format!("{} cannot be compiled: {why}", model.display());
        return Err(Error::new(ErrorKind::Model, sentence).about(model));
    };
    let networks: Vec<_> = native.networks().iter().map(|n| (n.graph(), n.weights())).collect();
    let json = serde_json::to_string(&manifest).or_error(ErrorKind::Internal)?;
    let bytes = write_image(&manifest, &json, &networks).or_error(ErrorKind::Model)?;
    let mut file = PendingFile::create(output)?;
    file.write_all(&bytes).or_cannot_write(output)?;
    file.publish()?;
    Ok(Written {
        manifest,
        folds,
        precision: Some(precision_name(options.precision, &engine)),
        bytes: bytes.len() as u64,
        float_convolutions: engine.float_convolutions().to_vec(),
    })
}
