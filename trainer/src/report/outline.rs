//! Outlines of a mask in a plane, as SVG paths along the borders of its pixels.

use std::collections::BTreeMap;
use std::fmt::Write;

type Corner = (i32, i32);

/// The border of the pixels for which `inside(row, column)` holds, in units of pixels: `x` to the right, `y` down.
/// Empty where there are none.
pub fn path(rows: usize, columns: usize, inside: impl Fn(usize, usize) -> bool) -> String {
    let is_in = |r: i32, c: i32| {
        let within = r >= 0 && c >= 0 && (r as usize) < rows && (c as usize) < columns;
        within && inside(r as usize, c as usize)
    };
    // Each edge runs with the mask on its right, so that edges of a border follow each other.
    let mut next: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    for r in 0..rows as i32 {
        for c in 0..columns as i32 {
            if !is_in(r, c) {
                continue;
            }
            let edges = [
                (!is_in(r - 1, c), (c, r), (c + 1, r)),
                (!is_in(r, c + 1), (c + 1, r), (c + 1, r + 1)),
                (!is_in(r + 1, c), (c + 1, r + 1), (c, r + 1)),
                (!is_in(r, c - 1), (c, r + 1), (c, r)),
            ];
            for (_, from, to) in edges.into_iter().filter(|(border, _, _)| *border) {
                next.entry(from).or_default().push(to);
            }
        }
    }
    let mut text = String::new();
    while let Some((&start, _)) = next.iter().next() {
        let mut corners = vec![start];
        let mut at = start;
        while let Some(ends) = next.get_mut(&at) {
            let Some(to) = ends.pop() else { break };
            if ends.is_empty() {
                next.remove(&at);
            }
            corners.push(to);
            at = to;
            if at == start {
                break;
            }
        }
        write_ring(&mut text, &corners);
    }
    text
}

/// A closed ring, without the corners on straight stretches.
fn write_ring(text: &mut String, corners: &[Corner]) {
    let (x, y) = corners[0];
    let _ = write!(text, "M{x} {y}");
    for window in corners.windows(3) {
        let [a, b, c] = [window[0], window[1], window[2]];
        if (b.0 - a.0, b.1 - a.1) != (c.0 - b.0, c.1 - b.1) {
            let _ = write!(text, "L{} {}", b.0, b.1);
        }
    }
    text.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(mask: &[&str]) -> String {
        path(mask.len(), mask[0].len(), |r, c| mask[r].as_bytes()[c] == b'#')
    }

    #[test]
    fn a_block_is_four_corners() {
        assert_eq!(outline(&["....", ".##.", ".##."]), "M1 1L3 1L3 3L1 3Z");
        assert_eq!(outline(&["...", "..."]), "");
    }

    #[test]
    fn holes_and_pieces_are_rings_of_their_own() {
        assert_eq!(outline(&["###", "#.#", "###"]).matches('M').count(), 2);
        assert_eq!(outline(&["#..", "...", "..#"]).matches('M').count(), 2);
        // Pixels that touch at a corner: every ring ends where it began.
        let touching = outline(&["#.", ".#"]);
        assert_eq!(touching.matches('Z').count(), touching.matches('M').count());
    }

    #[test]
    fn the_enclosed_area_is_the_masks() {
        let mask = ["..##..", ".####.", "##..##", ".####.", "......"];
        let text = outline(&mask);
        let mut twice_area = 0;
        for ring in text.split('Z').filter(|r| !r.is_empty()) {
            let corners: Vec<(i32, i32)> = ring[1..]
                .split('L')
                .map(|corner| {
                    let (x, y) = corner.split_once(' ').unwrap();
                    (x.parse().unwrap(), y.parse().unwrap())
                })
                .collect();
            for (i, (x, y)) in corners.iter().enumerate() {
                let (u, v) = corners[(i + 1) % corners.len()];
                twice_area += x * v - u * y;
            }
        }
        let pixels = mask.iter().flat_map(|row| row.bytes()).filter(|b| *b == b'#').count();
        assert_eq!(twice_area, 2 * pixels as i32);
    }
}
