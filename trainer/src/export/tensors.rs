//! Safetensors files: weights under nnU-Net's short names, and the training's own checkpoints.
//!
//! Read and written tensor by tensor, so that nothing is in memory twice. Only 32-bit floats, which training uses, are supported.

use super::{ModelFacts, Tensor, TrainedNetwork};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use scanside_app::digest;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::output::PendingFile;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// An error of the file system, of the library or of this reader.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Largest size of a header; that of ten thousand tensors needs 2 MB.
const MAX_HEADER: u64 = 64 << 20;
/// Largest size of a file: far more than three times the largest network.
const MAX_FILE: u64 = 64 << 30;

/// Prefix of the names of averaged weights in a run's checkpoint.
pub const AVERAGE: &str = "ema.";
/// Prefix of the names of momentum in a run's checkpoint.
pub const MOMENTUM: &str = "momentum.";
/// Prefix of the numbers of the projections to a teacher's channels in a run's checkpoint.
pub const PROJECTION: &str = "lift.";
/// Key of the number of completed epochs in a run's checkpoint.
pub const EPOCHS_DONE: &str = "epochs_done";

/// A file's tensors and texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The texts of the header.
    pub metadata: BTreeMap<String, String>,
}

/// Writes tensors (name, shape, values in row-major order) and texts. The file appears whole or not at all.
///
/// # Errors
/// The file cannot be written, or the number of a tensor's values does not fit its shape.
pub fn write_tensors(
    path: &Path,
    tensors: &[(&str, &[usize], &[f32])],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let context = || format!("{} cannot be written", path.display());
    let header = header(tensors, metadata).or_error_with(ErrorKind::Output, context)?;
    let mut file = BufWriter::with_capacity(1 << 20, PendingFile::create(path)?);
    let mut write = || -> std::io::Result<()> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for value in tensors.iter().flat_map(|(_, _, values)| values.iter()) {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    };
    write().or_error_with(ErrorKind::Output, context)?;
    file.into_inner().map_err(|e| e.into_error()).or_error_with(ErrorKind::Output, context)?.publish()
}

fn header(tensors: &[(&str, &[usize], &[f32])], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, AnyError> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for (name, shape, values) in tensors {
        let start = end;
        end += 4 * values.len();
        let info = TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (start, end) };
        infos.push((name.to_string(), info));
    }
    let texts: HashMap<String, String> = metadata.clone().into_iter().collect();
    let checked = Metadata::new((!texts.is_empty()).then_some(texts), infos)?;
    if checked.tensors().len() != tensors.len() {
        return Err("two tensors have the same name".into());
    }
    // Through a sorted map: the library's own order of texts changes from run to run.
    let mut bytes = serde_json::to_vec(&serde_json::to_value(&checked)?)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

/// Reads tensors and texts.
///
/// # Errors
/// The file cannot be read, is not a safetensors file, or has other numbers than 32-bit floats.
pub fn read_tensors(path: &Path) -> Result<TensorFile, Error> {
    read(path).or_error_with(ErrorKind::Model, || format!("{} cannot be read as safetensors", path.display()))
}

fn texts(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect()
}

/// The file after its header, and the header, which covers the rest of the file.
fn open(path: &Path) -> Result<(BufReader<File>, Metadata), AnyError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len > MAX_FILE {
        return Err(format!("it has {len} bytes; at most {MAX_FILE} are supported").into());
    }
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| format!("it has {len} bytes, which are not a header"))?;
    let header_len = u64::from_le_bytes(start);
    if header_len > MAX_HEADER.min(len - 8) {
        return Err(format!(
            "its header should have {header_len} bytes; the file has {len}, and at most {MAX_HEADER} are supported"
        )
        .into());
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)?;
    let rest = len - 8 - header_len;
    if metadata.data_len() as u64 != rest {
        return Err(format!("its tensors take {} bytes, but {rest} follow the header", metadata.data_len()).into());
    }
    Ok((file, metadata))
}

fn read(path: &Path) -> Result<TensorFile, AnyError> {
    let (mut file, header) = open(path)?;
    let mut tensors = BTreeMap::new();
    // Offsets follow each other without gaps; the library has checked that, and that extents agree with them.
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        if info.dtype != Dtype::F32 {
            return Err(format!("`{name}` has {:?} values; only 32-bit floats are supported", info.dtype).into());
        }
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes)?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name, (info.shape.clone(), values));
    }
    Ok(TensorFile { tensors, metadata: texts(&header) })
}

/// Writes a network's weights under nnU-Net's short names, with the facts that identify them.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, network: &TrainedNetwork, facts: &ModelFacts) -> Result<(), Error> {
    let tensors: Vec<(&str, &[usize], &[f32])> = network
        .weights()
        .iter()
        .map(|(n, (shape, values))| (n.as_str(), shape.as_slice(), values.as_slice()))
        .collect();
    let mut metadata = facts.provenance.clone();
    metadata.extend([
        ("format".to_owned(), "pt".to_owned()),
        ("plans_sha256".to_owned(), sha256(&facts.plans)),
        ("dataset_sha256".to_owned(), sha256(&facts.dataset)),
        ("configuration".to_owned(), facts.configuration.clone()),
        ("trainer".to_owned(), facts.trainer_name.clone()),
        ("fold".to_owned(), facts.fold.to_string()),
    ]);
    write_tensors(path, &tensors, &metadata)
}

/// SHA-256 of a text, lower-case hex.
pub fn sha256(text: &str) -> String {
    digest::sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> BTreeMap<String, String> {
        [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into()
    }

    #[test]
    fn tensors_come_back_and_the_library_reads_them_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let values = [1.5, -2.0, f32::MIN_POSITIVE, f32::NAN];
        write_tensors(&path, &[("w", &[2, 2], &values), ("b", &[], &[3.0])], &metadata()).unwrap();
        let file = read_tensors(&path).unwrap();
        assert_eq!(file.metadata, metadata());
        assert_eq!(file.tensors["b"], (vec![], vec![3.0]));
        assert_eq!(file.tensors["w"].1.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.map(f32::to_bits));
        let bytes = std::fs::read(&path).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("b").unwrap().data(), 3f32.to_le_bytes());
        write_tensors(&path, &[("w", &[2, 2], &values), ("b", &[], &[3.0])], &metadata()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn wrong_tensors_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        assert!(write_tensors(&path, &[("w", &[3], &[1.0])], &metadata()).is_err());
        assert!(write_tensors(&path, &[("w", &[1], &[1.0]), ("w", &[1], &[2.0])], &metadata()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write_tensors(&path, &[("w", &[2], &[1.0, 2.0])], &metadata()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut long = whole.clone();
        long[0..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let half = String::from_utf8_lossy(&whole[8..whole.len() - 8]).replace("F32", "I32");
        let other = [&whole[..8], half.as_bytes(), &whole[whole.len() - 8..]].concat();
        for (bytes, says) in [
            (&whole[..4], "which are not a header"),
            (&whole[..whole.len() - 1], "bytes, but 7 follow the header"),
            (&long, "its header should have 18446744073709551615 bytes"),
            (&other, "only 32-bit floats"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_tensors(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Model);
            assert!(error.chain().contains(says), "{}", error.chain());
        }
    }
}
