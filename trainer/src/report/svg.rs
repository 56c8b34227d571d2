//! Writes SVG drawings. Colours and line widths come from the page's style sheet, so that they follow light and dark mode.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// A drawing while it is written.
pub(super) struct Svg(String);

/// Which point of a text is at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Its start.
    Start,
    /// Its centre.
    Middle,
    /// Its end.
    End,
}

impl Svg {
    /// An empty drawing of this size, in its own units.
    pub(super) fn new(width: f64, height: f64) -> Svg {
        Svg(format!(r#"<svg viewBox="0 0 {} {}">"#, rounded(width), rounded(height)))
    }

    /// As [`Svg::new`], with a description for screen readers.
    pub(super) fn described(width: f64, height: f64, description: &str) -> Svg {
        let (width, height, label) = (rounded(width), rounded(height), escape(description));
        Svg(format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">"#))
    }

    /// A group of elements with a class of the style sheet.
    pub(super) fn group(&mut self, class: &str, content: impl FnOnce(&mut Svg)) {
        let _ = write!(self.0, r#"<g class="{class}">"#);
        content(self);
        self.0 += "</g>";
    }

    /// A group of elements in other units: one of them has the size `x` times `y`.
    pub(super) fn scaled(&mut self, x: f64, y: f64, content: impl FnOnce(&mut Svg)) {
        let _ = write!(self.0, r#"<g transform="scale({x} {y})">"#);
        content(self);
        self.0 += "</g>";
    }

    /// A path without a class of its own.
    pub(super) fn plain_path(&mut self, path: &str) {
        let _ = write!(self.0, r#"<path d="{path}"/>"#);
    }

    /// A path.
    pub(super) fn path(&mut self, class: &str, path: &str) {
        let _ = write!(self.0, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// A circle.
    pub(super) fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let _ = write!(self.0, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#);
    }

    /// A text.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(self.0, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escape(text));
    }

    /// A PNG file, stretched to this size.
    pub(super) fn png(&mut self, width: f64, height: f64, png: &[u8]) {
        let (width, height, png) = (rounded(width), rounded(height), STANDARD.encode(png));
        let _ = write!(
            self.0,
            r#"<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/png;base64,{png}"/>"#
        );
    }

    /// The drawing as one `svg` element.
    pub(super) fn finish(self) -> String {
        self.0 + "</svg>"
    }
}

/// Hundredths of a unit.
fn rounded(number: f64) -> f64 {
    (100.0 * number).round() / 100.0
}

/// Text for an element or an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_nested_and_text_is_escaped() {
        let mut svg = Svg::described(10.0, 2.5, "a \"b\" <c>");
        svg.group("tick", |svg| svg.text((1.0, 2.0), Anchor::End, "x & y"));
        svg.scaled(0.5, 2.0, |svg| svg.path("line", "M0 0"));
        assert_eq!(
            svg.finish(),
            r#"<svg viewBox="0 0 10 2.5" role="img" aria-label="a &quot;b&quot; &lt;c>"><g class="tick"><text x="1.0" y="2.0" text-anchor="end">x &amp; y</text></g><g transform="scale(0.5 2)"><path class="line" d="M0 0"/></g></svg>"#
        );
    }
}
