//! The largest component of some labels, found and kept plane by plane.
//!
//! Voxels are connected where they share a face, an edge or a corner. A scan's components cannot be known before its last
//! plane, so there are two passes over the label planes, and memory depends on the size of a plane alone:
//!
//! 1. [`ComponentScan::push`] takes planes in ascending order. It follows only *groups*: the components as far as they reach
//!    into the latest plane. For each plane it gives [`PlaneLinks`], which the caller keeps outside of memory.
//! 2. [`ComponentFilter`] takes planes and links in descending order. Whether a group belongs to the largest component is known
//!    from the group that it became in the plane after.

use crate::volume::{product, sum};
use alloc::vec;
use alloc::vec::Vec;

/// Of all voxels with one of these labels, taken as one foreground, only the largest component stays. Where several are
/// equally large, all of them stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepLargest {
    /// The label values.
    pub labels: Vec<u16>,
    /// What the other voxels become.
    pub background: u16,
}

/// What became of a group of the plane before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on in this group of the plane.
    Joins(u32),
    /// Its component ended with so many voxels.
    Ends(u64),
}

/// How the components of a plane are linked with the plane before.
#[derive(Clone, Copy, Debug)]
pub struct PlaneLinks<'a> {
    /// The group of each component within the plane, in the order of their first voxels.
    pub groups: &'a [u32],
    /// What became of each group of the plane before.
    pub fates: &'a [Fate],
}

/// The components within one plane.
#[derive(Debug)]
struct PlaneComponents {
    members: Vec<bool>,
    columns: usize,
    /// For each voxel 0, or the number of its component from 1.
    numbers: Vec<u32>,
    sets: DisjointSets,
    /// For each provisional number its component.
    dense: Vec<u32>,
    count: usize,
}

/// Sets of numbers from 0 that can be united. The smallest number stands for its set.
#[derive(Debug, Default)]
struct DisjointSets(Vec<u32>);

impl DisjointSets {
    fn with_capacity(most: usize) -> Self {
        DisjointSets(Vec::with_capacity(most))
    }

    fn reset(&mut self, count: usize) {
        self.0.clear();
        self.0.extend((0..count).map(|i| i as u32));
    }

    fn add(&mut self) -> u32 {
        let new = self.0.len() as u32;
        self.0.push(new);
        new
    }

    fn find(&mut self, mut at: u32) -> u32 {
        while self.0[at as usize] != at {
            let parent = self.0[at as usize];
            self.0[at as usize] = self.0[parent as usize];
            at = parent;
        }
        at
    }

    fn unite(&mut self, a: u32, b: u32) -> u32 {
        let (a, b) = (self.find(a), self.find(b));
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        self.0[high as usize] = low;
        low
    }
}

/// For each label value whether the rule is about it.
fn members(rule: &KeepLargest) -> Vec<bool> {
    let length = rule.labels.iter().max().map_or(0, |&largest| usize::from(largest) + 1);
    let mut members = vec![false; length];
    rule.labels.iter().for_each(|&label| members[usize::from(label)] = true);
    members
}

/// The most components that a plane can have: voxels of two components do not touch, so every second one in either
/// direction.
fn most_components(rows: usize, columns: usize) -> Option<usize> {
    product([rows.div_ceil(2), columns.div_ceil(2)])
}

impl PlaneComponents {
    fn new(rule: &KeepLargest, rows: usize, columns: usize) -> Self {
        let most = most_components(rows, columns).unwrap_or(0);
        PlaneComponents {
            members: members(rule),
            columns,
            numbers: vec![0; rows * columns],
            sets: DisjointSets::with_capacity(most),
            dense: Vec::with_capacity(most),
            count: 0,
        }
    }

    fn bytes(rows: usize, columns: usize) -> Option<usize> {
        sum([product([4, rows, columns]), product([8, most_components(rows, columns)?]), Some(1 << 16)])
    }

    /// Finds the components of a plane. Voxels of provisional numbers come in order, so the components do as well.
    fn find(&mut self, labels: &[u16]) {
        let columns = self.columns;
        self.sets.reset(0);
        for (i, &label) in labels.iter().enumerate() {
            if !self.members.get(usize::from(label)).copied().unwrap_or(false) {
                self.numbers[i] = 0;
                continue;
            }
            let (row, column) = (i / columns, i % columns);
            let mut number = None;
            let left = (column > 0).then(|| i - 1);
            let above = (row > 0).then(|| i - columns);
            let above_left = above.filter(|_| column > 0).map(|j| j - 1);
            let above_right = above.filter(|_| column + 1 < columns).map(|j| j + 1);
            for neighbour in [left, above_left, above, above_right].into_iter().flatten() {
                if let Some(theirs) = self.numbers[neighbour].checked_sub(1) {
                    number = Some(match number {
                        Some(ours) if ours != theirs => self.sets.unite(ours, theirs),
                        _ => theirs,
                    });
                }
            }
            self.numbers[i] = 1 + number.unwrap_or_else(|| self.sets.add());
        }
        self.dense.clear();
        self.count = 0;
        for provisional in 0..self.sets.0.len() as u32 {
            let root = self.sets.find(provisional);
            let component = if root == provisional {
                self.count += 1;
                self.count as u32
            } else {
                self.dense[root as usize]
            };
            self.dense.push(component);
        }
        for number in self.numbers.iter_mut().filter(|number| **number != 0) {
            *number = self.dense[*number as usize - 1];
        }
    }
}

/// The first pass: planes in ascending order.
#[derive(Debug)]
pub struct ComponentScan {
    plane: PlaneComponents,
    /// The component of each voxel of the plane before, or 0.
    previous: Vec<u32>,
    /// The group of each component of the latest plane.
    groups: Vec<u32>,
    /// Voxels so far of each group of the latest plane.
    sizes: Vec<u64>,
    new_sizes: Vec<u64>,
    fates: Vec<Fate>,
    links: DisjointSets,
    /// Voxels of the largest component that has ended.
    largest: u64,
}

const NO_GROUP: u32 = u32::MAX;

impl ComponentScan {
    /// A scan of planes of so many rows and columns.
    pub fn new(rule: &KeepLargest, rows: usize, columns: usize) -> Self {
        let most = most_components(rows, columns).unwrap_or(0);
        ComponentScan {
            plane: PlaneComponents::new(rule, rows, columns),
            previous: vec![0; rows * columns],
            groups: Vec::with_capacity(most),
            sizes: Vec::with_capacity(most),
            new_sizes: Vec::with_capacity(most),
            fates: Vec::with_capacity(most),
            links: DisjointSets::with_capacity(2 * most),
            largest: 0,
        }
    }

    /// Begins again at the first plane, with another rule.
    pub fn restart(&mut self, rule: &KeepLargest) {
        self.plane.members = members(rule);
        self.plane.numbers.fill(0);
        self.groups.clear();
        self.sizes.clear();
        self.largest = 0;
    }

    /// Bytes that a scan takes, whatever the labels are; `None` where they do not fit `usize`.
    pub fn bytes(rows: usize, columns: usize) -> Option<usize> {
        // Groups, two tables of sizes, fates, and twice as many links.
        let each = 4 + 2 * 8 + size_of::<Fate>() + 2 * 4;
        sum([
            PlaneComponents::bytes(rows, columns),
            product([4, rows, columns]),
            product([each, most_components(rows, columns)?]),
        ])
    }

    /// Takes the next plane: `rows x columns` labels.
    pub fn push(&mut self, labels: &[u16]) -> PlaneLinks<'_> {
        core::mem::swap(&mut self.previous, &mut self.plane.numbers);
        self.plane.find(labels);
        self.link();
        self.name_groups();
        PlaneLinks { groups: &self.groups, fates: &self.fates }
    }

    /// Ends the pass: voxels of the component of each group of the last plane, and of the largest component of all.
    pub fn finish(&self) -> (&[u64], u64) {
        (&self.sizes, self.sizes.iter().copied().fold(self.largest, u64::max))
    }

    /// Unites the groups of the plane before (first in `links`) with the components of this one (behind them) that they touch.
    fn link(&mut self) {
        let (columns, before) = (self.plane.columns, self.sizes.len());
        let rows = self.previous.len() / columns.max(1);
        self.links.reset(before + self.plane.count);
        let mut last = (0, 0);
        for (i, &component) in self.plane.numbers.iter().enumerate().filter(|(_, component)| **component != 0) {
            let (row, column) = (i / columns, i % columns);
            for y in row.saturating_sub(1)..(row + 2).min(rows) {
                for x in column.saturating_sub(1)..(column + 2).min(columns) {
                    let touched = self.previous[y * columns + x];
                    // Neighbours mostly are of one component.
                    if touched != 0 && last != (component, touched) {
                        last = (component, touched);
                        let group = self.groups[touched as usize - 1];
                        self.links.unite(group, (before as u32) + component - 1);
                    }
                }
            }
        }
    }

    /// Numbers the groups of this plane, adds up their voxels, and says what became of those before.
    fn name_groups(&mut self) {
        let (before, count) = (self.sizes.len(), self.plane.count);
        self.groups.clear();
        self.new_sizes.clear();
        self.fates.clear();
        // Groups that no component of this plane continues keep NO_GROUP.
        let names = &mut self.plane.dense;
        names.clear();
        names.resize(before, NO_GROUP);
        for component in 0..count {
            let root = self.links.find((before + component) as u32) as usize;
            // A set that holds a group before is known by that; any other one by its first component.
            let group = if root < before {
                if names[root] == NO_GROUP {
                    names[root] = self.new_sizes.len() as u32;
                    self.new_sizes.push(0);
                }
                names[root]
            } else if root - before == component {
                self.new_sizes.push(0);
                self.new_sizes.len() as u32 - 1
            } else {
                self.groups[root - before]
            };
            self.groups.push(group);
        }
        for group in 0..before {
            let root = self.links.find(group as u32) as usize;
            let size = self.sizes[group];
            self.fates.push(match names[root] {
                NO_GROUP => {
                    self.largest = self.largest.max(size);
                    Fate::Ends(size)
                }
                joined => {
                    self.new_sizes[joined as usize] += size;
                    Fate::Joins(joined)
                }
            });
        }
        for &component in self.plane.numbers.iter().filter(|component| **component != 0) {
            self.new_sizes[self.groups[component as usize - 1] as usize] += 1;
        }
        core::mem::swap(&mut self.sizes, &mut self.new_sizes);
    }
}

/// The second pass: planes in descending order.
#[derive(Debug)]
pub struct ComponentFilter {
    plane: PlaneComponents,
    background: u16,
    largest: u64,
    /// Whether each group of the plane that comes next stays.
    stays: Vec<bool>,
    before: Vec<bool>,
}

impl ComponentFilter {
    /// A filter for the planes that `scan` saw with the same rule.
    pub fn new(rule: &KeepLargest, rows: usize, columns: usize, scan: &ComponentScan) -> Self {
        let most = most_components(rows, columns).unwrap_or(0);
        let (sizes, largest) = scan.finish();
        let mut stays = Vec::with_capacity(most);
        stays.extend(sizes.iter().map(|size| *size == largest));
        ComponentFilter {
            plane: PlaneComponents::new(rule, rows, columns),
            background: rule.background,
            largest,
            stays,
            before: Vec::with_capacity(most),
        }
    }

    /// Bytes that a filter takes; `None` where they do not fit `usize`.
    pub fn bytes(rows: usize, columns: usize) -> Option<usize> {
        sum([PlaneComponents::bytes(rows, columns), product([2, most_components(rows, columns)?])])
    }

    /// Takes the plane before the last one taken, with its links, and removes the voxels of all smaller components.
    pub fn filter(&mut self, labels: &mut [u16], links: PlaneLinks<'_>) {
        self.plane.find(labels);
        for (label, number) in labels.iter_mut().zip(&self.plane.numbers).filter(|(_, number)| **number != 0) {
            if !self.stays[links.groups[*number as usize - 1] as usize] {
                *label = self.background;
            }
        }
        self.before.clear();
        self.before.extend(links.fates.iter().map(|fate| match fate {
            Fate::Joins(group) => self.stays[*group as usize],
            Fate::Ends(size) => *size == self.largest,
        }));
        core::mem::swap(&mut self.stays, &mut self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    /// All planes at once, with the links kept in memory.
    fn keep(rule: &KeepLargest, [planes, rows, columns]: [usize; 3], labels: &[u16]) -> Vec<u16> {
        let mut scan = ComponentScan::new(rule, rows, columns);
        let mut kept = labels.to_vec();
        let mut links = Vec::new();
        for plane in labels.chunks_exact(rows * columns) {
            let PlaneLinks { groups, fates } = scan.push(plane);
            links.push((groups.to_vec(), fates.to_vec()));
        }
        let mut filter = ComponentFilter::new(rule, rows, columns, &scan);
        for (plane, (groups, fates)) in kept.chunks_exact_mut(rows * columns).zip(&links).rev() {
            filter.filter(plane, PlaneLinks { groups, fates });
        }
        assert_eq!(links.len(), planes);
        kept
    }

    /// The same by flooding, with the whole volume in memory.
    fn flooded(rule: &KeepLargest, [planes, rows, columns]: [usize; 3], labels: &[u16]) -> Vec<u16> {
        let inside = |i: usize| rule.labels.contains(&labels[i]);
        let mut component = vec![usize::MAX; labels.len()];
        let mut sizes = Vec::new();
        for start in (0..labels.len()).filter(|&i| inside(i)) {
            if component[start] != usize::MAX {
                continue;
            }
            let mut queue = VecDeque::from([start]);
            component[start] = sizes.len();
            let mut size = 0;
            while let Some(i) = queue.pop_front() {
                size += 1;
                let (z, y, x) = (i / (rows * columns), i / columns % rows, i % columns);
                for z in z.saturating_sub(1)..(z + 2).min(planes) {
                    for y in y.saturating_sub(1)..(y + 2).min(rows) {
                        for x in x.saturating_sub(1)..(x + 2).min(columns) {
                            let j = (z * rows + y) * columns + x;
                            if inside(j) && component[j] == usize::MAX {
                                component[j] = sizes.len();
                                queue.push_back(j);
                            }
                        }
                    }
                }
            }
            sizes.push(size);
        }
        let largest = sizes.iter().copied().max();
        let stays = |i: usize| component[i] == usize::MAX || Some(sizes[component[i]]) == largest;
        (0..labels.len()).map(|i| if stays(i) { labels[i] } else { rule.background }).collect()
    }

    #[test]
    fn planes_one_by_one_give_what_the_whole_volume_gives() {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for case in 0..400 {
            let shape = [1 + random() % 7, 1 + random() % 9, 1 + random() % 9].map(|n| n as usize);
            let density = [2, 5, 12, 40][case % 4];
            let labels: Vec<u16> = (0..shape.iter().product::<usize>())
                .map(|_| if random() % density == 0 { 1 + (random() % 3) as u16 } else { 0 })
                .collect();
            for rule in [
                KeepLargest { labels: vec![1, 2, 3], background: 0 },
                KeepLargest { labels: vec![2], background: 9 },
                KeepLargest { labels: vec![7], background: 0 },
            ] {
                assert_eq!(
                    keep(&rule, shape, &labels),
                    flooded(&rule, shape, &labels),
                    "{shape:?} {rule:?} {labels:?}"
                );
            }
        }
    }

    #[test]
    fn arms_that_meet_in_the_last_plane_are_one_component_and_equal_ones_stay() {
        let rule = KeepLargest { labels: vec![1], background: 0 };
        // Two arms of three voxels that meet in the last plane, and a bar of four.
        let plane = |text: &str| text.bytes().map(|b| u16::from(b - b'0')).collect::<Vec<u16>>();
        let arms = [plane("1000100"), plane("1000100"), plane("1111101")].concat();
        assert_eq!(keep(&rule, [3, 1, 7], &arms), [plane("1000100"), plane("1000100"), plane("1111100")].concat());
        let equal = [plane("1100011"), plane("0000000"), plane("0010000")].concat();
        assert_eq!(keep(&rule, [3, 1, 7], &equal), [plane("1100011"), plane("0000000"), plane("0000000")].concat());
    }

    #[test]
    fn tables_hold_the_worst_plane_without_growing() {
        let rule = KeepLargest { labels: vec![1], background: 0 };
        let (rows, columns) = (9, 11);
        let mut scan = ComponentScan::new(&rule, rows, columns);
        let plane: Vec<u16> =
            (0..rows * columns).map(|i| u16::from((i / columns) % 2 == 0 && i % columns % 2 == 0)).collect();
        let empty = vec![0; rows * columns];
        let capacities = |s: &ComponentScan| {
            [
                s.plane.dense.capacity(),
                s.plane.sets.0.capacity(),
                s.groups.capacity(),
                s.fates.capacity(),
                s.links.0.capacity(),
            ]
        };
        let before = capacities(&scan);
        for labels in [&plane, &empty, &plane, &plane, &empty] {
            scan.push(labels);
            assert_eq!(capacities(&scan), before);
        }
        assert_eq!(scan.finish().1, 2);
    }
}
