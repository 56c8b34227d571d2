#!/usr/bin/env python3
"""Writes name, card, envelope, codes and colours into the manifests of the hippocampus models beside this script.

    python models/describe.py DATASET    needs numpy, nibabel and onnx

DATASET is the raw nnU-Net dataset that the models were trained on (Medical Segmentation Decathlon, Task04, with nnU-Net's own
splits_final.json). Ranges are those of the 166 training cases of fold 0. Graph, weights and all other keys stay.
"""
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import onnx

MODELS = {
    "hippocampus-nnunet-slim": "hippocampus, nnU-Net with slim channels",
    "hippocampus-teacher": "hippocampus, teacher (nnU-Net's standard network)",
    "hippocampus-r2": "hippocampus, student r=2 (1/2 of the teacher's channels)",
    "hippocampus-r4": "hippocampus, student r=4 (1/4 of the teacher's channels)",
}
# Head and body with tail have no codes of their own in common use: both have the code of the whole structure.
HIPPOCAMPUS = "5366008"
COLOURS = {1: [230, 159, 0], 2: [0, 114, 178]}
CARD = {
    "intended_use": "research: anterior and posterior hippocampus on T1 MRI crops around the hippocampus, adults; "
                    "not for diagnosis",
    "limits": "short training; crops only: most of a whole head was never seen in training, and is labelled wrongly",
    "data": "Medical Segmentation Decathlon, Task04 Hippocampus (Antonelli et al., Nature Communications 2022), "
            "fold 0, 166 training cases",
    "licence": "CC-BY-SA 4.0",
}


def least_and_most(values):
    return [min(values), max(values)]


def envelope(dataset):
    cases = json.loads((dataset / "splits_final.json").read_text())[0]["train"]
    voxels, spacings, intensities, foreground, volumes = [], [], [], [], {1: [], 2: []}
    for case in cases:
        scan = nibabel.load(dataset / "imagesTr" / f"{case}_0000.nii.gz")
        labels = np.asarray(nibabel.load(dataset / "labelsTr" / f"{case}.nii.gz").dataobj).round().astype(int)
        values = np.asarray(scan.dataobj)
        voxels.append(scan.shape[::-1])
        spacings.append([round(float(mm), 6) for mm in scan.header.get_zooms()[:3]][::-1])
        intensities += [float(values.min()), float(values.max())]
        foreground.append(values[labels > 0])
        for label, found in volumes.items():
            ml = float(np.prod(spacings[-1]) * (labels == label).sum() / 1000)
            if ml > 0:
                found.append(round(ml, 3))
    extents = [[n * mm for n, mm in zip(*pair)] for pair in zip(voxels, spacings)]
    axes = lambda rows: [least_and_most(axis) for axis in zip(*rows)]
    return {
        "voxels_zyx": axes(voxels),
        "spacing_mm_zyx": axes(spacings),
        "extent_mm_zyx": axes(extents),
        "intensities": [least_and_most(intensities)],
        "foreground_intensities": [[float(p) for p in np.percentile(np.concatenate(foreground), [0.5, 99.5])]],
        "label_volumes": [{"value": label, "ml": least_and_most(found)} for label, found in volumes.items()],
    }


def describe(path, name, ranges):
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "scanside")
    manifest = json.loads(entry.value)
    manifest.update(name=name, card=CARD, envelope=ranges)
    for head in manifest["labels"]["heads"]:
        if head["value"] in COLOURS:
            head.update(snomed=HIPPOCAMPUS, rgb=COLOURS[head["value"]])
    entry.value = json.dumps(manifest, separators=(",", ":"))
    onnx.save(model, path)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ranges = envelope(Path(sys.argv[1]))
    for stem, name in MODELS.items():
        describe(Path(__file__).parent / f"{stem}.onnx", name, ranges)
