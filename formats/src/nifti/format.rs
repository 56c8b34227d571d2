//! NIfTI as one of this crate's formats: single files, and pairs of a header and its voxels.

use super::error::HeaderError;
use super::fields::Version;
use super::header::{Files, Header};
use super::image_writer::header_of;
use super::layout::Draft;
use crate::beside;
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelOptions, LabelOutput, LabelType, LabelWriter};
use crate::name::{ends_with, is_gzip};
use crate::planes::{LabelCode, Opening, PlaneWriter};
use crate::recognise::recognise;
use crate::stream::{Packing, Place, Stream};
use crate::volume_file::{About, VolumeFile};
use crate::voxels::{Coding, Values};
use scanside_core::volume::{Reader, VoxelType};
use std::path::Path;

/// The intent code of label maps.
const INTENT_LABEL: i32 = 1002;

const HEADERS: &[&str] = &[".hdr", ".hdr.gz"];
const VOXELS: &[&str] = &[".img.gz", ".img"];

/// The format NIfTI.
pub(crate) struct Nifti;

impl FileFormat for Nifti {
    fn name(&self) -> &'static str {
        "NIfTI"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".nii.gz", ".hdr.gz", ".nii", ".hdr"]
    }

    fn data_endings(&self) -> &'static [&'static str] {
        VOXELS
    }

    fn written_endings(&self) -> &'static [&'static str] {
        &[".nii.gz", ".nii"]
    }

    fn open(&self, path: &Path, reader: Reader) -> Result<VolumeFile, FormatError> {
        // A pair is meant by either of its files.
        let pair = if ends_with(path, VOXELS) {
            Some((beside::with_ending(path, VOXELS, HEADERS)?, path.to_path_buf()))
        } else if ends_with(path, HEADERS) {
            Some((path.to_path_buf(), beside::with_ending(path, HEADERS, VOXELS)?))
        } else {
            None
        };
        let (head_path, files) = pair.as_ref().map_or((path, Files::One), |(header, _)| (header, Files::Pair));
        let (header, packing) = read_header(head_path, files, reader)?;
        let place = match pair {
            None => Place { path: path.to_path_buf(), before: 0, packing, skipped: header.voxels_at() },
            Some((_, voxels)) => {
                let packing = Stream::of_start(&voxels)?.packing();
                Place { path: voxels, before: 0, packing, skipped: header.voxels_at() }
            }
        };
        volume_file(path, place, header, reader)
    }

    /// Under the scan's own header where the scan is a NIfTI file: version, byte order, voxel sizes, units and both transforms
    /// are the scan's, bit for bit. Everything else of its header is left behind, names and notes included; a 4-D scan gives
    /// 3-D labels, a 2-D scan 2-D ones.
    fn label_writer(
        &self,
        out: Box<dyn LabelOutput>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let axes = if geometry.is_planar() { 2 } else { 3 };
        let made;
        let header = match geometry.own::<Header>() {
            Some(header) => header,
            None => {
                made = header_of(geometry.grid(), VoxelType::U8, axes)?;
                &made
            }
        };
        let [nz, ny, nx] = geometry.grid().shape_zyx;
        let mut draft = Draft::new(header.version(), header.big_endian());
        draft.copy_geometry(header.raw());
        draft.set_sizes(&[nx, ny, nz][..axes]);
        let (code, bytes, stored) = match options.stored {
            LabelType::U8 => (2, 1, LabelCode::U8),
            LabelType::U16 => (512, 2, LabelCode::U16 { big_endian: header.big_endian() }),
        };
        draft.set_type(code, bytes);
        draft.set_description(options.description);
        let packing = if is_gzip(options.path) { Packing::Gzip } else { Packing::Plain };
        let opening = Opening { plain: Vec::new(), packing, packed: draft.into_bytes(), length: None };
        Ok(Box::new(PlaneWriter::begin(out, opening, stored, [nz, ny, nx])?))
    }
}

/// The header of a file, and how the file is packed, which is recognised by content and not by name.
fn read_header(path: &Path, files: Files, reader: Reader) -> Result<(Header, Packing), FormatError> {
    let mut stream = Stream::of_start(path)?;
    let mut start = Vec::with_capacity(Header::MOST_BYTES);
    for version in [Version::One, Version::Two] {
        stream.extend(&mut start, version.layout().header_bytes, path)?;
        if !matches!(start[..], [0x1c, 2, 0, 0, ..] | [0, 0, 2, 0x1c, ..]) {
            break;
        }
    }
    match Header::parse_as(&start, files, reader) {
        Ok(header) => Ok((header, stream.packing())),
        Err(problem) => match (&problem, recognise(&start)) {
            (HeaderError::NotNifti { .. } | HeaderError::TooShort { .. }, Some(found)) => {
                Err(FormatError::WrongFormat { path: path.to_path_buf(), expected: "NIfTI", found: Some(found) })
            }
            _ => Err(FormatError::header(path, problem)),
        },
    }
}

fn volume_file(path: &Path, place: Place, header: Header, reader: Reader) -> Result<VolumeFile, FormatError> {
    let grid = header.grid().clone();
    let geometry = if header.is_planar() { Geometry::of_plane(grid) } else { Geometry::of_grid(grid) };
    let float = matches!(header.voxel_type(), VoxelType::F32 | VoxelType::F64);
    let coding = Coding {
        voxel_type: header.voxel_type(),
        big_endian: header.big_endian(),
        values: Values {
            scaling: header.scaling(),
            reader,
            // The library that ITK reads NIfTI with does so; other formats keep such voxels.
            zero_for_non_finite: float && reader == Reader::SimpleItk,
        },
    };
    let about = About {
        warnings: header.warnings().to_vec(),
        description: header.description(),
        marked_as_labels: (header.intent_code() == INTENT_LABEL).then_some("its header says so (intent code 1002)"),
    };
    let channels = header.channels();
    VolumeFile::new(path, place, geometry.with_own(header), channels, coding, about)
}
