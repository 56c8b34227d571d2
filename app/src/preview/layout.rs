//! Where everything lies on the page: title, montage, legend, and three planes through each structure.

use super::canvas::{self, CAPITAL_HEIGHT, Canvas, FAINT_TEXT, MARK, TEXT, TEXT_HEIGHT, clipped, text_width};
use super::panel::{Panel, View};
use super::plane::{Cut, Plane};
use super::survey::Profile;
use scanside_core::volume::{Grid, Index3};
use std::ops::Range;

pub(super) const WIDTH: usize = 984;
const MARGIN: usize = 16;
const GAP: usize = 8;
/// Pixels from a line of text to what follows it.
const LINE: usize = TEXT_HEIGHT + 4;
const INNER: usize = WIDTH - 2 * MARGIN;

/// Axial planes of the whole scan.
const MONTAGE_COLUMNS: usize = 6;
const MONTAGE_ROWS: usize = 2;
const TILE: usize = (INNER - (MONTAGE_COLUMNS - 1) * GAP) / MONTAGE_COLUMNS;

/// Columns of the legend, and of structures where there are many.
const COLUMNS: usize = 2;
/// Up to so many structures have the whole width.
const MOST_LARGE: usize = 3;

/// Millimetres of a structure's pictures, by its largest extent; at least so many voxels.
const SURROUNDINGS: f64 = 1.5;
const LEAST_VOXELS: f64 = 24.0;

const NOTE: &str = "Research software, not for diagnosis";

/// A label of the model.
pub(super) struct Structure<'a> {
    pub(super) name: &'a str,
    pub(super) ml: f64,
    pub(super) profile: &'a Profile,
}

/// The page with its texts, and the pictures that are still to be filled in.
pub(super) struct Page {
    pub(super) canvas: Canvas,
    pub(super) panels: Vec<Panel>,
    marks: Vec<Marks>,
}

/// Letters at the edges of a picture.
struct Marks {
    corner: [usize; 2],
    side: usize,
    plane: Plane,
}

/// Where blocks of three pictures lie.
struct Blocks {
    columns: usize,
    /// Pixels of a picture along each side.
    side: usize,
}

impl Blocks {
    fn of(structures: usize) -> Blocks {
        let columns = if structures <= MOST_LARGE { 1 } else { COLUMNS };
        let width = (INNER - (columns - 1) * 2 * GAP) / columns;
        Blocks { columns, side: (width - 2 * GAP) / 3 }
    }

    fn width(&self) -> usize {
        3 * self.side + 2 * GAP
    }

    fn height(&self) -> usize {
        LINE + self.side + 2 * GAP
    }

    fn total_height(&self, structures: usize) -> usize {
        structures.div_ceil(self.columns) * self.height()
    }
}

impl Page {
    /// Lays the page out.
    pub(super) fn new(title: &str, structures: &[Structure<'_>], grid: &Grid) -> Page {
        let present: Vec<(usize, &Structure<'_>)> =
            structures.iter().enumerate().filter(|(_, structure)| structure.profile.voxels() > 0).collect();
        let blocks = Blocks::of(present.len());
        let tile = tile_size(grid);
        let slices = montage_slices(structures, grid);
        let montage = slices.len().div_ceil(MONTAGE_COLUMNS) * (tile[1] + GAP);
        let legend = structures.len().div_ceil(COLUMNS) * LINE + 2 * GAP;
        let height = 2 * MARGIN + 2 * LINE + GAP + montage + GAP + legend + blocks.total_height(present.len());
        let mut page = Page { canvas: Canvas::new(WIDTH, height), panels: Vec::new(), marks: Vec::new() };

        page.canvas.text([MARGIN, MARGIN], TEXT, &clipped(title, INNER));
        page.canvas.text([MARGIN, height - MARGIN - TEXT_HEIGHT], FAINT_TEXT, NOTE);
        let mut y = MARGIN + LINE + GAP;
        page.montage(y, tile, &slices, grid);
        y += montage + GAP;
        page.legend(y, structures);
        y += legend;
        for (n, (place, structure)) in present.into_iter().enumerate() {
            let column = n % blocks.columns;
            let corner = [MARGIN + column * (blocks.width() + 2 * GAP), y + n / blocks.columns * blocks.height()];
            page.block(corner, &blocks, (place, structure), grid);
        }
        page
    }

    /// Bytes that a page with so many structures takes at most.
    pub(super) fn bytes(structures: usize) -> usize {
        let fixed = 2 * MARGIN + 2 * LINE + 2 * GAP + MONTAGE_ROWS * (2 * TILE + GAP);
        let legend = structures.div_ceil(COLUMNS) * LINE + 2 * GAP;
        let with = |present: usize| {
            let blocks = Blocks::of(present);
            let pixels = WIDTH * (fixed + legend + blocks.total_height(present));
            pixels + 3 * present * Panel::bytes([blocks.side; 2])
        };
        let montage = MONTAGE_COLUMNS * MONTAGE_ROWS * Panel::bytes([TILE, 2 * TILE]);
        with(structures).max(with(structures.min(MOST_LARGE))) + montage
    }

    /// Draws what lies over the pictures, once they are filled in.
    pub(super) fn finish(mut self) -> Canvas {
        self.panels.iter().for_each(|panel| panel.outline(&mut self.canvas));
        for Marks { corner: [x, y], side, plane } in self.marks {
            let [middle_x, middle_y] = MARK.map(|size| (side - size) / 2);
            let [far_x, far_y] = MARK.map(|size| side - size);
            let places = [[0, middle_y], [far_x, middle_y], [middle_x, 0], [middle_x, far_y]];
            for (mark, place) in plane.marks().into_iter().zip(places) {
                self.canvas.mark([x + place[0], y + place[1]], mark);
            }
        }
        self.canvas
    }

    /// Axial planes through all structures, from the head to the feet.
    fn montage(&mut self, y: usize, tile: [usize; 2], slices: &[usize], grid: &Grid) {
        let cut = Plane::Axial.of(grid);
        let [rows_mm, columns_mm] = extents_mm(&cut, grid);
        let mm_per_pixel = (columns_mm / tile[0] as f64).max(rows_mm / tile[1] as f64);
        let centre = grid.shape_zyx.map(|n| (n as f64 - 1.0) / 2.0);
        for (n, &slice) in slices.iter().enumerate() {
            let (row, column) = (n / MONTAGE_COLUMNS, n % MONTAGE_COLUMNS);
            let corner = [MARGIN + column * (TILE + GAP), y + row * (tile[1] + GAP)];
            let view = View { cut: cut.clone(), slice, centre, mm_per_pixel, size: tile, corner };
            self.panels.push(Panel::new(&view, grid.shape_zyx, grid.spacing_mm, &mut self.canvas));
        }
    }

    fn legend(&mut self, y: usize, structures: &[Structure<'_>]) {
        let width = (INNER - (COLUMNS - 1) * 2 * GAP) / COLUMNS;
        for (place, structure) in structures.iter().enumerate() {
            let (row, column) = (place / COLUMNS, place % COLUMNS);
            let corner = [MARGIN + column * (width + 2 * GAP), y + row * LINE];
            self.heading(corner, width, place, structure);
        }
    }

    /// A patch of the label's colour, its name, and its volume at the right end.
    fn heading(&mut self, [x, y]: [usize; 2], width: usize, place: usize, structure: &Structure<'_>) {
        let absent = structure.profile.voxels() == 0;
        let (colour, volume) =
            if absent { (FAINT_TEXT, "not found".to_owned()) } else { (TEXT, volume_text(structure.ml)) };
        self.canvas.fill([x, y], [CAPITAL_HEIGHT; 2], canvas::colour(place));
        let name_room = width - CAPITAL_HEIGHT - GAP - text_width(&volume) - GAP;
        self.canvas.text([x + CAPITAL_HEIGHT + GAP, y], colour, &clipped(structure.name, name_room));
        self.canvas.text([x + width - text_width(&volume), y], colour, &volume);
    }

    /// A heading, and a sagittal, a coronal and an axial plane where each holds most of the structure.
    fn block(&mut self, corner: [usize; 2], blocks: &Blocks, (place, structure): (usize, &Structure<'_>), grid: &Grid) {
        self.heading(corner, blocks.width(), place, structure);
        let extents: [Range<usize>; 3] = std::array::from_fn(|axis| structure.profile.extent(axis).unwrap_or(0..1));
        let (side_mm, centre) = surroundings(&extents, grid);
        let planes = [Plane::Sagittal, Plane::Coronal, Plane::Axial];
        for (n, plane) in planes.into_iter().enumerate() {
            let cut = plane.of(grid);
            let slice = structure.profile.thickest(cut.through());
            let place = [corner[0] + n * (blocks.side + GAP), corner[1] + LINE];
            let view = View {
                cut,
                slice,
                centre,
                mm_per_pixel: side_mm / blocks.side as f64,
                size: [blocks.side; 2],
                corner: place,
            };
            self.panels.push(Panel::new(&view, grid.shape_zyx, grid.spacing_mm, &mut self.canvas));
            self.marks.push(Marks { corner: place, side: blocks.side, plane });
        }
    }
}

/// Pixels of a picture of the montage: as the whole plane, within reason.
fn tile_size(grid: &Grid) -> [usize; 2] {
    let [rows_mm, columns_mm] = extents_mm(&Plane::Axial.of(grid), grid);
    let height = (TILE as f64 * rows_mm / columns_mm).round() as usize;
    [TILE, height.clamp(TILE / 4, 2 * TILE)]
}

/// Millimetres of a whole slice, along its rows' axis and its columns' axis.
fn extents_mm(cut: &Cut, grid: &Grid) -> [f64; 2] {
    cut.axes().map(|(axis, _)| grid.shape_zyx[axis] as f64 * grid.spacing_mm[axis])
}

/// Evenly spaced axial slices through everything that was found, from the head to the feet; through the whole scan where
/// nothing was.
fn montage_slices(structures: &[Structure<'_>], grid: &Grid) -> Vec<usize> {
    let cut = Plane::Axial.of(grid);
    let axis = cut.through();
    let extents = structures.iter().filter_map(|structure| structure.profile.extent(axis));
    let all = extents.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..grid.shape_zyx[axis]);
    let count = all.len().min(MONTAGE_COLUMNS * MONTAGE_ROWS);
    // The middle of each of so many equal parts.
    let mut slices: Vec<usize> = (0..count).map(|n| all.start + (2 * n + 1) * all.len() / (2 * count)).collect();
    if !cut.through_turned() {
        slices.reverse();
    }
    slices
}

/// Millimetres of a square that shows a structure with what is around it, and its centre in voxels. It does not leave the scan
/// where it need not.
fn surroundings(extents: &[Range<usize>; 3], grid: &Grid) -> (f64, [f64; 3]) {
    let (shape, spacing): (Index3, [f64; 3]) = (grid.shape_zyx, grid.spacing_mm);
    let largest = |length: &dyn Fn(usize) -> f64| (0..3).map(length).fold(0.0, f64::max);
    let structure_mm = largest(&|axis| extents[axis].len() as f64 * spacing[axis]);
    let scan_mm = largest(&|axis| shape[axis] as f64 * spacing[axis]);
    let finest = spacing.into_iter().fold(f64::INFINITY, f64::min);
    let side = (SURROUNDINGS * structure_mm).max(LEAST_VOXELS * finest).min(scan_mm);
    let centre = std::array::from_fn(|axis| {
        let middle = (extents[axis].start + extents[axis].end - 1) as f64 / 2.0;
        let (half, last) = (side / spacing[axis] / 2.0, shape[axis] as f64 - 0.5);
        if 2.0 * half >= last + 0.5 { (last - 0.5) / 2.0 } else { middle.clamp(half - 0.5, last - half) }
    });
    (side, centre)
}

/// A volume with three or more digits.
fn volume_text(ml: f64) -> String {
    let digits = match ml {
        _ if ml >= 100.0 => 0,
        _ if ml >= 10.0 => 1,
        _ if ml >= 1.0 => 2,
        _ => 3,
    };
    format!("{ml:.digits$} ml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            shape_zyx: [40, 100, 80],
            spacing_mm: [5.0, 1.0, 1.0],
            origin: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        }
    }

    #[test]
    fn a_structure_is_shown_with_what_is_around_it() {
        let (side, centre) = surroundings(&[10..14, 50..60, 0..8], &grid());
        assert_eq!(side, 30.0);
        // The left edge of the picture is the scan's.
        assert_eq!(centre, [11.5, 54.5, 14.5]);
        let (side, centre) = surroundings(&[0..40, 0..100, 0..80], &grid());
        assert_eq!((side, centre), (200.0, [19.5, 49.5, 39.5]));
        assert_eq!(surroundings(&[3..4, 3..4, 30..31], &grid()).0, 24.0);
    }

    #[test]
    fn a_page_takes_no_more_than_was_counted() {
        for present in [0, 1, 3, 4, 30] {
            for absent in [0, 5] {
                let profile = |count| Profile(grid().shape_zyx.map(|n| vec![count; n]));
                let (some, none) = (profile(1), profile(0));
                let structure = |profile| Structure { name: "liver", ml: 1.0, profile };
                let all: Vec<Structure<'_>> =
                    (0..present + absent).map(|n| structure(if n < present { &some } else { &none })).collect();
                let page = Page::new("a model", &all, &grid());
                let panels: usize = page.panels.iter().map(Panel::held_bytes).sum();
                assert!(page.canvas.pixels().len() + panels <= Page::bytes(all.len()), "{present} + {absent}");
                assert_eq!(page.panels.len(), 12 + 3 * present);
            }
        }
    }

    #[test]
    fn volumes_have_three_digits() {
        assert_eq!([0.0123, 1.234, 12.34, 1234.4].map(volume_text), ["0.012 ml", "1.23 ml", "12.3 ml", "1234 ml"]);
    }
}
