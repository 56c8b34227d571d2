//! MGH as one of this crate's formats.

use super::header::{HEADER_BYTES, Header, PlaceBytes, label_header};
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelOptions, LabelOutput, LabelType, LabelWriter};
use crate::name::is_gzip;
use crate::planes::{LabelCode, Opening, PlaneWriter};
use crate::recognise::recognise;
use crate::stream::{Packing, Place, Stream};
use crate::volume_file::{About, VolumeFile, voxel_bytes_of};
use crate::voxels::{Coding, Values};
use scanside_core::volume::Reader;
use std::path::Path;

/// The format MGH.
pub(crate) struct Mgh;

impl FileFormat for Mgh {
    fn name(&self) -> &'static str {
        "FreeSurfer MGH"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".mgh.gz", ".mgz", ".mgh"]
    }

    fn written_endings(&self) -> &'static [&'static str] {
        self.endings()
    }

    fn open(&self, path: &Path, _: Reader) -> Result<VolumeFile, FormatError> {
        let mut stream = Stream::of_start(path)?;
        let mut start = Vec::with_capacity(HEADER_BYTES);
        stream.extend(&mut start, HEADER_BYTES, path)?;
        let Some(header) = Header::parse(&start) else {
            let found = recognise(&start);
            return Err(FormatError::WrongFormat { path: path.to_path_buf(), expected: self.name(), found });
        };
        let header = header.map_err(|problem| FormatError::header(path, problem))?;
        voxel_bytes_of(path, header.grid.shape_zyx, header.channels, header.voxel_type)?;
        let place =
            Place { path: path.to_path_buf(), before: 0, packing: stream.packing(), skipped: HEADER_BYTES as u64 };
        let coding = Coding { voxel_type: header.voxel_type, big_endian: true, values: Values::default() };
        let about = About { warnings: header.warnings, description: header.description, marked_as_labels: None };
        let geometry = Geometry::of_grid(header.grid).with_own(header.place);
        VolumeFile::new(path, place, geometry, header.channels, coding, about)
    }

    /// Labels above 255 have 32 bits, as those of FreeSurfer have.
    fn label_writer(
        &self,
        out: Box<dyn LabelOutput>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let shape = geometry.grid().shape_zyx;
        let (type_code, code) = match options.stored {
            LabelType::U8 => (0, LabelCode::U8),
            LabelType::U16 => (1, LabelCode::I32),
        };
        let unwritable = |problem| FormatError::Unwritable { format: self.name(), problem };
        let made;
        let place = match geometry.own::<PlaceBytes>() {
            Some(place) => place,
            None => {
                let mut grid = geometry.grid().clone();
                if geometry.is_planar() {
                    grid.spacing_mm[0] = 1.0;
                }
                made = PlaceBytes::of_grid(&grid).map_err(unwritable)?;
                &made
            }
        };
        let header = label_header(shape, type_code, place, options.description).map_err(unwritable)?;
        let packing = if is_gzip(options.path) { Packing::Gzip } else { Packing::Plain };
        let opening = Opening { plain: Vec::new(), packing, packed: header, length: None };
        Ok(Box::new(PlaneWriter::begin(out, opening, code, shape)?))
    }
}
