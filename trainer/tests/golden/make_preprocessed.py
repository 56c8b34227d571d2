"""Makes preprocessed/: small raw datasets and what nnU-Net's DefaultPreprocessor makes of them for training.

Usage: python make_preprocessed.py     (nnunetv2 2.8.1, SimpleITK, numpy; writes beside itself)

Per dataset NAME/: dataset.json, plans.json, imagesTr/, labelsTr/ in nnU-Net's raw layout, and expected/CASE_image_C.nii.gz
(float32), expected/CASE_labels.nii.gz (int16), expected/CASE.json (class locations as flat indices of the network grid:
their number, the first and the last three, and SHA-256 of all as little-endian uint32).

Images are those of preprocessing for inference. For training nnU-Net counts labelled voxels outside the nonzero mask as
inside when it normalises, which it cannot do at inference; where there are no such voxels, both are asserted to be equal.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(name, "/nonexistent")

import numpy as np
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).resolve().parent / "preprocessed"


def labels_of(rng, shape, values, background):
    """Smooth blobs: the largest of some blurred noises names the label."""
    sigma = [max(0.8, n / 9) for n in shape]
    noises = np.stack([gaussian_filter(rng.normal(size=shape), sigma) for _ in values] + [
        gaussian_filter(rng.normal(size=shape), sigma) + background * gaussian_filter(rng.normal(size=shape), sigma).std()
    ])
    return np.array(list(values) + [0], dtype=np.int16)[noises.argmax(0)]


def image_of(rng, labels, scale):
    image = gaussian_filter(rng.normal(size=labels.shape), 0.7) * 40 + labels * 35 + 300
    return (image * scale).astype(np.int16)


def write(path, array, spacing_zyx):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in spacing_zyx[::-1]])
    sitk.WriteImage(image, str(path), useCompression=True)


def plans_of(name, transpose, spacing, schemes, masks):
    seg = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    heads = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": name, "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": transpose, "transpose_backward": [transpose.index(k) for k in range(3)],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(c): {"mean": 341.5, "std": 55.25, "percentile_00_5": 210.5, "percentile_99_5": 480.25,
                     "min": 0.0, "max": 900.0, "median": 340.0} for c in range(len(schemes))
        },
        "configurations": {"3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
            "patch_size": [8, 16, 16], "median_image_size_in_voxels": [10, 30, 30], "spacing": spacing,
            "normalization_schemes": schemes, "use_mask_for_norm": masks,
            "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": data,
            "resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_seg_kwargs": seg,
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape", "resampling_fn_probabilities_kwargs": heads,
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": 2, "features_per_stage": [32, 64], "conv_op": "torch.nn.modules.conv.Conv3d",
                    "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]], "n_conv_per_stage": [2, 2],
                    "n_conv_per_stage_decoder": [2], "conv_bias": True,
                    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                    "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]
            },
            "batch_dice": False
        }}
    }


def make(name, cases, dataset, plans):
    root = HERE / name
    if root.exists():
        shutil.rmtree(root)
    for folder in ("imagesTr", "labelsTr", "expected"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps(dataset, indent=1) + "\n")
    (root / "plans.json").write_text(json.dumps(plans, indent=1) + "\n")
    manager = PlansManager(plans)
    for case, (images, labels, spacing) in cases.items():
        paths = []
        for c, image in enumerate(images):
            paths.append(str(root / "imagesTr" / f"{case}_{c:04d}.nii.gz"))
            write(paths[-1], image, spacing)
        label = str(root / "labelsTr" / f"{case}.nii.gz")
        write(label, labels, spacing)
        run = lambda seg: DefaultPreprocessor(verbose=False).run_case(
            paths, seg, manager, manager.get_configuration("3d_fullres"), dataset)
        trained, seg, properties = run(label)
        data = run(None)[0]
        assert data.dtype == np.float32 and np.array_equal(data, trained) == (case != "stray")
        shape = data.shape[1:]
        for c in range(len(data)):
            write(root / "expected" / f"{case}_image_{c}.nii.gz", data[c], (1, 1, 1))
        write(root / "expected" / f"{case}_labels.nii.gz", seg[0].astype(np.int16), (1, 1, 1))
        locations = []
        for rows in properties["class_locations"].values():
            flat = [int(np.ravel_multi_index(tuple(row[1:]), shape)) for row in rows]
            digest = hashlib.sha256(np.array(flat, dtype="<u4").tobytes()).hexdigest()
            locations.append({"count": len(flat), "ends": flat[:3] + flat[-3:], "sha256": digest})
        facts = {"shape_zyx": list(shape), "crop": [list(map(int, b)) for b in properties["bbox_used_for_cropping"]],
                 "locations": locations}
        (root / "expected" / f"{case}.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(name, case, shape, np.unique(seg, return_counts=True), [l["count"] for l in locations])


def main():
    rng = np.random.default_rng(20)
    head = {"file_ending": ".nii.gz"}

    # Thick slices: the first axis is separate. The second case is separate by its new spacing only, with other shapes;
    # the third, without foreground, keeps the plan's spacing.
    cases = {}
    for case, shape, spacing in (("thick", (11, 40, 37), (5.0, 0.9, 0.9)), ("thin", (30, 30, 28), (1.5, 1.1, 1.1)),
                                 ("same", (9, 21, 20), (4.0, 1.0, 1.0))):
        labels = labels_of(rng, shape, (1, 2, 3), 0.4)
        if case == "same":
            labels[:] = 0
        image = image_of(rng, labels, 1.0)
        image[:, :3] = 0
        image[2:5, 10:14, 10:15] = 0
        cases[case] = ([image], labels, spacing)
    make("thick_slices", cases,
         {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "b": 2, "c": 3}, "numTraining": 3, **head},
         plans_of("thick_slices", [0, 1, 2], [4.0, 1.0, 1.0], ["CTNormalization"], [False]))

    # Two channels, one masked; axes turned; regions and voxels that nobody labelled; every second label half-way between
    # two voxels, where labels tie.
    cases = {}
    for case, shape, spacing in (("half", (26, 24, 32), (0.75, 0.75, 0.75)), ("odd", (25, 22, 19), (1.2, 1.7, 1.4)),
                                 ("stray", (13, 12, 10), (3.0, 2.9, 2.2))):
        labels = labels_of(rng, shape, (1, 2, 3, 4), 0.2)
        first, second = image_of(rng, labels, 1.0), image_of(rng, labels, -3.0)
        ball = sum((np.arange(n).reshape([-1 if k == d else 1 for k in range(3)]) / (n - 1) * 2 - 1) ** 2
                   for d, n in enumerate(shape)) > 1.3
        for image in (first, second):
            image[ball] = 0
            image[10:12, 10:12, 9:10] = 0
        # Labels where the image is empty stay labels.
        labels[ball & (rng.random(shape) < (0.9 if case == "stray" else 1.0))] = 0
        cases[case] = ([first, second], labels, spacing)
    make("regions", cases,
         {"channel_names": {"0": "T1", "1": "T2"},
          "labels": {"background": 0, "whole": [1, 3, 2], "core": [2, 3], "tip": 3, "ignore": 4},
          "regions_class_order": [1, 2, 3], "numTraining": 3, **head},
         plans_of("regions", [2, 0, 1], [1.5, 1.5, 1.5], ["ZScoreNormalization", "ZScoreNormalization"], [True, False]))


if __name__ == "__main__":
    main()
