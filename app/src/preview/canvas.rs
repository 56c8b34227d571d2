//! A picture with a palette: greys for the scan and for text, colours for labels.

use super::font;
use std::io::{self, Write};

/// Grey levels: 0 is black, the last one is white.
pub(super) const GREYS: u8 = 120;
/// The first colour of a label in the palette.
const FIRST_COLOUR: u8 = 128;
/// Labels with a colour of their own; further ones share colours.
pub(super) const COLOURS: usize = 127;

pub(super) const BACKGROUND: u8 = 12;
pub(super) const TEXT: u8 = 112;
pub(super) const FAINT_TEXT: u8 = 76;

/// Screen pixels of a pixel of the font.
const SCALE: usize = 2;
/// Pixels of a line of text, and of its capital letters.
pub(super) const TEXT_HEIGHT: usize = SCALE * font::HEIGHT;
pub(super) const CAPITAL_HEIGHT: usize = SCALE * font::CAPITAL_HEIGHT;
/// Pixels of a letter on a black ground.
pub(super) const MARK: [usize; 2] = [SCALE * (font::WIDTH + 2), SCALE * (font::CAPITAL_HEIGHT + 2)];

/// Colours of labels whose model names none: easy to tell apart, on grey as well.
const DISTINCT: [[u8; 3]; 12] = [
    [255, 150, 40],
    [70, 160, 255],
    [120, 220, 90],
    [240, 90, 160],
    [250, 230, 60],
    [60, 220, 220],
    [190, 120, 255],
    [255, 90, 80],
    [0, 190, 130],
    [255, 180, 200],
    [170, 140, 60],
    [150, 190, 255],
];

/// Pixels of a palette, row by row.
pub(super) struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

/// Pixels that a text takes.
pub(super) fn text_width(text: &str) -> usize {
    SCALE * (text.chars().count() * font::ADVANCE).saturating_sub(1)
}

/// A text that takes at most so many pixels; a longer one ends with dots.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let most = width / (SCALE * font::ADVANCE);
    text.chars().take(most.saturating_sub(2)).chain("..".chars()).collect()
}

/// The palette's colour of the label at this place among a model's labels.
pub(super) fn colour(place: usize) -> u8 {
    FIRST_COLOUR + (place % COLOURS) as u8
}

/// Red, green and blue of a label whose model names no colour.
fn distinct(place: usize) -> [u8; 3] {
    if let Some(colour) = DISTINCT.get(place) {
        return *colour;
    }
    // Hues a golden angle apart fall between those before; three brightnesses take turns.
    let hue = place as f64 * 0.618_033_988_749_895 % 1.0 * 6.0;
    let value = [255.0, 190.0, 225.0][place % 3];
    let low = [0.25, 0.1, 0.5][place % 3];
    let part = |offset: f64| {
        let distance = ((hue + offset) % 6.0 - 3.0).abs() - 1.0;
        (value * (low + (1.0 - low) * distance.clamp(0.0, 1.0))) as u8
    };
    [part(0.0), part(4.0), part(2.0)]
}

impl Canvas {
    /// A canvas in the background's colour.
    pub(super) fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, pixels: vec![BACKGROUND; width * height] }
    }

    pub(super) fn set(&mut self, x: usize, y: usize, colour: u8) {
        self.pixels[y * self.width + x] = colour;
    }

    pub(super) fn fill(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], colour: u8) {
        for row in self.pixels.chunks_exact_mut(self.width).skip(y).take(height) {
            row[x..x + width].fill(colour);
        }
    }

    /// Writes a text whose first character's upper left corner is here.
    pub(super) fn text(&mut self, [x, y]: [usize; 2], colour: u8, text: &str) {
        for (n, c) in text.chars().enumerate() {
            for (column, bits) in font::glyph(c).into_iter().enumerate() {
                for row in (0..font::HEIGHT).filter(|row| bits >> row & 1 == 1) {
                    let corner = [x + SCALE * (n * font::ADVANCE + column), y + SCALE * row];
                    self.fill(corner, [SCALE, SCALE], colour);
                }
            }
        }
    }

    /// Writes a capital letter on a black ground of the size [`MARK`], so that it is readable on a scan.
    pub(super) fn mark(&mut self, corner: [usize; 2], letter: char) {
        self.fill(corner, MARK, 0);
        self.text(corner.map(|at| at + SCALE), TEXT, letter.encode_utf8(&mut [0; 4]));
    }

    /// All pixels, row by row.
    #[cfg(test)]
    pub(super) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Writes the picture as PNG. Each entry of `colours` is the colour of a label, if its model names one.
    pub(super) fn write_png(&self, out: impl Write, colours: &[Option<[u8; 3]>]) -> io::Result<()> {
        let mut palette: Vec<u8> = Vec::with_capacity(3 * 256);
        for level in 0..FIRST_COLOUR {
            let grey = u32::from(level.min(GREYS - 1)) * 255 / u32::from(GREYS - 1);
            palette.extend([grey as u8; 3]);
        }
        for (place, own) in colours.iter().enumerate().take(COLOURS) {
            palette.extend(own.unwrap_or_else(|| distinct(place)));
        }
        let size = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
        let (width, height) = (size(self.width)?, size(self.pixels.len() / self.width)?);
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette);
        encoder.add_text_chunk(super::MAKER.0.into(), super::MAKER.1.into())?;
        let mut writer = encoder.write_header()?;
        // Row by row: the compressed picture is not kept.
        let mut rows = writer.stream_writer()?;
        rows.write_all(&self.pixels)?;
        rows.finish()?;
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_clipped_to_their_room() {
        assert_eq!(clipped("liver", 60), "liver");
        assert_eq!(clipped("left upper lobe", 100), "left u..");
        assert!(text_width(&clipped("left upper lobe", 100)) <= 100);
    }

    #[test]
    fn colours_are_distinct() {
        for a in 0..COLOURS {
            for b in 0..a.min(40) {
                assert_ne!(distinct(a), distinct(b), "{a} and {b}");
            }
        }
    }
}
