//! NRRD as one of this crate's formats.

use super::fields::Fields;
use super::header::{Header, PlaceLines};
use crate::beside;
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelOptions, LabelOutput, LabelType, LabelWriter};
use crate::name::ends_with;
use crate::planes::{LabelCode, Opening, PlaneWriter};
use crate::recognise::recognise_file;
use crate::stream::{Packing, Place, open_file};
use crate::volume_file::{About, VolumeFile, voxel_bytes_of};
use crate::voxels::{Coding, Values};
use scanside_core::volume::Reader;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

/// The format NRRD.
pub(crate) struct Nrrd;

impl FileFormat for Nrrd {
    fn name(&self) -> &'static str {
        "NRRD"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".nrrd", ".nhdr"]
    }

    fn data_endings(&self) -> &'static [&'static str] {
        &[".raw.gz", ".raw"]
    }

    fn written_endings(&self) -> &'static [&'static str] {
        &[".nrrd"]
    }

    fn open(&self, path: &Path, _: Reader) -> Result<VolumeFile, FormatError> {
        let Some(fields) = Fields::read(path)? else {
            let found = match ends_with(path, self.data_endings()) {
                true => Some("the voxels of another file (give its header, .nhdr or .mhd)"),
                false => recognise_file(path)?,
            };
            return Err(FormatError::WrongFormat { path: path.to_path_buf(), expected: "NRRD", found });
        };
        let header = Header::new(&fields).map_err(|problem| FormatError::header(path, problem))?;
        let shape = header.geometry.grid().shape_zyx;
        let data_bytes = voxel_bytes_of(path, shape, header.channels, header.voxel_type)?;
        let place = place(path, &fields, header.gzip, data_bytes)?;
        let coding = Coding { voxel_type: header.voxel_type, big_endian: header.big_endian, values: Values::default() };
        let about = About {
            warnings: header.warnings,
            description: fields.get("content").unwrap_or_default().to_owned(),
            marked_as_labels: fields.segments.then_some("its header describes segments"),
        };
        VolumeFile::new(path, place, header.geometry, header.channels, coding, about)
    }

    /// Under the lines of the scan's own header that say where it lies, where the scan is an NRRD file.
    fn label_writer(
        &self,
        out: Box<dyn LabelOutput>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let shape = geometry.grid().shape_zyx;
        let (stored, code) = match options.stored {
            LabelType::U8 => ("unsigned char", LabelCode::U8),
            LabelType::U16 => ("unsigned short", LabelCode::U16 { big_endian: false }),
        };
        let opening = Opening {
            plain: header_text(geometry, stored, options.description_line())?.into_bytes(),
            packing: Packing::Gzip,
            packed: Vec::new(),
            length: None,
        };
        Ok(Box::new(PlaneWriter::begin(out, opening, code, shape)?))
    }
}

/// Where the voxels are.
fn place(path: &Path, fields: &Fields, gzip: bool, data_bytes: u64) -> Result<Place, FormatError> {
    let refuse = |problem: String| FormatError::header(path, problem);
    let (data, start) = match fields.get("datafile") {
        None => (path.to_path_buf(), fields.bytes),
        Some(list) if list.starts_with("LIST") || list.contains('%') => {
            let problem = "its voxels are in several files, one for each slice; save it as one .nrrd file";
            return Err(refuse(problem.into()));
        }
        Some(name) => (beside::named(path, name)?, 0),
    };
    let skip = |name: &str, least: i64| match fields.get(name).map(str::parse::<i64>) {
        None => Ok(0),
        Some(Ok(n)) if n >= least => Ok(n),
        _ => Err(refuse(format!("its field {name:?} is {:?}, which is not possible", fields.get(name)))),
    };
    let (lines, bytes) = (skip("lineskip", 0)?, skip("byteskip", -1)?);
    let before = behind_lines(&data, start, lines.unsigned_abs())?;
    let packing = if gzip { Packing::Gzip } else { Packing::Plain };
    match (bytes, gzip) {
        // The voxels are the last bytes of the file.
        (-1, false) => {
            let (_, length) = open_file(&data)?;
            Ok(Place { before: length.saturating_sub(data_bytes).max(before), path: data, packing, skipped: 0 })
        }
        (-1, true) => Err(refuse("its byte skip is -1 in compressed voxels, which is not read; save it again".into())),
        (skipped, _) => Ok(Place { path: data, before, packing, skipped: skipped.unsigned_abs() }),
    }
}

/// The byte behind so many lines that begin at `start`.
fn behind_lines(path: &Path, start: u64, lines: u64) -> Result<u64, FormatError> {
    if lines == 0 {
        return Ok(start);
    }
    let fault = |e| FormatError::reading(path, e);
    let (mut file, _) = open_file(path)?;
    file.seek(SeekFrom::Start(start)).map_err(fault)?;
    let mut from = BufReader::new(file);
    let (mut at, mut left) = (start, lines);
    while left > 0 {
        let there = from.fill_buf().map_err(fault)?;
        if there.is_empty() {
            break;
        }
        let line = there.iter().position(|byte| *byte == b'\n');
        let step = line.map_or(there.len(), |end| end + 1);
        left -= u64::from(line.is_some());
        from.consume(step);
        at += step as u64;
    }
    Ok(at)
}

/// A header to its empty line.
fn header_text(geometry: &Geometry, stored: &str, description: Option<String>) -> Result<String, FormatError> {
    let axes = if geometry.is_planar() { 2 } else { 3 };
    let grid = geometry.grid();
    let [nz, ny, nx] = grid.shape_zyx;
    let sizes = [nx, ny, nz].map(|n| n.to_string())[..axes].join(" ");
    let place = match geometry.own::<PlaceLines>() {
        Some(PlaceLines(lines)) => lines.clone(),
        None => place_lines(geometry, axes)?,
    };
    let mut text = String::from("NRRD0004\n");
    if let Some(line) = description {
        let _ = writeln!(text, "content: {line}");
    }
    let kinds = vec!["domain"; axes].join(" ");
    let _ = write!(
        text,
        "type: {stored}\ndimension: {axes}\n{place}sizes: {sizes}\nkinds: {kinds}\nendian: little\nencoding: gzip\n\n"
    );
    Ok(text)
}

/// Where a grid lies, in LPS.
fn place_lines(geometry: &Geometry, axes: usize) -> Result<String, FormatError> {
    let grid = geometry.grid();
    let vector = |numbers: &[f64]| {
        // No sign for a zero.
        let numbers: Vec<String> = numbers.iter().map(|v| (v + 0.0).to_string()).collect();
        format!("({})", numbers.join(","))
    };
    let along = |k: usize| (0..axes).map(|r| grid.direction[r][k] * grid.spacing_mm[2 - k]).collect::<Vec<f64>>();
    if (0..axes).flat_map(along).any(|v| !v.is_finite()) {
        let problem = "its spacing is beyond the range of double precision".into();
        return Err(FormatError::Unwritable { format: "NRRD", problem });
    }
    let directions: Vec<String> = (0..axes).map(|k| vector(&along(k))).collect();
    let space = if axes == 3 { "space: left-posterior-superior" } else { "space dimension: 2" };
    let (directions, origin) = (directions.join(" "), vector(&grid.origin[..axes]));
    Ok(format!("{space}\nspace directions: {directions}\nspace origin: {origin}\n"))
}
