//! Checkpoints written by hand, to be wrong in one chosen way.

use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// A pickle of protocol 2, piece by piece.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub(super) fn int(&mut self, value: usize) -> &mut Self {
        self.raw(b"J").raw(&(value as i32).to_le_bytes())
    }

    fn ints(&mut self, values: &[usize]) -> &mut Self {
        self.raw(b"(");
        for value in values {
            self.int(*value);
        }
        self.raw(b"t")
    }
}

/// The first pickle of a file without an archive.
pub(super) const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// A tensor to be saved.
#[derive(Clone)]
pub(super) struct Saved {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A checkpoint of the four entries that prediction reads.
#[derive(Clone)]
pub(super) struct File {
    pub(super) tensors: Vec<Saved>,
    pub(super) trainer: &'static str,
    pub(super) configuration: &'static str,
    pub(super) byteorder: &'static str,
    /// Pickle code of the mirroring axes; empty leaves the key out.
    pub(super) mirror: &'static [u8],
    /// Values by which each storage is longer than it says.
    pub(super) surplus: usize,
}

impl File {
    pub(super) fn pickle(&self) -> Vec<u8> {
        self.pickle_with(b"")
    }

    /// References to storages end with the pickle code `view`.
    fn pickle_with(&self, view: &[u8]) -> Vec<u8> {
        let mut p = Writer::default();
        p.raw(b"\x80\x02}(");
        p.text("network_weights").raw(b"ccollections\nOrderedDict\n)R(");
        for (key, tensor) in self.tensors.iter().enumerate() {
            let strides: Vec<usize> =
                (0..tensor.shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product()).collect();
            p.text(&tensor.name).raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            p.text("storage").raw(b"ctorch\nFloatStorage\n").text(&key.to_string()).text("cuda:0");
            p.int(tensor.values.len()).raw(view).raw(b"tQ").int(0).ints(&tensor.shape).ints(&strides);
            p.raw(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        p.raw(b"u").text("trainer_name").text(self.trainer);
        p.text("init_args").raw(b"}").text("configuration").text(self.configuration).raw(b"s");
        if !self.mirror.is_empty() {
            p.text("inference_allowed_mirroring_axes").raw(self.mirror);
        }
        p.raw(b"u.");
        p.0
    }

    /// As PyTorch wrote files before version 1.6, the storages in the order opposite to that of the tensors.
    pub(super) fn old(&self) -> Vec<u8> {
        let order = if self.byteorder == "little" { b"\x88" } else { b"\x89" };
        let mut p = Writer::default();
        p.raw(OLD_MAGIC).raw(b"\x80\x02M\xe9\x03.");
        p.raw(b"\x80\x02}").text("little_endian").raw(order).raw(b"s.");
        p.raw(&self.pickle_with(b"N")).raw(b"\x80\x02](");
        for key in (0..self.tensors.len()).rev() {
            p.text(&key.to_string());
        }
        p.raw(b"e.");
        for tensor in self.tensors.iter().rev() {
            p.raw(&((tensor.values.len() + self.surplus) as u64).to_le_bytes());
            tensor.values.iter().for_each(|v| {
                p.raw(&v.to_le_bytes());
            });
            p.raw(&vec![0; 4 * self.surplus]);
        }
        p.0
    }

    pub(super) fn zip(&self) -> Vec<u8> {
        let mut entries = vec![
            ("data.pkl".to_string(), self.pickle()),
            ("byteorder".to_string(), self.byteorder.into()),
            ("version".to_string(), b"3\n".to_vec()),
        ];
        for (key, tensor) in self.tensors.iter().enumerate() {
            let mut bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            bytes.resize(bytes.len() + 4 * self.surplus, 0);
            entries.push((format!("data/{key}"), bytes));
        }
        zip(&entries)
    }
}

pub(super) fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(format!("any name/{name}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
