"""Writes tests/golden/metrics/surface.json: masks with distances measured by others.

Needs numpy 2.4.6, scipy 1.17.1 and surface-distance 0.1 (https://github.com/google-deepmind/surface-distance):

    pip install numpy==2.4.6 scipy==1.17.1
    pip install --no-deps surface-distance==0.1
    python tests/golden/make_metrics.py

Masks are stored as hex digits of bits, first voxel in the highest bit of the first digit, [z, y, x] with x fastest.
"""

import json
import math
import types
from pathlib import Path

import numpy as np
from scipy import ndimage

# The package names things that numpy and scipy have since renamed.
np.Inf, np.NaN = np.inf, np.nan
ndimage.filters = types.SimpleNamespace(correlate=ndimage.correlate)
ndimage.morphology = types.SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt)

import surface_distance.metrics as outsider  # noqa: E402

TOLERANCES_MM = [0.0, 0.5, 1.0, 2.5]


def packed(mask):
    return np.packbits(mask.ravel()).tobytes().hex()


def ellipsoid(shape, centre, radii):
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii)) <= 1


def masks():
    """Name, spacing in mm, prediction, reference."""
    random = np.random.default_rng(20240229)
    shape = (9, 12, 11)
    empty = np.zeros(shape, bool)
    ball = ellipsoid(shape, (4, 5, 5), (3, 4, 4))
    moved = ellipsoid(shape, (4, 6, 4.5), (3.4, 3, 5))
    yield "ball", (1.0, 1.0, 1.0), ball, moved
    yield "ball, thick slices", (5.0, 0.7, 0.8), ball, moved
    yield "same", (2.0, 1.0, 1.5), ball, ball
    yield "cut by the edge", (1.5, 0.9, 1.1), ellipsoid(shape, (0, 2, 10), (4, 5, 4)), ellipsoid(shape, (1, 0, 9), (4, 5, 5))
    point, far = empty.copy(), empty.copy()
    point[0, 0, 0] = True
    far[8, 11, 10] = True
    yield "opposite corners", (3.0, 0.5, 1.25), point, far
    yield "an island", (1.0, 1.2, 0.9), ball | far, ball
    plate = empty.copy()
    plate[3, 2:9, 1:10] = True
    yield "a plate", (2.0, 0.75, 0.75), plate, np.roll(plate, (1, 1, 0), (0, 1, 2))
    for density, spacing in [(0.5, (0.7, 1.9, 4.0)), (0.1, (1.0, 1.0, 1.0)), (0.85, (2.5, 0.6, 1.3)), (0.03, (1.7, 0.8, 3.1))]:
        pair = random.random((2, 8, 9, 10)) < density
        yield f"noise of density {density}", spacing, pair[0], pair[1]
    yield "everything", (1.0, 2.0, 3.0), np.ones(shape, bool), ball
    yield "nothing predicted", (1.0, 2.0, 3.0), empty, ball
    yield "nothing to find", (1.0, 2.0, 3.0), ball, empty
    yield "nothing at all", (1.0, 2.0, 3.0), empty, empty


def number(value):
    """JSON has no infinity."""
    return None if math.isnan(value) else "infinite" if math.isinf(value) else float(value)


def measured(name, spacing_mm, prediction, reference):
    d = outsider.compute_surface_distances(reference, prediction, spacing_mm)
    both_empty = not (prediction.any() or reference.any())
    with np.errstate(invalid="ignore"):
        to_prediction, to_reference = outsider.compute_average_surface_distance(d)
        return {
            "name": name,
            "shape_zyx": list(prediction.shape),
            "spacing_mm": list(spacing_mm),
            "prediction": packed(prediction),
            "reference": packed(reference),
            "dice": number(outsider.compute_dice_coefficient(reference, prediction)),
            # The package answers infinity for two empty masks; here that is no value.
            "hausdorff_95_mm": None if both_empty else number(outsider.compute_robust_hausdorff(d, 95)),
            "hausdorff_100_mm": None if both_empty else number(outsider.compute_robust_hausdorff(d, 100)),
            "surface_dice": [number(outsider.compute_surface_dice_at_tolerance(d, t)) for t in TOLERANCES_MM],
            "mean_to_reference_mm": number(to_reference),
            "mean_to_prediction_mm": number(to_prediction),
            "prediction_area_mm2": float(np.sum(d["surfel_areas_pred"])),
            "reference_area_mm2": float(np.sum(d["surfel_areas_gt"])),
        }


def transforms():
    random = np.random.default_rng(7)
    for shape, spacing_mm, density in [((4, 5, 6), (2.5, 0.7, 0.9), 0.06), ((1, 7, 9), (1.0, 1.0, 1.0), 0.05)]:
        marked = random.random(shape) < density
        distances = ndimage.distance_transform_edt(~marked, sampling=spacing_mm)
        yield {
            "shape_zyx": list(shape),
            "spacing_mm": list(spacing_mm),
            "marked": packed(marked),
            # As text: not every JSON reader rounds to the nearest double, and these are compared to the last bit.
            "distances_mm": " ".join(repr(float(d)) for d in distances.ravel()),
        }


def main():
    document = {
        "format": "scanside metrics golden values",
        "version": 1,
        "made_by": "tests/golden/make_metrics.py with surface-distance 0.1, scipy 1.17.1",
        "tolerances_mm": TOLERANCES_MM,
        "surfaces": [measured(*m) for m in masks()],
        "distance_transforms": list(transforms()),
    }
    path = Path(__file__).parent / "metrics" / "surface.json"
    lists = json.dumps(document, indent=1).replace(",\n    ", ", ").replace("[\n    ", "[").replace("\n   ]", "]")
    path.write_text(lists + "\n")


main()
