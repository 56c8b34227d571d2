#!/usr/bin/env python3
"""Check list of nnU-Net's own labels on the hippocampus validation cases.

    make_hippocampus.py --model MODEL --images imagesTr --labels labelsTr --out hippocampus

The labels themselves come from the command line of nnunetv2 2.8.1, once with and once without --disable_tta:
    nnUNetv2_predict_from_modelfolder -i CASES -o hippocampus/labels -m MODEL -f 0 -device cpu --disable_tta
    nnUNetv2_predict_from_modelfolder -i CASES -o hippocampus/labels_tta -m MODEL -f 0 -device cpu
This script reads them and writes manifest.json: for every case the SHA-256 of the label voxels (uint8, z,y,x, C order), their
counts, the SHA-256 of the image file they belong to, and the Dice against the hand-drawn labels.
"""
import argparse
import hashlib
import json
import os

import nibabel as nib
import numpy as np


def voxels(path):
    return np.ascontiguousarray(np.asarray(nib.load(path).dataobj).T.astype(np.uint8))


def file_sha(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def dice(a, b, k):
    a, b = a == k, b == k
    return 2 * int((a & b).sum()) / int(a.sum() + b.sum())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k in ("model", "images", "labels", "out"):
        ap.add_argument("--" + k, required=True)
    a = ap.parse_args()
    cases = {}
    scores = {"labels": [], "labels_tta": []}
    for f in sorted(os.listdir(os.path.join(a.out, "labels"))):
        k = f[:-len(".nii.gz")]
        truth = voxels(os.path.join(a.labels, f))
        row = dict(image_sha256=file_sha(os.path.join(a.images, k + "_0000.nii.gz")), shape_zyx=list(truth.shape))
        for d in scores:
            s = voxels(os.path.join(a.out, d, f))
            row[d] = dict(sha256=hashlib.sha256(s.tobytes()).hexdigest(), counts=np.bincount(s.ravel(), minlength=3).tolist(),
                          dice=[round(dice(s, truth, c), 6) for c in (1, 2)])
            scores[d].append([dice(s, truth, c) for c in (1, 2)])
        cases[k] = row
    info = dict(
        script="make_hippocampus.py --model MODEL --images imagesTr --labels labelsTr --out hippocampus",
        nnunetv2="2.8.1, CPU, fold 0, checkpoint_final.pth",
        model={f: file_sha(os.path.join(a.model, f)) for f in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth")},
        mean_dice={d: [round(float(v), 6) for v in np.mean(s, 0)] for d, s in scores.items()}, cases=cases)
    with open(os.path.join(a.out, "manifest.json"), "w") as f:
        json.dump(info, f, indent=1)
        f.write("\n")
    print(len(cases), "cases", info["mean_dice"])


if __name__ == "__main__":
    main()
