"""Writes what nnU-Net's own augmentations and patch sampling do, for the tests of the trainer.

Usage: python make_augment.py [FOLDER]      (default: the folder `augment` beside this file)

Needs nnunetv2 2.8.1 and batchgeneratorsv2 0.3.6; nothing is computed here that they compute. Files:
  spatial.safetensors     a case, and patches of it turned and scaled by given parameters
  steps.safetensors       a channel, and what each intensity step makes of it with given parameters
  distributions.json      means and variances of every random step and of the places of patches, over many draws;
                          the enlarged patches of some patches
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter

from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform


def smooth_case(shape, channels, rng):
    """Smooth intensities, and labels -1 to 3 that follow them."""
    image = np.stack([gaussian_filter(rng.standard_normal(shape), 2) for _ in range(channels)])
    image = (image / image.std() + 0.1 * rng.standard_normal(image.shape)).astype(np.float32)
    field = gaussian_filter(rng.standard_normal(shape), 2)
    labels = np.digitize(field, np.quantile(field, [0.1, 0.5, 0.7, 0.9])) - 1
    return image, labels.astype(np.int16)


def turned(image, labels, start, window, patch, angles, scale, in_plane):
    box = [[a, a + n] for a, n in zip(start, window)]
    data = {
        "image": torch.from_numpy(crop_and_pad_nd(image, box, 0)).float(),
        "segmentation": torch.from_numpy(crop_and_pad_nd(labels[None], box, -1)).to(torch.int16),
    }
    transform = SpatialTransform(
        patch[1:] if in_plane else patch,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=0 if angles is None else 1,
        rotation=lambda image, dim: angles[dim],
        p_scaling=0 if scale is None else 1,
        scaling=lambda image, dim: scale,
        p_synchronize_scaling_across_axes=1,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    steps = [Convert3DTo2DTransform(), transform, Convert2DTo3DTransform()] if in_plane else [transform]
    for step in steps:
        data = step(**data)
    return data["image"].numpy(), data["segmentation"][0].numpy()


def spatial(folder):
    rng = np.random.default_rng(1)
    image, labels = smooth_case((18, 22, 20), 2, rng)
    tensors = {"image": image, "labels": labels}
    # name: start, window, patch, angles, scale, in-plane
    cases = {
        "both": ((1, 2, 1), (15, 19, 16), (9, 12, 8), (0.3, -0.4, 0.5), 1.3, False),
        "beyond": ((-6, 7, -4), (15, 19, 16), (9, 12, 8), (-0.5, 0.2, 0.1), 0.8, False),
        "turned": ((3, 2, 0), (14, 18, 20), (7, 10, 12), (0.1, 0.5, -0.5), None, False),
        "scaled": ((2, 4, -3), (15, 18, 20), (9, 11, 12), None, 0.71, False),
        "corners": ((2, 3, 3), (12, 13, 12), (10, 11, 10), (0.5, 0.5, 0.5), 1.4, False),
        "plane": ((-1, 2, 1), (4, 18, 17), (4, 13, 12), (9.0, 2.2), 1.2, True),
        "plane_scaled": ((15, 6, 1), (4, 18, 17), (4, 13, 12), None, 0.91, True),
        "crop": ((-3, -4, 5), (15, 18, 16), (8, 13, 9), None, None, False),
    }
    for name, (start, window, patch, angles, scale, in_plane) in cases.items():
        moved, seg = turned(image, labels, start, window, patch, angles, scale, in_plane)
        tensors[f"{name}.start"] = np.array(start, np.int64)
        tensors[f"{name}.window"] = np.array(window, np.int64)
        # One angle counts in a plane: the last.
        applied = (0, 0, 0) if angles is None else ((angles[-1], 0, 0) if in_plane else angles)
        tensors[f"{name}.angles"] = np.array(applied, np.float64)
        tensors[f"{name}.scale"] = np.array([1.0 if scale is None else scale], np.float64)
        tensors[f"{name}.image"] = np.ascontiguousarray(moved)
        tensors[f"{name}.labels"] = np.ascontiguousarray(seg)
    save_file(tensors, folder / "spatial.safetensors")


def steps(folder):
    rng = np.random.default_rng(2)
    shape = (9, 12, 14)
    image, labels = smooth_case(shape, 1, rng)
    tensors = {"image": image[0], "labels": labels}
    on = torch.tensor([True])
    which = torch.tensor([0])

    def keep(name, transform, **params):
        moved = transform._apply_to_image(torch.from_numpy(image.copy()), **params)
        tensors[name] = np.ascontiguousarray(moved[0].numpy())

    blur = GaussianBlurTransform((0.5, 1.0), False, False, 0.5, benchmark=False)
    for name, sigmas in {"a": [0.52, 0.75, 0.98], "b": [0.95, 0.5, 0.6], "c": [0.8, 0.99, 0.57]}.items():
        keep(f"blur.{name}", blur, apply_to_channel=on, sigmas=[sigmas])
        tensors[f"blur.{name}.sigmas"] = np.array(sigmas, np.float64)
    brightness = MultiplicativeBrightnessTransform((0.75, 1.25), False)
    keep("brightness", brightness, apply_to_channel=which, multipliers=torch.tensor([1.17]))
    contrast = ContrastTransform((0.75, 1.25), True, False)
    for name, factor in {"less": 0.77, "more": 1.23}.items():
        keep(f"contrast.{name}", contrast, apply_to_channel=which, multipliers=torch.tensor([factor]))
    low = SimulateLowResolutionTransform((0.5, 1), False, True, None, None, 0.5)
    for name, scales in {"half": [0.5] * 3, "most": [0.83] * 3, "plane": [1.0, 0.6, 0.6], "all": [0.99] * 3}.items():
        keep(f"low.{name}", low, apply_to_channel=which, scales=torch.tensor([scales]))
        tensors[f"low.{name}.scales"] = np.array(scales, np.float32)
    gamma = GammaTransform((0.7, 1.5), 0, False, 1, 1)
    for name, (exponent, inverted) in {
        "low": (0.72, False), "high": (1.46, False), "inverted_low": (0.75, True), "inverted_high": (1.4, True),
    }.items():
        keep(f"gamma.{name}", gamma, apply_to_channel=which, retain_stats=on,
             invert_image=torch.tensor([inverted]), gamma=torch.tensor([exponent]))
    mirror = MirrorTransform((0, 1, 2))
    for axes in ([0], [1], [2], [0, 2], [0, 1, 2]):
        keep("mirror." + "".join(map(str, axes)), mirror, axes=axes)
    save_file(tensors, folder / "steps.safetensors")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "augment"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    spatial(folder)
    steps(folder)


if __name__ == "__main__":
    main()
