//! The log of a run: one JSON object per epoch and line.

use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Largest size of a log; a thousand epochs of a hundred classes need 2 MB.
const MAX_BYTES: u64 = 256 << 20;

/// One epoch. JSON has no NaN: what is not a number is written as `null` and read back as NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 0.
    pub epoch: usize,
    /// Learning rate.
    #[serde(deserialize_with = "number_or_nan")]
    pub lr: f64,
    /// Mean training loss.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    /// Mean loss of the validation patches; `None` where none were computed.
    #[serde(default)]
    pub val_loss: Option<f64>,
    /// Dice per class over all validation patches together; `None` for a class that none of them contains.
    #[serde(default)]
    pub pseudo_dice: Vec<Option<f64>>,
    /// Its mean over classes, averaged over epochs with weights 0.9 and 0.1.
    #[serde(default)]
    pub ema_dice: Option<f64>,
    /// Patches trained on.
    pub samples: u64,
    /// Seconds of the epoch, validation included.
    pub seconds: f64,
    /// Seconds of these in which the network waited for patches.
    #[serde(default)]
    pub wait_seconds: f64,
    /// Batches for which the teachers were run, once for all students trained together.
    #[serde(default)]
    pub teacher_passes: u64,
    /// Mean of every term of the loss, without its weight.
    #[serde(default)]
    pub terms: BTreeMap<String, f64>,
    /// Mean norm of each term's gradient with respect to the logits, weight included; empty where it was not measured. The
    /// log calls it `pulls`.
    #[serde(default, rename = "pulls")]
    pub term_gradients: BTreeMap<String, f64>,
}

fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A log being written.
#[derive(Debug)]
pub struct EpochLog {
    path: PathBuf,
    file: File,
}

impl EpochLog {
    /// Opens the log at `path`, or creates it. An incomplete last line, which an interruption left, is cut off.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: &Path) -> Result<EpochLog, Error> {
        let open = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let end = whole_lines(&mut file)?;
            file.set_len(end)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().or_cannot_write(path)?;
        Ok(EpochLog { path: path.to_path_buf(), file })
    }

    /// Adds an epoch. A run that resumes from an earlier checkpoint adds its epochs again: the later line counts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, record: &EpochRecord) -> Result<(), Error> {
        let mut line = serde_json::to_vec(record).or_error(ErrorKind::Internal)?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).or_cannot_write(&self.path)
    }
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Reads a log; a missing file is an empty log. Epochs are in order, each once.
///
/// # Errors
/// The file cannot be read, or a line was not written by [`EpochLog`].
pub fn read(path: &Path) -> Result<Vec<EpochRecord>, Error> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut text = String::new();
    let file = File::open(path).or_cannot_read(ErrorKind::Input, path)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).or_cannot_read(ErrorKind::Input, path)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(
            ErrorKind::Input,
            format!("{} has more than {MAX_BYTES} bytes; it was not written by this program", path.display()),
        ));
    }
    // A line without its end is being written, or was being written when the program stopped.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let mut records: Vec<EpochRecord> = Vec::new();
    for (number, line) in text[..whole].lines().enumerate() {
        let record: EpochRecord = serde_json::from_str(line)
            .or_error_with(ErrorKind::Input, || format!("{}, line {}, is not an epoch", path.display(), number + 1))?;
        let earlier = records.iter().position(|known| known.epoch >= record.epoch).unwrap_or(records.len());
        records.truncate(earlier);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize) -> EpochRecord {
        EpochRecord {
            epoch,
            lr: 0.01,
            loss: -0.5,
            val_loss: Some(-0.4),
            pseudo_dice: vec![Some(0.8), None],
            ema_dice: Some(0.7),
            samples: 500,
            seconds: 12.5,
            wait_seconds: 0.5,
            teacher_passes: 0,
            terms: BTreeMap::new(),
            term_gradients: BTreeMap::new(),
        }
    }

    #[test]
    fn epochs_come_back_and_repeated_ones_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let mut log = EpochLog::open(&path).unwrap();
        (0..4).for_each(|epoch| log.append(&record(epoch)).unwrap());
        drop(log);
        // Stopped in the middle of a line, then resumed from the checkpoint after epoch 1.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"epoch": 4, "lr"#).unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);
        let mut log = EpochLog::open(&path).unwrap();
        let other = EpochRecord { loss: -0.6, ..record(2) };
        log.append(&other).unwrap();
        assert_eq!(read(&path).unwrap(), [record(0), record(1), other]);
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        EpochLog::open(&path).unwrap().append(&EpochRecord { loss: f64::NAN, ..record(0) }).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains(r#""loss":null"#));
        assert!(read(&path).unwrap()[0].loss.is_nan());
    }

    #[test]
    fn foreign_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.chain().contains("line 1, is not an epoch"), "{}", error.chain());
    }
}
