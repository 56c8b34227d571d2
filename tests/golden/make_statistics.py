#!/usr/bin/env python3
"""Statistics of labels by NumPy, SciPy and SimpleITK, in the form of `scanside segment --statistics`.

    make_statistics.py                                    writes statistics/: a small oblique, anisotropic case and its tables
    make_statistics.py TABLE.csv SCANS LABELS DATASET     compares the table of a folder run: every field, as it is printed

SCANS holds CASE_0000.nii.gz ..., LABELS holds CASE.nii.gz, and DATASET is a dataset.json with the labels' names. The exit code is
1 if a field differs.
"""
import csv
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

COLUMNS = ("case,label,name,voxels,ml,intensity_mean,intensity_sd,centroid_l_mm,centroid_p_mm,centroid_s_mm,touches_edge").split(",")


def six(value):
    return float(f"{value:.5e}")


def statistics(scans, labels, names):
    """One dictionary for each label. `scans` are files, one for each channel; `names` are by value."""
    image = sitk.ReadImage(str(labels))
    values = sitk.GetArrayFromImage(image)
    channels = [sitk.GetArrayFromImage(sitk.ReadImage(str(scan))).astype(np.float32).astype(np.float64) for scan in scans]
    voxel_ml = np.prod(image.GetSpacing()) / 1000
    found = []
    for value, name in sorted(names.items()):
        count = int((values == value).sum())
        entry = {"label": value, "name": name, "voxels": count, "ml": six(count * voxel_ml)}
        entry["intensity"] = [
            {"mean": six(ndimage.mean(c, values, value)), "sd": six(ndimage.standard_deviation(c, values, value))}
            for c in channels if count
        ]
        entry["centroid_lps_mm"] = None
        entry["touches_edge"] = False
        if count:
            at = ndimage.center_of_mass(values == value)
            place = image.TransformContinuousIndexToPhysicalPoint([float(v) for v in at[::-1]])
            entry["centroid_lps_mm"] = [round(mm, 3) + 0.0 for mm in place]
            box = ndimage.find_objects((values == value).astype(int))[0]
            entry["touches_edge"] = any(s.start == 0 or s.stop == n for s, n in zip(box, values.shape))
        found.append(entry)
    return found


def text(number):
    """As Rust prints it: never with an exponent, without a fraction where there is none."""
    shown = np.format_float_positional(number, trim="-")
    return "0" if shown in ("-0", "") else shown


def row(case, entry):
    first = entry["intensity"][0] if entry["intensity"] else {"mean": None, "sd": None}
    centre = entry["centroid_lps_mm"] or [None] * 3
    numbers = [entry["ml"], first["mean"], first["sd"], *centre]
    shown = ["" if n is None else text(n) for n in numbers]
    return [case, str(entry["label"]), entry["name"], str(entry["voxels"]), *shown, str(entry["touches_edge"]).lower()]


def check(table, scans, labels, dataset):
    names = {v: n for n, v in json.loads(Path(dataset).read_text())["labels"].items() if v != 0}
    rows = list(csv.reader(open(table, newline="")))
    got = {(r[0], r[1]): r for r in rows[1:]}
    wrong = [] if rows[0] == COLUMNS else ["other columns"]
    files = sorted(Path(labels).glob("*.nii.gz"))
    for file in files:
        case = file.name.removesuffix(".nii.gz")
        for entry in statistics(sorted(Path(scans).glob(f"{case}_*.nii.gz")), file, names):
            expected = row(case, entry)
            if got.pop((case, expected[1]), None) != expected:
                wrong.append(f"{case}: expected {expected}")
    wrong += [f"{key} is there twice or without labels" for key in got]
    if len(rows) - 1 != len(files) * len(names):
        wrong.append(f"{len(rows) - 1} rows")
    print(f"{len(files)} cases, {len(files) * len(names)} rows, {len(wrong)} differ")
    print("\n".join(wrong[:10]))
    return bool(wrong)


def make(folder):
    """A case of two channels, scaled 16-bit and single precision; labels of all kinds: absent, at an edge, in one voxel."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(11)
    shape = (9, 14, 12)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 3:9, 2:7] = 1
    labels[5:, 8:12, 6:11] = 2
    labels[4, 4, 4] = 4
    labels[3:8, 11:13, 1:4][random.random((5, 2, 3)) < 0.5] = 5
    stored = random.integers(-900, 1500, shape).astype(np.int16)
    second = (random.normal(size=shape) * 1e-3 + 0.7).astype(np.float32)
    files = []
    for name, voxels in [("labels", labels), ("scan_0000", stored), ("scan_0001", second)]:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((0.75, 0.9375, 3.3))
        image.SetOrigin((-91.25, 33.5, 412.75))
        image.SetDirection(rotation.ravel())
        path = folder / f"{name}.nii"
        sitk.WriteImage(image, str(path))
        files.append(path)
    # Stored values with a scale: SimpleITK writes none.
    raw = bytearray(files[1].read_bytes())
    raw[112:120] = np.array([0.25, -37.5], "<f4").tobytes()
    files[1].write_bytes(raw)
    names = {1: "liver", 2: "left, upper", 3: "absent", 4: "dot", 5: "specks"}
    found = statistics(files[1:], files[0], names)
    with open(folder / "expected.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row("case", entry) for entry in found)])
    (folder / "expected.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        sys.exit(check(*sys.argv[1:]))
    make(Path(__file__).parent / "statistics")
