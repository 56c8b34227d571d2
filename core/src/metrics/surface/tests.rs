//! Surfaces against DeepMind's program (golden values) and against the definition written out point by point.

use super::*;
use crate::metrics::overlap;
use proptest::prelude::*;

/// All distances from surfels of `from` to those of `to`, with areas, straight from the definition.
fn naive_directed(from: &[bool], to: &[bool], [nz, ny, nx]: Index3, spacing_mm: [f64; 3]) -> Vec<(f64, f64)> {
    let areas = surfel::areas_mm2(spacing_mm);
    let surfels = |mask: &[bool]| {
        let mut found = Vec::new();
        for point in (0..=nz).flat_map(|z| (0..=ny).flat_map(move |y| (0..=nx).map(move |x| [z, y, x]))) {
            let mut code = 0usize;
            for corner in 0..8usize {
                let at = [point[0] + (corner >> 2), point[1] + (corner >> 1 & 1), point[2] + (corner & 1)];
                // Voxel `at - 1`; positions 0 and n + 1 lie outside the array.
                if (1..=nz).contains(&at[0]) && (1..=ny).contains(&at[1]) && (1..=nx).contains(&at[2]) {
                    code |= usize::from(mask[((at[0] - 1) * ny + at[1] - 1) * nx + at[2] - 1]) << corner;
                }
            }
            if areas[code] > 0.0 {
                found.push((point, areas[code]));
            }
        }
        found
    };
    let targets = surfels(to);
    let nearest = |p: Index3| {
        let squared = targets.iter().map(|(q, _)| {
            let [a, b, c] = [0, 1, 2].map(|k| p[k].abs_diff(q[k]) as f64 * spacing_mm[k]);
            a * a + b * b + c * c
        });
        squared.fold(f64::INFINITY, f64::min).sqrt()
    };
    let mut all: Vec<_> = surfels(from).into_iter().map(|(p, area)| (nearest(p), area)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

fn measure(p: &[bool], r: &[bool], shape: Index3, spacing_mm: [f64; 3]) -> SurfaceDistances {
    let found = overlap(p, r, shape, &[&[true]]).unwrap();
    let bounds = found[0].bounds.clone().unwrap_or(Box3([0..0, 0..0, 0..0]));
    surface_distances(p, r, shape, &[true], &bounds, spacing_mm).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * (1.0 + b.abs())
}

proptest! {
    #[test]
    fn equals_the_definition(
        (shape, p, r) in (1usize..6, 1usize..6, 1usize..7).prop_flat_map(|(z, y, x)| {
            (0.0f64..1.0).prop_flat_map(move |density| {
                let mask = || proptest::collection::vec(proptest::bool::weighted(density), z * y * x);
                (Just([z, y, x]), mask(), mask())
            })
        }),
        spacing in [0.2f64..5.0, 0.2f64..5.0, 0.2f64..5.0],
        tolerance in 0.0f64..4.0,
    ) {
        let found = measure(&p, &r, shape, spacing);
        let there = naive_directed(&p, &r, shape, spacing);
        let back = naive_directed(&r, &p, shape, spacing);
        let area = |list: &[(f64, f64)]| list.iter().map(|s| s.1).sum::<f64>();
        let within = |list: &[(f64, f64)]| list.iter().filter(|s| s.0 <= tolerance).map(|s| s.1).sum::<f64>();
        prop_assert!(close(found.prediction_to_reference.area_mm2(), area(&there)));
        prop_assert!(close(found.reference_to_prediction.area_mm2(), area(&back)));
        match found.surface_dice(tolerance) {
            None => prop_assert!(there.is_empty() && back.is_empty()),
            Some(nsd) => {
                let expected = (within(&there) + within(&back)) / (area(&there) + area(&back));
                prop_assert!(close(nsd, expected), "{} {}", nsd, expected);
            }
        }
        if let (Some(a), Some(b)) = (there.last(), back.last()) {
            prop_assert!(close(found.hausdorff_mm(100.0).unwrap(), a.0.max(b.0)));
        }
    }
}

#[test]
fn what_lies_outside_the_box_does_not_count() {
    let mut p = [0u8; 27];
    p[13] = 2;
    p[26] = 2;
    let middle = Box3([1..2, 1..2, 1..2]);
    let found = surface_distances(&p, &p, [3, 3, 3], &[2], &middle, [1.0; 3]).unwrap();
    let corners = 8.0 * 0.125 * 3f64.sqrt();
    assert!(close(found.prediction_to_reference.area_mm2(), corners));
}

#[test]
fn bad_arguments_are_refused() {
    let bounds = Box3([0..1, 0..1, 0..3]);
    let wrong = surface_distances(&[1u8; 2], &[1; 2], [1, 1, 2], &[1], &bounds, [1.0; 3]);
    assert_eq!(wrong, Err(MetricsError::Bounds { bounds: bounds.clone(), shape: [1, 1, 2] }));
    let wrong = surface_distances(&[1u8; 3], &[1; 2], [1, 1, 3], &[1], &bounds, [1.0; 3]);
    assert_eq!(wrong, Err(MetricsError::VoxelCount { shape: [1, 1, 3], got: 2 }));
    let wrong = surface_distances(&[1u8; 3], &[1; 3], [1, 1, 3], &[1], &bounds, [1.0, -1.0, 1.0]);
    assert_eq!(wrong, Err(MetricsError::Spacing([1.0, -1.0, 1.0])));
}

#[test]
fn merging_early_changes_nothing() {
    let surfels: Vec<(f64, f64)> = (0..5000u32).map(|i| (f64::from(i * 7919 % 13), f64::from(i % 8))).collect();
    let mut early = ProfileBuilder { steps: Vec::new(), merge_at: 20 };
    let mut once = ProfileBuilder::new();
    for (squared, area) in surfels {
        early.add(squared, area);
        once.add(squared, area);
        early.merge_at = 20;
    }
    assert_eq!(early.finish(), once.finish());
}

/// Values of another program; `tests/golden/make_metrics.py` makes them.
#[cfg(feature = "std")]
mod golden {
    use super::*;
    use crate::metrics::edt::distance_transform;
    use serde_json::Value;

    const DOCUMENT: &str = include_str!("../../../../tests/golden/metrics/surface.json");

    fn document() -> Value {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!((&document["format"], &document["version"]), (&"scanside metrics golden values".into(), &1.into()));
        document
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn grid(case: &Value) -> (Index3, [f64; 3]) {
        let shape = numbers(&case["shape_zyx"]);
        ([0, 1, 2].map(|k| shape[k] as usize), numbers(&case["spacing_mm"]).try_into().unwrap())
    }

    fn mask(hex: &Value, shape: Index3) -> Vec<bool> {
        let digits = hex.as_str().unwrap().chars().map(|c| c.to_digit(16).unwrap());
        let bits = digits.flat_map(|digit| (0..4).rev().map(move |bit| digit >> bit & 1 == 1));
        bits.take(shape.iter().product()).collect()
    }

    fn expect(name: &str, found: Option<f64>, expected: &Value) {
        let expected = if expected == "infinite" { Some(f64::INFINITY) } else { expected.as_f64() };
        let same = match (found, expected) {
            (Some(a), Some(b)) => close(a, b),
            (a, b) => a == b,
        };
        assert!(same, "{name}: {found:?}, expected {expected:?}");
    }

    #[test]
    fn surfaces_equal_those_of_surface_distance() {
        let document = document();
        let tolerances = numbers(&document["tolerances_mm"]);
        let cases = document["surfaces"].as_array().unwrap();
        assert!(cases.len() >= 14);
        for case in cases {
            let name = case["name"].as_str().unwrap();
            let (shape, spacing_mm) = grid(case);
            let (p, r) = (mask(&case["prediction"], shape), mask(&case["reference"], shape));
            let found = measure(&p, &r, shape, spacing_mm);
            expect(name, overlap(&p, &r, shape, &[&[true]]).unwrap()[0].counts.dice(), &case["dice"]);
            expect(name, found.hausdorff_mm(95.0), &case["hausdorff_95_mm"]);
            expect(name, found.hausdorff_mm(100.0), &case["hausdorff_100_mm"]);
            for (tolerance, expected) in tolerances.iter().zip(case["surface_dice"].as_array().unwrap()) {
                expect(name, found.surface_dice(*tolerance), expected);
            }
            let [to_reference, to_prediction] = [&found.prediction_to_reference, &found.reference_to_prediction];
            expect(name, Some(to_reference.area_mm2()), &case["prediction_area_mm2"]);
            expect(name, Some(to_prediction.area_mm2()), &case["reference_area_mm2"]);
        }
    }

    #[test]
    fn distances_equal_those_of_scipy() {
        for case in document()["distance_transforms"].as_array().unwrap() {
            let (shape, spacing_mm) = grid(case);
            let found = distance_transform(&mask(&case["marked"], shape), shape, spacing_mm).unwrap();
            let text = case["distances_mm"].as_str().unwrap();
            let expected: Vec<f64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
            assert_eq!(found, expected);
        }
    }
}
