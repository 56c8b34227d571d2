//! MetaImage as one of this crate's formats.

use super::fields::Fields;
use super::header::{Header, PlaceLines};
use crate::beside;
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelOptions, LabelOutput, LabelType, LabelWriter};
use crate::name::ends_with;
use crate::planes::{LabelCode, LengthField, Opening, PlaneWriter};
use crate::recognise::recognise_file;
use crate::stream::{Packing, Place, open_file};
use crate::volume_file::{About, VolumeFile, voxel_bytes_of};
use crate::voxels::{Coding, Values};
use scanside_core::volume::Reader;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Digits of a length of bytes.
const LENGTH_DIGITS: usize = 20;

/// The format MetaImage.
pub(crate) struct MetaImage;

impl FileFormat for MetaImage {
    fn name(&self) -> &'static str {
        "MetaImage"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".mha", ".mhd"]
    }

    fn data_endings(&self) -> &'static [&'static str] {
        &[".zraw", ".raw"]
    }

    fn written_endings(&self) -> &'static [&'static str] {
        &[".mha"]
    }

    fn open(&self, path: &Path, _: Reader) -> Result<VolumeFile, FormatError> {
        let Some(fields) = Fields::read(path)? else {
            let found = match ends_with(path, self.data_endings()) {
                true => Some("the voxels of another file (give its header, .mhd)"),
                false => recognise_file(path)?,
            };
            return Err(FormatError::WrongFormat { path: path.to_path_buf(), expected: "MetaImage", found });
        };
        let header = Header::new(&fields).map_err(|problem| FormatError::header(path, problem))?;
        let shape = header.geometry.grid().shape_zyx;
        let data_bytes = voxel_bytes_of(path, shape, header.channels, header.voxel_type)?;
        let place = place(path, &fields, header.compressed, data_bytes)?;
        let coding = Coding { voxel_type: header.voxel_type, big_endian: header.big_endian, values: Values::default() };
        let about = About {
            warnings: header.warnings,
            description: fields.get(&["Comment"]).unwrap_or_default().to_owned(),
            marked_as_labels: None,
        };
        VolumeFile::new(path, place, header.geometry, header.channels, coding, about)
    }

    /// Under the lines of the scan's own header that say where it lies, where the scan is a MetaImage file. The length of the
    /// compressed voxels stands in front of them, where readers need it; it is filled in at the end.
    fn label_writer(
        &self,
        out: Box<dyn LabelOutput>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let axes = if geometry.is_planar() { 2 } else { 3 };
        let [nz, ny, nx] = geometry.grid().shape_zyx;
        let sizes = [nx, ny, nz].map(|n| n.to_string())[..axes].join(" ");
        let (stored, code) = match options.stored {
            LabelType::U8 => ("MET_UCHAR", LabelCode::U8),
            LabelType::U16 => ("MET_USHORT", LabelCode::U16 { big_endian: false }),
        };
        let comment = options.description_line().map_or(String::new(), |line| format!("Comment = {line}\n"));
        let mut text = format!(
            "ObjectType = Image\nNDims = {axes}\n{comment}BinaryData = True\nBinaryDataByteOrderMSB = False\n\
             CompressedData = True\nCompressedDataSize = "
        );
        let length = LengthField { at: text.len(), digits: LENGTH_DIGITS };
        let place = match geometry.own::<PlaceLines>() {
            Some(PlaceLines(lines)) => lines.clone(),
            None => place_lines(geometry, axes),
        };
        text += &format!(
            "{:>LENGTH_DIGITS$}\n{place}DimSize = {sizes}\nElementType = {stored}\nElementDataFile = LOCAL\n",
            0
        );
        let opening =
            Opening { plain: text.into_bytes(), packing: Packing::Zlib, packed: Vec::new(), length: Some(length) };
        Ok(Box::new(PlaneWriter::begin(out, opening, code, [nz, ny, nx])?))
    }
}

/// Where the voxels are.
fn place(path: &Path, fields: &Fields, compressed: bool, data_bytes: u64) -> Result<Place, FormatError> {
    let refuse = |problem: String| FormatError::header(path, problem);
    let name = fields.get(&["ElementDataFile"]).unwrap_or_default();
    let (data, start) = match name {
        "LOCAL" | "Local" | "local" => (path.to_path_buf(), fields.bytes),
        list if list.starts_with("LIST") || list.contains('%') => {
            let problem = "its voxels are in several files, one for each slice; save it as one .mha file";
            return Err(refuse(problem.into()));
        }
        name => (beside::named(path, name)?, 0),
    };
    let (mut file, length) = open_file(&data)?;
    let before = match fields.get(&["HeaderSize"]).unwrap_or("0").parse::<i64>() {
        Ok(0) => start,
        // The voxels are the last bytes of the file.
        Ok(-1) if !compressed => length.saturating_sub(data_bytes).max(start),
        Ok(bytes) if bytes > 0 && start == 0 => bytes.unsigned_abs(),
        _ => return Err(refuse(format!("its HeaderSize of {:?} is not possible here", fields.get(&["HeaderSize"])))),
    };
    let packing = if compressed { compression(&mut file, before, path, &data)? } else { Packing::Plain };
    Ok(Place { path: data, before, packing, skipped: 0 })
}

/// zlib, as ITK writes it, or gzip, as some writers of a second file do.
fn compression(file: &mut std::fs::File, at: u64, header: &Path, data: &Path) -> Result<Packing, FormatError> {
    let fault = |e| FormatError::reading(data, e);
    let mut mark = Vec::with_capacity(2);
    file.seek(SeekFrom::Start(at)).map_err(fault)?;
    file.take(2).read_to_end(&mut mark).map_err(fault)?;
    match mark[..] {
        [0x1f, 0x8b] => Ok(Packing::Gzip),
        // Deflate with a window of at most 32 KiB, and a checksum of the two bytes.
        [method, flags] if method & 0x8f == 0x08 && u16::from_be_bytes([method, flags]).is_multiple_of(31) => {
            Ok(Packing::Zlib)
        }
        _ => Err(FormatError::header(header, "its voxels are said to be compressed and are not a zlib stream")),
    }
}

/// Where a grid lies.
fn place_lines(geometry: &Geometry, axes: usize) -> String {
    let grid = geometry.grid();
    // No sign for a zero.
    let numbers = |values: Vec<f64>| values.iter().map(|v| (v + 0.0).to_string()).collect::<Vec<_>>().join(" ");
    let matrix = (0..axes).flat_map(|k| (0..axes).map(move |r| grid.direction[r][k])).collect();
    let spacing = (0..axes).map(|k| grid.spacing_mm[2 - k]).collect();
    format!(
        "TransformMatrix = {}\nOffset = {}\nCenterOfRotation = {}\nElementSpacing = {}\n",
        numbers(matrix),
        numbers(grid.origin[..axes].to_vec()),
        numbers(vec![0.0; axes]),
        numbers(spacing)
    )
}
