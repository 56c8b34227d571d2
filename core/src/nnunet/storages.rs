//! The two forms of a PyTorch checkpoint: a zip archive, and the one that PyTorch wrote before version 1.6 and still
//! writes on request.
//!
//! An archive has the entries `NAME/data.pkl` and `NAME/data/KEY`, one for each storage. The old form has no table of
//! contents: five pickles in a row (a magic number, the format's version, facts of the machine, what was saved, the keys of
//! the storages), and then the storages in the order of their keys, each after the number of its values.

use super::contents::StorageRef;
use super::error::NnUnetError;
use super::pickle::{self, Node, Pickle, PickleError};
use super::tensor::{DType, TensorInfo};
use crate::onnx::foreign::kind_of;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use zip::ZipArchive;

/// The magic number of the old form, as every protocol pickles it.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";
/// The only version of the old form.
const OLD_VERSION: i64 = 1001;
/// Bytes of an old file that are read at first to find its pickles.
const FIRST_BYTES: usize = 1 << 20;

/// Where the numbers of a checkpoint lie.
#[derive(Debug)]
pub(super) enum Storages<R> {
    /// Entries of an archive, whose names start with the prefix.
    Archive { archive: ZipArchive<R>, prefix: String },
    /// Byte offsets in a file of the old form, by key.
    Old { reader: R, places: HashMap<String, Place> },
}

/// A storage of an old file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    values: u64,
}

impl<R: Read + Seek> Storages<R> {
    /// What was saved, and the storages.
    pub(super) fn open(mut reader: R, path: &Path) -> Result<(Pickle, Storages<R>), NnUnetError> {
        let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
        let mut start = Vec::new();
        reader.by_ref().take(64).read_to_end(&mut start).map_err(io)?;
        reader.seek(SeekFrom::Start(0)).map_err(io)?;
        if let Some(kind) = kind_of(&start).filter(|_| !starts_as_checkpoint(&start)) {
            return Err(NnUnetError::Checkpoint { path: path.to_path_buf(), problem: format!("it is {kind}") });
        }
        if start.windows(MAGIC.len()).any(|bytes| bytes == MAGIC) {
            return open_old(reader, path);
        }
        open_archive(reader, path)
    }

    /// The bytes of `span` values from the first one of `tensor` on.
    ///
    /// # Errors
    /// The storage has another size than the tensor says, or its bytes are damaged or missing.
    pub(super) fn read(
        &mut self,
        name: &str,
        tensor: &TensorInfo,
        span: u64,
        path: &Path,
    ) -> Result<Vec<u8>, NnUnetError> {
        let wrong = |problem: String| NnUnetError::Checkpoint { path: path.to_path_buf(), problem };
        let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
        let size = tensor.dtype.bytes() as u64;
        // A tensor's span lies in its storage, whose size is compared before anything is read: nothing overflows.
        let (skipped, wanted) = (|| tensor.offset * size, || span * size);
        let mut bytes = Vec::new();
        match self {
            Storages::Archive { archive, prefix } => {
                let entry = format!("{prefix}data/{}", tensor.storage);
                let mut file = archive.by_name(&entry).map_err(|e| NnUnetError::zip(path, e))?;
                if tensor.storage_len.checked_mul(size) != Some(file.size()) {
                    return Err(wrong(format!(
                        "`{name}` should lie in {} values of {size} bytes, but the archive's entry {entry} has {} bytes",
                        tensor.storage_len,
                        file.size()
                    )));
                }
                io::copy(&mut file.by_ref().take(skipped()), &mut io::sink()).map_err(io)?;
                file.by_ref().take(wanted()).read_to_end(&mut bytes).map_err(io)?;
                // To the end, so that the archive's checksum is compared. Nothing is left in the usual case.
                io::copy(&mut file, &mut io::sink()).map_err(io)?;
            }
            Storages::Old { reader, places } => {
                let Some(place) = places.get(&tensor.storage).filter(|place| place.values == tensor.storage_len) else {
                    return Err(wrong(format!(
                        "`{name}` should lie in {} values under the key {}, which the file does not hold",
                        tensor.storage_len, tensor.storage
                    )));
                };
                reader.seek(SeekFrom::Start(place.offset + skipped())).map_err(io)?;
                reader.by_ref().take(wanted()).read_to_end(&mut bytes).map_err(io)?;
            }
        }
        if bytes.len() as u64 != wanted() {
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }
}

/// Of an archive or a pickle, what follows tells more.
fn starts_as_checkpoint(start: &[u8]) -> bool {
    start.starts_with(b"PK") || start.starts_with(b"\x80")
}

fn open_archive<R: Read + Seek>(reader: R, path: &Path) -> Result<(Pickle, Storages<R>), NnUnetError> {
    let wrong = |problem: &str| NnUnetError::Checkpoint { path: path.to_path_buf(), problem: problem.into() };
    let mut archive = ZipArchive::new(reader).map_err(|e| NnUnetError::zip(path, e))?;
    let mut roots = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(|e| NnUnetError::zip(path, e))?;
        if let Some(prefix) = name.strip_suffix("data.pkl")
            && (prefix.is_empty() || prefix.ends_with('/'))
        {
            roots.push(prefix.to_string());
        }
    }
    let prefix = match roots.as_slice() {
        [one] => one.clone(),
        [] => return Err(wrong("the archive has no data.pkl, so it is no PyTorch checkpoint")),
        _ => return Err(wrong("the archive has more than one data.pkl")),
    };
    let order_entry = format!("{prefix}byteorder");
    if archive.index_for_name(&order_entry).is_some() {
        let order = read_entry(&mut archive, path, &order_entry, 16)?;
        if order.trim_ascii() != b"little" {
            return Err(wrong(BIG_ENDIAN));
        }
    }
    let bytes = read_entry(&mut archive, path, &format!("{prefix}data.pkl"), pickle::MAX_BYTES as u64)?;
    let pickle = Pickle::parse(&bytes).map_err(|source| NnUnetError::Pickle { path: path.to_path_buf(), source })?;
    Ok((pickle, Storages::Archive { archive, prefix }))
}

const BIG_ENDIAN: &str = "it was written on a big-endian machine; save it again on a little-endian one";

fn read_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    path: &Path,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, NnUnetError> {
    let file = archive.by_name(name).map_err(|e| NnUnetError::zip(path, e))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| NnUnetError::Io { path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > limit {
        let problem = format!("its entry {name} has more than {limit} bytes");
        return Err(NnUnetError::Checkpoint { path: path.to_path_buf(), problem });
    }
    Ok(bytes)
}

fn open_old<R: Read + Seek>(mut reader: R, path: &Path) -> Result<(Pickle, Storages<R>), NnUnetError> {
    let wrong = |problem: String| NnUnetError::Checkpoint { path: path.to_path_buf(), problem };
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let Pickles { version, machine, saved, keys, end } = Pickles::read(&mut reader, path)?;
    if version.int(version.root()) != Some(OLD_VERSION) {
        return Err(wrong(format!("it has PyTorch's format without an archive, but not in version {OLD_VERSION}")));
    }
    let little = machine.entry(machine.root(), "little_endian");
    if little.is_some_and(|id| *machine.get(id) == Node::Bool(false)) {
        return Err(wrong(BIG_ENDIAN.into()));
    }
    let types = storage_types(&saved);
    let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
    let mut at = reader.seek(SeekFrom::Start(end)).map_err(io)?;
    let mut places = HashMap::new();
    let keys_in_order = keys.items(keys.root()).ok_or_else(|| wrong("the keys of its storages are no list".into()))?;
    for key in keys_in_order {
        let key = keys.text(*key).ok_or_else(|| wrong("the key of a storage is no text".into()))?;
        let mut values = [0; 8];
        reader.read_exact(&mut values).map_err(io)?;
        let values = u64::from_le_bytes(values);
        let dtype = types
            .get(key)
            .ok_or_else(|| wrong(format!("the type of the numbers in the storage {key} is not known")))?;
        let bytes = values.checked_mul(dtype.bytes() as u64);
        let next = bytes.and_then(|bytes| at.checked_add(8)?.checked_add(bytes)).filter(|next| *next <= length);
        let next = next.ok_or_else(|| {
            wrong(format!(
                "{values} values of the storage {key} do not fit between byte {at} and the file's end at {length}"
            ))
        })?;
        places.insert(key.to_string(), Place { offset: at + 8, values });
        at = reader.seek(SeekFrom::Start(next)).map_err(io)?;
    }
    Ok((saved, Storages::Old { reader, places }))
}

/// The number types of all storages that anything in the pickle refers to. The bytes of one that is not known cannot be
/// counted, and it is left out.
fn storage_types(saved: &Pickle) -> HashMap<&str, DType> {
    let references = saved.nodes().filter_map(|node| match node {
        Node::Persistent(id) => StorageRef::new(saved, *id),
        _ => None,
    });
    references.filter_map(|storage| Some((storage.key, storage.dtype.ok()?))).collect()
}

/// The pickles at the start of an old file.
struct Pickles {
    version: Pickle,
    machine: Pickle,
    saved: Pickle,
    keys: Pickle,
    /// The offset of the first byte after them.
    end: u64,
}

impl Pickles {
    /// Reads as many bytes as the pickles have, and not more than twice as many.
    fn read<R: Read + Seek>(reader: &mut R, path: &Path) -> Result<Pickles, NnUnetError> {
        let mut bytes = Vec::new();
        let mut wanted = FIRST_BYTES;
        loop {
            let more = (wanted - bytes.len()) as u64;
            let read = reader.by_ref().take(more).read_to_end(&mut bytes);
            let read = read.map_err(|source| NnUnetError::Io { path: path.to_path_buf(), source })?;
            let whole_file = (read as u64) < more;
            match Pickles::parse(&bytes) {
                Ok(pickles) => return Ok(pickles),
                Err(PickleError::Truncated { .. }) if !whole_file && wanted < pickle::MAX_BYTES => {
                    wanted = (2 * wanted).min(pickle::MAX_BYTES);
                }
                Err(source) => return Err(NnUnetError::Pickle { path: path.to_path_buf(), source }),
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Pickles, PickleError> {
        let mut end = 0;
        let mut next = || {
            let (pickle, length) = Pickle::parse_first(&bytes[end..])?;
            end += length;
            Ok(pickle)
        };
        let _magic = next()?;
        let (version, machine, saved, keys) = (next()?, next()?, next()?, next()?);
        Ok(Pickles { version, machine, saved, keys, end: end as u64 })
    }
}
