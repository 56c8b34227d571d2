//! The pickle of an nnU-Net checkpoint, in an archive that is made around it, or a whole archive: what is read has the
//! shape that the checkpoint names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_core::nnunet::checkpoint::Checkpoint;
use std::hint::black_box;
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Storages of the archive around a pickle, and the bytes of each: 24 fit numbers of 1, 2, 4 and 8 bytes.
const STORAGES: usize = 4;
const STORAGE_BYTES: usize = 24;
/// Tensors that are read from a checkpoint; each may inflate the whole of an archive's entry.
const MOST_TENSORS: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let archive = if bytes.starts_with(b"PK") { bytes.to_vec() } else { around(bytes) };
    let mut checkpoint = match Checkpoint::from_reader(Cursor::new(archive), Path::new("fuzzed.pth")) {
        Ok(checkpoint) => checkpoint,
        Err(e) => return drop(black_box(e.to_string())),
    };
    black_box((checkpoint.trainer_name(), checkpoint.configuration(), checkpoint.mirror_axes()));
    let tensors: Vec<(String, usize)> =
        checkpoint.weights().take(MOST_TENSORS).map(|(name, tensor)| (name.to_owned(), tensor.len())).collect();
    for (name, len) in tensors {
        match checkpoint.read_f32(&name) {
            Ok(values) => assert_eq!(values.len(), len, "{name}"),
            Err(e) => drop(black_box(e.to_string())),
        }
    }
});

/// A checkpoint of this pickle; without an archive's checksums in the way, changed bytes reach the pickle's reader.
fn around(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut put = |name: &str, bytes: &[u8]| {
        archive.start_file(name, stored).and_then(|()| Ok(archive.write_all(bytes)?)).expect("an entry in memory");
    };
    put("fuzzed/data.pkl", pickle);
    for key in 0..STORAGES {
        put(&format!("fuzzed/data/{key}"), &[key as u8; STORAGE_BYTES]);
    }
    archive.finish().expect("an archive in memory").into_inner()
}
