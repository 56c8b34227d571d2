//! A picture of a scan with its labels, drawn without holding the scan in memory.
//!
//! The page shows axial planes through everything that was found, a legend with colours, names and volumes, and for each
//! structure a sagittal, a coronal and an axial plane where it is largest. Planes are the file's own, turned as radiologists read them:
//! the patient's right is on the left, front and head are up. The letters at the edges say so. Voxels have their proportions in
//! millimetres.

mod canvas;
mod font;
mod layout;
mod panel;
mod plane;
mod survey;
#[cfg(test)]
mod tests;

pub use plane::{Cut, Plane};

use crate::error::{Error, ErrorKind, OrPathError};
use crate::geometry::voxel_ml;
use crate::labelled_scan::LabelledScan;
use crate::output::PendingFile;
use crate::statistics::{places, structures};
use canvas::Canvas;
use layout::{Page, Structure};
use scanside_core::manifest::{Label, Manifest};
use scanside_core::volume::Index3;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// By which text in a PNG file a preview is recognised.
const MAKER: (&str, &str) = ("Software", "scanside preview");

/// The text lies behind the header and the palette of a PNG file.
const FILE_START_BYTES: u64 = 2048;

/// What writing a PNG takes beside the picture.
const ENCODER_BYTES: usize = 1 << 20;

/// A picture that was drawn.
pub(crate) struct Preview {
    canvas: Canvas,
    /// The colours that the model names.
    colours: Vec<Option<[u8; 3]>>,
}

impl Preview {
    /// Draws a case; its files are read twice.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn draw(volume: &LabelledScan<'_>, manifest: &Manifest) -> Result<Preview, Error> {
        let labels = structures(manifest.labels.heads());
        let places = places(&labels);
        let grid = volume.grid();
        let found = survey::survey(volume, &manifest.channels[0], &places, labels.len())?;
        let ml = voxel_ml(grid);
        let structures: Vec<Structure<'_>> = labels
            .iter()
            .zip(&found.profiles)
            .map(|(label, profile)| Structure { name: &label.name, ml: profile.voxels() as f64 * ml, profile })
            .collect();
        let mut page = Page::new(&manifest.name, &structures, grid);
        let row_voxels = grid.shape_zyx[2];
        volume.each_plane(1, |plane| {
            for panel in &mut page.panels {
                panel.take(&plane, row_voxels, found.window, &places, &mut page.canvas);
            }
        })?;
        Ok(Preview { canvas: page.finish(), colours: labels.iter().map(|label| label.rgb).collect() })
    }

    /// Bytes that drawing and writing take; `None` where they do not fit `usize`.
    pub(crate) fn bytes(shape_zyx: Index3, heads: &[Label]) -> Option<usize> {
        let count = structures(heads).len();
        let parts = [
            LabelledScan::bytes(shape_zyx, 1),
            survey::bytes(shape_zyx, count),
            Some(Page::bytes(count)),
            Some(ENCODER_BYTES),
        ];
        parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?))
    }

    /// Writes the picture as a PNG file, in place of an earlier preview.
    ///
    /// # Errors
    /// Another file has this name, or it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        if !may_replace(path).or_cannot_read(ErrorKind::Output, path)? {
            let sentence = format!("{} exists and is no preview; give another name", path.display());
            return Err(Error::new(ErrorKind::Output, sentence).about(path));
        }
        let mut file = BufWriter::new(PendingFile::create(path)?);
        self.canvas.write_png(&mut file, &self.colours).and_then(|()| file.flush()).or_cannot_write(path)?;
        let file = file.into_inner().map_err(|e| Error::cannot_write(path, e.into_error()))?;
        file.publish()
    }
}

/// Whether nothing has this name, or an earlier preview.
fn may_replace(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    let mut start = Vec::new();
    file.take(FILE_START_BYTES).read_to_end(&mut start)?;
    let mark = [MAKER.0.as_bytes(), b"\0", MAKER.1.as_bytes()].concat();
    Ok(start.windows(mark.len()).any(|part| part == mark))
}
