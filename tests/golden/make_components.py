#!/usr/bin/env python3
"""The largest components by nnU-Net: writes components/. Needs nnunetv2, numpy and nibabel."""
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nnunetv2.postprocessing.remove_connected_components import (
    apply_postprocessing,
    remove_all_but_largest_component_from_segmentation as largest,
)
from scipy import ndimage

OUT = Path(__file__).parent / "components"
# Rules as nnU-Net's postprocessing.pkl has them: all foreground, one label, a region, one after the other.
RULES = [[[1, 2, 3]], [2], [[(1, 3)]], [[1, 2, 3], 1, 2, 3]]


def save(name, voxels):
    # nibabel's arrays are x, y, z.
    nib.save(nib.Nifti1Image(voxels.transpose().astype(np.uint8), np.eye(4)), OUT / name)


def main():
    OUT.mkdir(exist_ok=True)
    random = np.random.default_rng(5)
    cases = []
    volumes = {
        "noise": random.choice(4, (14, 15, 16), p=[0.86, 0.06, 0.05, 0.03]),
        "blobs": np.digitize(ndimage.gaussian_filter(random.normal(size=(22, 30, 26)), 1.6), [0.05, 0.09, 0.13]),
        "plane": random.choice(4, (1, 24, 24), p=[0.7, 0.1, 0.1, 0.1]),
        "column": random.choice(4, (60, 3, 1), p=[0.4, 0.2, 0.2, 0.2]),
    }
    for name, labels in volumes.items():
        save(f"{name}.nii.gz", labels)
        for number, rules in enumerate(RULES):
            kwargs = [{"labels_or_regions": rule} for rule in rules]
            kept = apply_postprocessing(labels, [largest] * len(rules), kwargs)
            save(f"{name}_{number}.nii.gz", kept)
            values = [np.unique(np.hstack([np.ravel(r) for r in (rule if isinstance(rule, list) else [rule])])) for rule in rules]
            cases.append({
                "labels": f"{name}.nii.gz",
                "expected": f"{name}_{number}.nii.gz",
                "rules": [[int(v) for v in v] for v in values],
                "removed": int((labels != kept).sum()),
            })
    (OUT / "index.json").write_text(json.dumps(cases, indent=1) + "\n")
    print([case["removed"] for case in cases])


if __name__ == "__main__":
    main()
