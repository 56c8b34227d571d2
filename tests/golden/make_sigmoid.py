#!/usr/bin/env python3
"""A network of regions that ends in a sigmoid, with free axes and its manifest beside it, and what ONNX Runtime makes of it.

    make_sigmoid.py OUT_FOLDER

Needs torch, onnx, onnxruntime, nibabel and nnunetv2 2.8.1 (its importance map). Writes model.onnx, model.json, scan.nii.gz of
one patch, and labels.nii.gz: probabilities weighted and stored in half precision as in nnU-Net's sliding window, then
compared with one half.
"""
import json
import os
import sys

import nibabel as nib
import numpy as np
import onnxruntime
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from scipy.ndimage import gaussian_filter

PATCH = (16, 20, 24)
HEADS = 3


def main(out):
    os.makedirs(out, exist_ok=True)
    torch.manual_seed(7)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.LeakyReLU(), torch.nn.Conv3d(8, HEADS, 1),
                                  torch.nn.Sigmoid()).eval()
    scan = gaussian_filter(np.random.default_rng(7).normal(size=PATCH), 1.5)
    scan = (scan / scan.std()).astype(np.float32)
    with torch.no_grad():
        network[2].weight.mul_(4.0)
        # About half of the voxels in each region.
        network[2].bias -= network[:3](torch.from_numpy(scan)[None, None])[0].flatten(1).mean(1)
    path = os.path.join(out, "model.onnx")
    axes = {0: "n", 2: "d", 3: "h", 4: "w"}
    torch.onnx.export(network, (torch.zeros(1, 1, *PATCH),), path, input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes={"x": axes, "y": axes}, dynamo=False)
    heads = [dict(name=f"region {i}", value=i + 1) for i in range(HEADS)]
    manifest = dict(format=1, name="sigmoid", grid=dict(patch_zyx=PATCH, spacing_mm=[None] * 3),
                    channels=[dict(name="MR", normalization=dict(kind="none"))], resample_data=dict(kind="keep"),
                    resample_logits=dict(kind="keep"), labels=dict(kind="regions", heads=heads))
    with open(os.path.join(out, "model.json"), "w") as file:
        json.dump(manifest, file, indent=1)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    weights = compute_gaussian(PATCH, 1. / 8, 10, device=torch.device("cpu"))
    probabilities = torch.from_numpy(session.run(None, {"x": scan[None, None]})[0][0])
    probabilities = ((probabilities * weights).half() / weights).float().numpy()
    labels = np.zeros(PATCH, np.uint8)
    for i, head in enumerate(probabilities):
        labels[head > 0.5] = i + 1
    print({int(v): int((labels == v).sum()) for v in np.unique(labels)})
    for name, array in (("scan", scan), ("labels", labels)):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T), np.eye(4)), os.path.join(out, f"{name}.nii.gz"))


main(sys.argv[1])
