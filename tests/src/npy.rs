//! numpy's array files, plain or gzipped, as the golden files use them.

use std::io::Read;
use std::path::Path;

/// An array: extents and values, widened to `f64` (exact for every type the golden files use).
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// numpy's type string, for example `<f4`.
    pub dtype: String,
    /// Values in C order.
    pub values: Vec<f64>,
}

impl Array {
    /// Values as `f32`.
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }

    /// The last three extents.
    pub fn shape3(&self) -> [usize; 3] {
        let n = self.shape.len();
        [self.shape[n - 3], self.shape[n - 2], self.shape[n - 1]]
    }
}

/// Reads `folder/name.npy` or `folder/name.npy.gz`; `None` if there is neither.
pub fn read(folder: &Path, name: &str) -> Option<Array> {
    let plain = folder.join(format!("{name}.npy"));
    let zipped = folder.join(format!("{name}.npy.gz"));
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(&zipped) {
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("a gzip file");
    } else {
        bytes = std::fs::read(plain).ok()?;
    }
    Some(parse(&bytes, name))
}

fn parse(bytes: &[u8], name: &str) -> Array {
    assert_eq!(&bytes[..6], b"\x93NUMPY", "{name}");
    let (start, length) = match bytes[6] {
        1 => (10, u16::from_le_bytes([bytes[8], bytes[9]]) as usize),
        _ => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
    };
    let header = std::str::from_utf8(&bytes[start..start + length]).expect("an ASCII header");
    assert!(header.contains("'fortran_order': False"), "{name}: C order is expected");
    let after = |key: &str| &header[header.find(key).expect("a complete header") + key.len()..];
    let dtype = after("'descr': '").split('\'').next().unwrap_or_default().to_owned();
    let extents = after("'shape': (").split(')').next().unwrap_or_default();
    let shape: Vec<usize> = extents.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    let data = &bytes[start + length..];
    let values = match dtype.as_str() {
        "<f4" => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f64).collect(),
        "<f2" => data
            .chunks_exact(2)
            .map(|b| scanside_core::half_float::f16_to_f32(u16::from_le_bytes([b[0], b[1]])) as f64)
            .collect(),
        "|u1" | "|b1" => data.iter().map(|&b| b as f64).collect(),
        "<i8" => data
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64)
            .collect(),
        "<i2" => data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]) as f64).collect(),
        "<u2" => data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]) as f64).collect(),
        other => panic!("{name}: type {other} is not read"),
    };
    let array = Array { shape, dtype, values };
    assert_eq!(array.values.len(), array.shape.iter().product::<usize>(), "{name}");
    array
}
