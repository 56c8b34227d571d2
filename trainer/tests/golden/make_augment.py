"""Writes what nnU-Net's own augmentations and patch sampling do, for the tests of the trainer.

Usage: python make_augment.py [FOLDER]      (default: the folder `augment` beside this file)

Needs nnunetv2 2.8.1 and batchgeneratorsv2 0.3.6; nothing is computed here that they compute. Files:
  spatial.safetensors     a case, and patches of it turned and scaled by given parameters
  steps.safetensors       a channel, and what each intensity step makes of it with given parameters
  whole.safetensors       a patch after all steps in their order, with the parameters WHOLE
  drawn.safetensors       the image of the random steps
  distributions.json      means and variances of every random step and of the places of patches, over many draws;
                          the enlarged patches of some patches
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter

from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgeneratorsv2.helpers.scalar_type import sample_scalar
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


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


def asked_of(patch):
    """What the trainer derives from a patch: largest angle, in-plane, enlarged patch, mirrored axes."""
    trainer = types.SimpleNamespace(
        configuration_manager=types.SimpleNamespace(patch_size=patch), print_to_log_file=lambda text: None)
    angles, in_plane, window, mirrored = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(trainer)
    return angles, bool(in_plane), [int(n) for n in window], mirrored


def training_steps(patch, masked):
    angles, in_plane, window, mirrored = asked_of(patch)
    compose = nnUNetTrainer.get_training_transforms(patch, angles, None, mirrored, in_plane, use_mask_for_norm=masked)
    return compose, window


WHOLE = {
    "patch": [9, 12, 10], "start": [3, 0, 5], "angles": [0.2, -0.3, 0.4], "scale": 1.1,
    "blur": [[0.6, 0.8, 0.95], [0.9, 0.55, 0.7]], "brightness": [1.1, 0.85], "contrast": [1.2, 0.8],
    "low_resolution": [[0.6] * 3, [0.8] * 3], "gamma_inverted": [0.8, 1.3], "gamma": [1.4, 0.75], "mirror": [0, 2],
}


def whole(folder):
    """All steps of a training patch in nnU-Net's order, each with given parameters; without noise."""
    compose, window = training_steps(WHOLE["patch"], [True, False])
    image, labels = smooth_case((18, 22, 20), 2, np.random.default_rng(1))
    turn, noise, blur, brightness, contrast, low, inverted, gamma, mirror = compose.transforms[:9]
    turn.p_rotation = turn.p_scaling = 1
    turn.rotation, turn.scaling = (lambda image, dim: WHOLE["angles"][dim]), (lambda image, dim: WHOLE["scale"])

    def always(step, **params):
        if hasattr(step, "apply_probability"):
            step.get_parameters = lambda **data: {"apply_transform": True}
            step = step.transform
        step.get_parameters = lambda **data: params

    both, on = torch.tensor([0, 1]), torch.tensor([True, True])
    always(noise, num_apply=0)
    blur.transform.benchmark = False
    always(blur, apply_to_channel=on, sigmas=WHOLE["blur"])
    always(brightness, apply_to_channel=both, multipliers=torch.tensor(WHOLE["brightness"]))
    always(contrast, apply_to_channel=both, multipliers=torch.tensor(WHOLE["contrast"]))
    always(low, apply_to_channel=both, scales=torch.tensor(WHOLE["low_resolution"]))
    always(inverted, apply_to_channel=both, retain_stats=on, invert_image=on, gamma=torch.tensor(WHOLE["gamma_inverted"]))
    always(gamma, apply_to_channel=both, retain_stats=on, invert_image=~on, gamma=torch.tensor(WHOLE["gamma"]))
    always(mirror, axes=WHOLE["mirror"])
    box = [[a, a + n] for a, n in zip(WHOLE["start"], window)]
    moved = compose(
        image=torch.from_numpy(crop_and_pad_nd(image, box, 0)),
        segmentation=torch.from_numpy(crop_and_pad_nd(labels[None], box, -1)))

    # The noise comes before the blur: what is left of it on an empty image.
    always(noise, num_apply=2, apply_idx=both, sigmas=0.1)
    torch.manual_seed(4)
    left = [blur(**noise(image=torch.zeros((2, 9, 12, 14))))["image"].std(dim=(1, 2, 3)).numpy() for _ in range(300)]
    save_file({
        "image": np.ascontiguousarray(moved["image"].numpy()),
        "labels": np.ascontiguousarray(moved["segmentation"][0].numpy()),
        "noise_left": np.mean(left, axis=0).astype(np.float64),
    }, folder / "whole.safetensors")


def features(image, labels=None):
    """Numbers that tell what was done to an image (channels, z, y, x). The tests of the trainer compute the same."""
    image = image.astype(np.float64)
    channel = image[0]
    result = [channel.mean(), channel.std(), channel.min(), channel.max(), channel[1, 2, 3]]
    for axis in range(3):
        n = channel.shape[axis]
        place = (np.arange(n) - (n - 1) / 2) / n
        result.append(np.abs(np.diff(channel, axis=axis)).mean())
        result.append((channel * place.reshape([-1 if d == axis else 1 for d in range(3)])).mean())
    result += [image[1].std(), channel.std() * image[1].std()]
    if labels is not None:
        result += [float((labels == label).mean()) for label in range(4)]
        result.append(float((image[0] == 0).mean()))
        result.append(float((image[1] == 0).mean()))
    return result


def moments(rows):
    """Mean and variance of each feature and of its square."""
    rows = np.array(rows)
    return {
        "count": len(rows),
        "mean": rows.mean(0).tolist(), "variance": rows.var(0).tolist(),
        "square_mean": (rows**2).mean(0).tolist(), "square_variance": (rows**2).var(0).tolist(),
    }


def random_step(step, image, draws):
    """How often a step changes an image, and what comes out when it does."""
    rows = []
    for _ in range(draws):
        moved = step(image=torch.from_numpy(image.copy()))["image"].numpy()
        if not np.array_equal(moved, image):
            rows.append(features(moved) + (moved - image).astype(np.float64).std(axis=(1, 2, 3)).tolist())
    return {"draws": draws, **moments(rows)}


def parameters(patch, draws):
    """Of each step: how often it is taken, by sample and by channel, and how its parameter is spread."""
    compose, _ = training_steps(patch, [False])
    in_plane = asked_of(patch)[1]
    turn = compose.transforms[1 if in_plane else 0]
    noise, blur, brightness, contrast, low, inverted, gamma = compose.transforms[3 if in_plane else 1:][:7]

    def spread(values):
        drawn = np.array([sample_scalar(values) for _ in range(draws)])
        return {"least": drawn.min(), "largest": drawn.max(), "below_one": float((drawn < 1).mean()),
                **moments(drawn[:, None])}

    result = {
        "rotation": {"p": turn.p_rotation, "p_per_channel": turn.p_rot_per_axis, **spread(turn.rotation)},
        "scaling": {"p": turn.p_scaling, "p_per_channel": 1, **spread(turn.scaling)},
    }
    for name, step, values in (
        ("noise", noise, noise.transform.noise_variance), ("blur", blur, blur.transform.blur_sigma),
        ("brightness", brightness, brightness.transform.multiplier_range),
        ("contrast", contrast, contrast.transform.contrast_range), ("low_resolution", low, low.transform.scale),
        ("gamma_inverted", inverted, inverted.transform.gamma), ("gamma", gamma, gamma.transform.gamma),
    ):
        result[name] = {
            "p": step.apply_probability, "p_per_channel": step.transform.p_per_channel, **spread(values)}
    return result


def matrices(step, in_plane, draws):
    rows = []
    for _ in range(draws):
        data = torch.zeros((1, 6, 6) if in_plane else (1, 6, 6, 6))
        affine = step.get_parameters(image=data)["affine"]
        if affine is not None:
            if in_plane:
                affine = np.block([[np.ones((1, 1)), np.zeros((1, 2))], [np.zeros((2, 1)), affine]])
            rows.append(affine.ravel())
    return {"draws": draws, **moments(rows)}


def places(shape, patch, window, classes, ignore, forced, draws):
    """Where the loader puts windows: their first voxels. `classes`: per class, flat indices."""
    annotated = (-1, 1, 2, 3)
    keys = [1, 2, 3] + ([annotated] if ignore else [])
    loader = object.__new__(nnUNetDataLoader)
    loader.patch_size, loader.has_ignore, loader.annotated_classes_key = window, ignore, annotated
    loader.need_to_pad = np.array(window) - np.array(patch)
    rows_of = {
        key: np.array([[0, *np.unravel_index(i, shape)] for i in indices]) for key, indices in zip(keys, classes)}
    starts = np.array([loader.get_bbox(np.array(shape), forced, rows_of)[0] for _ in range(draws)], dtype=np.float64)
    return {
        "shape": shape, "patch": patch, "window": window, "classes": classes, "ignore": ignore, "forced": forced,
        "least": starts.min(0).tolist(), "largest": starts.max(0).tolist(),
        **moments(np.concatenate([starts, starts[:, [0]] * starts[:, [1]]], axis=1)),
    }


def distributions(folder):
    np.random.seed(3)
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    result = {"plans": [], "steps": {}, "pipelines": [], "places": [], "forced": []}
    for patch in ([40, 56, 40], [128, 128, 128], [96, 160, 160], [20, 320, 256], [16, 48, 49], [64, 193, 192], [9, 12, 14]):
        angles, in_plane, window, mirrored = asked_of(patch)
        assert mirrored == (0, 1, 2)
        result["plans"].append({"patch": patch, "angle": angles[1], "in_plane": in_plane, "window": window})

    result["parameters"] = {"volume": parameters([9, 12, 14], 100000), "plane": parameters([3, 12, 14], 100000)}
    image, labels = smooth_case((9, 12, 14), 2, rng)
    save_file({"image": image}, folder / "drawn.safetensors")
    for patch in ([9, 12, 14], [3, 12, 14]):
        compose, _ = training_steps(patch, [False, False])
        names = "noise blur brightness contrast low_resolution gamma_inverted gamma mirror".split()
        in_plane = asked_of(patch)[1]
        all_steps = compose.transforms[3 if in_plane else 1:-1]
        assert len(all_steps) == len(names)
        prefix = "plane." if in_plane else ""
        result["steps"][prefix + "spatial"] = matrices(compose.transforms[1 if in_plane else 0], in_plane, 20000)
        for name, step in zip(names, all_steps):
            if not in_plane or name == "low_resolution":
                draws = 3000 if name == "mirror" else 12000
                result["steps"][prefix + name] = random_step(step, image, draws)

    spatial_case = np.random.default_rng(1)
    image, labels = smooth_case((18, 22, 20), 2, spatial_case)
    for patch, start in (([9, 12, 10], [3, 0, 5]), ([4, 13, 14], [12, 4, -2])):
        compose, window = training_steps(patch, [True, False])
        box = [[a, a + n] for a, n in zip(start, window)]
        cut = crop_and_pad_nd(image, box, 0), crop_and_pad_nd(labels[None], box, -1)
        rows = []
        for _ in range(4000):
            moved = compose(image=torch.from_numpy(cut[0].copy()), segmentation=torch.from_numpy(cut[1].copy()))
            rows.append(features(moved["image"].numpy(), moved["segmentation"][0].numpy()))
        result["pipelines"].append({"patch": patch, "start": start, **moments(rows)})

    shape = [20, 9, 31]
    classes = [[int(i) for i in rng.choice(20 * 9 * 31, n, replace=False)] for n in (30, 4, 0)]
    annotated = [int(i) for i in rng.choice(20 * 9 * 31, 40, replace=False)]
    for patch, window in (([12, 12, 12], [19, 18, 17]), ([12, 12, 12], [12, 12, 12])):
        for forced in (False, True):
            result["places"].append(places(shape, patch, window, classes, False, forced, 20000))
            result["places"].append(places(shape, patch, window, classes + [annotated], True, forced, 20000))
    result["places"].append(places(shape, patch, window, [[], [], [], annotated], True, True, 20000))
    result["places"].append(places(shape, patch, window, [[], [], [], []], True, False, 20000))
    result["places"].append(places(shape, patch, window, [[], [], []], False, True, 20000))

    for batch in range(1, 41):
        loader = types.SimpleNamespace(batch_size=batch, oversample_foreground_percent=0.33)
        result["forced"].append(sum(nnUNetDataLoader._oversample_last_XX_percent(loader, i) for i in range(batch)))
    (folder / "distributions.json").write_text(json.dumps(result, indent=None) + "\n")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "augment"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    spatial(folder)
    steps(folder)
    whole(folder)
    distributions(folder)


if __name__ == "__main__":
    main()
