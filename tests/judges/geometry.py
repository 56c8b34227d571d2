#!/usr/bin/env python3
"""Judges where label maps lie: 12 orientations, read from each of five formats and written as each of five.

Usage: python geometry.py CONVERT_LABELS [FOLDER]
Needs numpy, nibabel, SimpleITK. CONVERT_LABELS is the example of the crate formats:
    cargo build -p scanside-formats --example convert_labels       (target/debug/examples/convert_labels)

An asymmetric phantom of a few labels is written by SimpleITK (NIfTI, NRRD, MetaImage) and nibabel (MGH, and pairs of NIfTI
files) in orientations that turn, mirror and tilt it, with unequal spacing and an origin away from 0. The program copies each
into each format. The judge, SimpleITK or for MGH nibabel, reads the copy: each labelled voxel must be at the place in the
patient that it had, in LPS millimetres. NIfTI copies are judged by both.
"""
import itertools
import pathlib
import subprocess
import sys
import tempfile

import nibabel
import numpy as np
import SimpleITK as sitk

SPACING = np.array([0.7, 1.1, 2.5])
ORIGIN = np.array([-43.25, 17.5, 101.75])
SOURCES = [".nii.gz", ".hdr", ".nrrd", ".mha", ".mgz"]
COPIES = [".nii.gz", ".nii", ".nrrd", ".mha", ".mgz"]
LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Millimetres. NIfTI and MGH have single precision; the place of a MGH volume is that of its middle.
TOLERANCE = {".nrrd": 1e-10, ".mha": 1e-10, ".nii": 1e-4, ".nii.gz": 1e-4, ".mgz": 1e-4, ".hdr": 1e-4}


def phantom():
    """Labels in z, y, x order without any symmetry; values above 255 to have wide files too."""
    labels = np.zeros((5, 7, 9), np.uint16)
    labels[0, 0, 0:4] = 1
    labels[1, 0:3, 8] = 2
    labels[2:5, 6, 1] = 300
    labels[4, 2:5, 5:7] = 4
    return labels


def orientations():
    """Permutations and flips of axes, then oblique turns, one of them mirrored."""
    for name, axes, flips in [
        ("as it is", (0, 1, 2), (1, 1, 1)), ("left to right", (0, 1, 2), (-1, 1, 1)), ("upside down", (0, 1, 2), (1, -1, -1)),
        ("sagittal", (1, 2, 0), (1, 1, 1)), ("sagittal, mirrored", (1, 2, 0), (1, -1, 1)), ("coronal", (0, 2, 1), (1, 1, -1)),
        ("coronal, mirrored", (0, 2, 1), (1, 1, 1)), ("turned", (2, 0, 1), (-1, 1, -1)), ("all mirrored", (2, 1, 0), (-1, -1, -1)),
    ]:
        matrix = np.zeros((3, 3))
        for k in range(3):
            matrix[axes[k], k] = flips[k]
        yield name, matrix

    def turn(axis, angle):
        axis = np.array(axis, float) / np.linalg.norm(axis)
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

    yield "tilted", turn((1, 0, 0), 0.3)
    yield "oblique", turn((1, -2, 3), 0.7)
    yield "oblique, mirrored", turn((2, 1, -1), 1.9) @ np.diag([1, 1, -1])


def affine_of(direction):
    affine = np.eye(4)
    affine[:3, :3] = direction * SPACING
    affine[:3, 3] = ORIGIN
    return affine


def write(path, ending, labels, direction):
    if ending in (".hdr", ".mgz"):
        kind = nibabel.Nifti1Pair if ending == ".hdr" else nibabel.MGHImage
        data = labels.transpose().astype(np.int16 if ending == ".hdr" else np.int32)
        nibabel.save(kind(data, LPS_OF_RAS @ affine_of(direction)), path)
        return
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction.ravel())
    sitk.WriteImage(image, str(path))


def by_itk(path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def by_nibabel(path):
    image = nibabel.load(path)
    # In double precision: what nibabel's own product rounds is not the file's.
    header = image.header
    if isinstance(image, nibabel.MGHImage):
        columns = header["Mdc"].T.astype(float) * header["delta"].astype(float)
        affine = np.eye(4)
        affine[:3, :3] = columns
        affine[:3, 3] = header["Pxyz_c"].astype(float) - columns @ (np.array(header["dims"][:3], float) / 2)
    else:
        affine = image.affine
    return np.asanyarray(image.dataobj).transpose(), LPS_OF_RAS @ affine


def places(labels, affine):
    """Label and place of each labelled voxel, in the array's order."""
    zyx = np.argwhere(labels)
    xyz1 = np.concatenate([zyx[:, ::-1], np.ones((len(zyx), 1))], axis=1)
    return labels[tuple(zyx.T)].astype(int), (xyz1 @ affine.T)[:, :3]


def main():
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    program = sys.argv[1]
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    labels = phantom()
    jobs = []
    for (k, (name, direction)), source in itertools.product(enumerate(orientations()), SOURCES):
        path = folder / f"{k:02}{source}"
        write(path, source, labels, direction)
        for copy in COPIES:
            jobs.append((name, direction, source, path, copy, folder / f"{k:02}_from{source.replace('.', '_')}{copy}"))
    subprocess.run([program, *itertools.chain.from_iterable([str(job[3]), str(job[5])] for job in jobs)], check=True)
    worst, failures, judged = {}, [], 0
    for name, direction, source, _, copy, path in jobs:
        expected, there = places(labels, affine_of(direction))
        judges = {".mgz": [by_nibabel], ".nii": [by_itk, by_nibabel], ".nii.gz": [by_itk, by_nibabel]}.get(copy, [by_itk])
        for judge in judges:
            values, place = places(*judge(path))
            judged += 1
            far = np.abs(place - there).max() if values.tolist() == expected.tolist() else np.inf
            worst[source, copy] = max(worst.get((source, copy), 0.0), far)
            if not far <= max(TOLERANCE[source], TOLERANCE[copy]):
                failures.append(f"{name}, {source} as {copy}, {judge.__name__}: {far} mm")
    print("largest distance in mm, from (rows) as (columns)")
    print("".join(f"{ending:>10}" for ending in ["", *COPIES]))
    for source in SOURCES:
        print(f"{source:>10}" + "".join(f"{worst[source, copy]:10.1e}" for copy in COPIES))
    print(f"{judged} readings of {len(jobs)} copies, {len(failures)} wrong")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
