"""Makes plans/: fingerprints, and the plans that nnU-Net's experiment planners write for them.

Usage: python make_plans.py HIPPOCAMPUS [NAME ...]     (nnunetv2 2.8.1; writes beside itself; only NAMEs if there are any)

HIPPOCAMPUS is the raw dataset of that name. Per dataset NAME/: dataset.json, dataset_fingerprint.json, and PLANNER.json
for the planners default, resenc-m, resenc-l, resenc-xl. The fingerprints of hippocampus and of the two small datasets of
preprocessed/ are extracted by nnU-Net, the others are made up.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

SCRATCH = Path(tempfile.mkdtemp())
for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[name] = str(SCRATCH / name)
    (SCRATCH / name).mkdir()

import numpy as np
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL, nnUNetPlannerResEncM, nnUNetPlannerResEncXL)

HERE = Path(__file__).resolve().parent
PLANNERS = {"default": ExperimentPlanner, "resenc-m": nnUNetPlannerResEncM, "resenc-l": nnUNetPlannerResEncL,
            "resenc-xl": nnUNetPlannerResEncXL}


def made_up():
    rng = np.random.default_rng(7)

    def cases(n, spacing, jitter, shape, spread):
        spacings = np.round(np.array(spacing) * rng.uniform(1 - jitter, 1 + jitter, (n, 3)), 6)
        shapes = np.round(np.array(shape) * rng.uniform(1 - spread, 1 + spread, (n, 3))).astype(int)
        return spacings.tolist(), shapes.tolist()

    one = {"0": "CT"}
    labels = {"background": 0, "organ": 1}
    # The third axis is coarse, has few voxels, and varies: its 10th percentile is taken.
    yield "anisotropic", {"0": "T2"}, {"background": 0, "zone": 1, "rim": 2}, cases(21, (0.62, 0.625, 6.0), 0.3, (320, 318, 21), 0.2), 1.0
    # As before, but so much finer in some cases that the 10th percentile lies below the other axes.
    spacings, shapes = cases(20, (8.0, 1.4, 1.5), 0.05, (14, 250, 214), 0.1)
    for s in spacings[:5]:
        s[0] = 0.9
    yield "mixed_slices", {"0": "cine"}, labels, (spacings, shapes), 0.98
    # Large: a low resolution and a cascade.
    yield "large_ct", one, {"background": 0, "liver": 1, "tumour": 2}, cases(90, (1.0, 0.77, 0.77), 0.2, (430, 512, 512), 0.1), 1.0
    yield "large_thick_ct", one, {"background": 0, **{f"v{i}": i for i in range(1, 25)}}, cases(33, (2.5, 0.8, 0.8), 0.1, (160, 400, 410), 0.2), 0.95
    # Two channels, mostly empty around: z-score within the mask; regions and an ignore label count as heads.
    yield "two_channels", {"0": "T1", "1": "noNorm"}, {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": [3], "ignore": 4}, cases(40, (1.0, 1.0, 1.0), 0.0, (139, 171, 137), 0.05), 0.41
    yield "tiny", {"0": "rescale_to_0_1", "1": "Rgb_to_0_1"}, labels, cases(6, (1.0, 1.1, 1.2), 0.05, (11, 13, 9), 0.1), 1.0
    # Equal axes, so that ties decide which one is shortened.
    yield "cube", {"0": "ct"}, labels, ([[0.9, 0.9, 0.9]] * 8, [[300, 300, 300]] * 8), 1.0


def plan(name, dataset, fingerprint):
    raw, preprocessed = SCRATCH / "nnUNet_raw" / name, SCRATCH / "nnUNet_preprocessed" / name
    for folder in (raw / "imagesTr", preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    # The planners open one image to find its reader.
    if not list((raw / "imagesTr").iterdir()):
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 2, 2), np.int16)), str(raw / "imagesTr/a_0000.nii.gz"))
    (raw / "dataset.json").write_text(json.dumps(dataset))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    target = HERE / "plans" / name.split("_", 1)[1]
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    (target / "dataset.json").write_text(json.dumps(dataset) + "\n")
    (target / "dataset_fingerprint.json").write_text(json.dumps(fingerprint) + "\n")
    for planner, chosen in PLANNERS.items():
        made = chosen(name)
        made.plan_experiment()
        plans = json.loads((preprocessed / f"{made.plans_identifier}.json").read_text())
        (target / f"{planner}.json").write_text(json.dumps(plans) + "\n")


def main():
    only = sys.argv[2:]
    number = 0
    for name, channels, labels, (spacings, shapes), relative in made_up():
        number += 1
        if only and name not in only:
            continue
        intensities = {str(c): {"max": 3071.0, "mean": 99.40078 + c, "median": 101.0, "min": -1024.0,
                                "percentile_00_5": -41.0, "percentile_99_5": 301.5, "std": 39.39} for c in range(len(channels))}
        dataset = {"channel_names": channels, "labels": labels, "numTraining": len(spacings), "file_ending": ".nii.gz"}
        if name == "two_channels":
            dataset["regions_class_order"] = [1, 2, 3]
        fingerprint = {"foreground_intensity_properties_per_channel": intensities,
                       "median_relative_size_after_cropping": relative, "shapes_after_crop": shapes, "spacings": spacings}
        plan(f"Dataset{number:03d}_{name}", dataset, fingerprint)
    for source, title in ((Path(sys.argv[1]), "hippocampus"), (HERE / "preprocessed/thick_slices", "thick_slices"),
                          (HERE / "preprocessed/regions", "regions")):
        number += 1
        if only and title not in only:
            continue
        name = f"Dataset{number:03d}_{title}"
        shutil.copytree(source, SCRATCH / "nnUNet_raw" / name)
        fingerprint = DatasetFingerprintExtractor(name, 1).run()
        written = json.loads((SCRATCH / "nnUNet_preprocessed" / name / "dataset_fingerprint.json").read_text())
        plan(name, json.loads((source / "dataset.json").read_text()), written)
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
