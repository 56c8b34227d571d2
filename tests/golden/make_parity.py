#!/usr/bin/env python3
"""Small goldens from the real nnU-Net v2: seeded model folders, seeded scans, what nnU-Net makes of them stage by stage.

    make_parity.py --tool nnunet_reference.py --out parity --work SCRATCH [--only NAME ...] [--seed 0]

Needs nnunetv2 2.8.1 on CPU. `--tool` is the recorder that wraps nnU-Net's own functions (its `run` is used, and its plans
builder); nothing of nnU-Net is computed here. SCRATCH/<variant>-<case> receives the full dumps, `--out` the small part:

    <variant>/model/                  plans.json, dataset.json, fold_K/checkpoint_final.pth (the four entries inference reads)
    <variant>/<case>/<case>_000C.nii.gz   the scan, one file per channel
    <variant>/<case>/labels.nii.gz    labels of the untouched command line (CPU), all cases of equal settings in one call
    <variant>/<case>/stages/*.npy.gz  gzip over NumPy's .npy version 1: little-endian, C order
    <variant>/<case>/manifest.json    box, tile starts, spacings, margins, SHA-256 of EVERY stage's raw bytes, versions
    index.json                        every variant and case with one line on what it is for

Stages are named as in the recorder: 01_nonzero_mask (u1), 02_normalized, 03_resampled (f4), 04_gaussian (f2), 05_foldF_tta
(f4, all tiles stacked, where a case keeps them), 06_foldF_logits, 06_logits, 07_logits_resampled (f2; f4 with torch
resampling), 08_segmentation_crop, 09_segmentation. A stage
that a case of the same variant stored before is not stored again: manifest `same_as` names its file from <variant>/.
"""
import argparse
import contextlib
import gzip
import hashlib
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

import nibabel as nib
import numpy as np

BASE = dict(
    arch="plain", config="3d_fullres", spacing=[1.0, 1.0, 1.0], patch=[16, 16, 16], features=[4, 8],
    kernels=[[3, 3, 3]] * 2, strides=[[1, 1, 1], [2, 2, 2]], channels={"0": "MR"}, norm=["ZScoreNormalization"], mask=[False],
    labels={"background": 0, "a": 1, "b": 2}, order=None, tf=[0, 1, 2], mirror=(0, 1, 2), folds=1, resample="default",
    trainer="nnUNetTrainer", data_kw={}, prob_kw={}, arch_kw={}, cls=None, legacy=False)
THREE = dict(features=[4, 8, 12], kernels=[[3, 3, 3]] * 3, strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]])
# size and spacing of a case are x, y, z as in the file
CASE = dict(size=(24, 22, 20), spacing=(1.0, 1.0, 1.0), dtype="int16", kind="mr", frame=0, stray=False, axes="oblique",
            header=None, step=0.5, mirroring=True, folds=None, tiles=False, labels_only=False)

CT = dict(THREE, spacing=[1.5] * 3, patch=[16, 20, 16], channels={"0": "CT"}, norm=["CTNormalization"],
          labels={"background": 0, "a": 1, "b": 2, "c": 3})
CT_CASE = dict(size=(34, 38, 22), spacing=(0.9, 1.1, 2.3), kind="ct", frame=3)
TWO_D = dict(config="2d", patch=[20, 24], spacing=[1.0, 1.0], features=[4, 8, 12], kernels=[[3, 3]] * 3,
             strides=[[1, 1], [2, 2], [2, 2]], mirror=(0, 1))
REGIONS = dict(labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enh": [3]}, order=[1, 2, 3], mirror=(0, 2))

VARIANTS = {
    "iso_ct": (CT, {
        "default": (dict(CT_CASE), "CT window, crop, cubic both ways, four classes, three stages"),
        "step1": (dict(CT_CASE, step=1.0, labels_only=True), "tiles that only just meet"),
        "plain": (dict(CT_CASE, mirroring=False, labels_only=True), "no mirroring"),
        "step1_plain": (dict(CT_CASE, step=1.0, mirroring=False, labels_only=True), "one pass per tile"),
        "one_tile": (dict(CT_CASE, size=(22, 20, 9), frame=0), "scan fits one tile exactly or nearly")}),
    "aniso": (dict(THREE, config="3d_child", spacing=[5.0, 0.8, 0.8], patch=[6, 24, 20],
                   kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3]], strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                   channels={"0": "T1", "1": "T2"}, norm=["ZScoreNormalization"] * 2, mask=[True, False], tf=[2, 0, 1]), {
        "stray": (dict(size=(14, 36, 32), spacing=(4.4, 0.7, 0.75), dtype="float32", frame=3, stray=True),
                  "transposition (2,0,1), separate z, masked and unmasked z-score, lone voxel, inherits_from")}),
    "masked_holes": (dict(channels={"0": "T1"}, mask=[True], tf=[1, 0, 2], spacing=[1.2, 1.0, 1.1]), {
        "holes": (dict(size=(24, 26, 22), spacing=(1.0, 0.9, 1.3), kind="holes", frame=2),
                  "masked z-score: closed hole counts as body, open tunnel does not; transposition (1,0,2)")}),
    "regions": (dict(REGIONS, patch=[20, 16, 16]), {
        "pad": (dict(size=(28, 24, 15), dtype="float32", tiles=True), "regions, identity resampling, odd padding, two mirror axes")}),
    "regions_resampled": (dict(REGIONS, labels={"background": 0, "enh": [3], "whole": [1, 2, 3], "core": [2, 3]},
                               order=[3, 1, 2], mirror=(1,), spacing=[1.4, 1.2, 1.3]), {
        "default": (dict(size=(26, 24, 22)), "region heads in the file's order, a later head overwrites; one mirror axis")}),
    "regions_torch": (dict(REGIONS, order=[1, 255, 2], resample="torch", spacing=[1.4, 1.2, 1.3]), {
        "value255": (dict(size=(26, 24, 22)), "float32 logits to sigmoid; label value 255 makes the file uint16")}),
    "resenc_folds": (dict(THREE, arch="resenc", spacing=[1.2, 1.0, 1.0], patch=[16, 16, 20], folds=2, mirror=None, resample="torch",
                          strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]], channels={"0": "rescale_to_0_1"},
                          norm=["RescaleTo01Normalization"]), {
        "both": (dict(size=(28, 24, 18), spacing=(1.3, 0.8, 1.6), frame=2), "residual encoder, fold mean, torch resampling, no mirror key"),
        "fold1": (dict(size=(28, 24, 18), spacing=(1.3, 0.8, 1.6), frame=2, folds=[1], labels_only=True), "the second fold alone")}),
    "resenc_odd": (dict(THREE, arch="resenc", arch_kw=dict(stem_channels=6, bottleneck_channels=[2, 4, 4],
                        block="dynamic_network_architectures.building_blocks.residual.BottleneckD"), spacing=[1.0] * 3), {
        "default": (dict(size=(20, 18, 18)), "bottleneck blocks and a stem of its own width")}),
    "net_odd": (dict(kernels=[[1, 3, 5], [5, 3, 1]], strides=[[1, 1, 1], [2, 1, 2]], arch_kw=dict(
        nonlin_first=True, conv_bias=False, norm_op_kwargs=dict(eps=1e-3, affine=True), dropout_op="torch.nn.modules.dropout.Dropout3d",
        dropout_op_kwargs=dict(p=0.2, inplace=True), nonlin_kwargs=dict(negative_slope=0.15, inplace=True), n_conv_per_stage=1)), {
        "default": (dict(size=(20, 18, 18)), "dropout module shifts names, nonlinearity before norm, no conv bias, eps 1e-3, slope 0.15")}),
    "bn": (dict(trainer="nnUNetTrainerBN"), {
        "default": (dict(size=(20, 18, 18)), "BatchNorm with running statistics")}),
    "legacy": (dict(THREE, legacy=True, patch=[16, 16, 16]), {
        "default": (dict(size=(20, 18, 22)), "old plans: network described by UNet_class_name and lists")}),
    "twod": (TWO_D, {
        "thick": (dict(size=(36, 32, 7), spacing=(0.8, 0.8, 4.0), tiles=True), "2d network, in-plane resampling, slices separate"),
        "iso": (dict(size=(34, 30, 8), spacing=(0.8, 0.9, 1.2)), "2d network, spacing near isotropic: resampled in 3d though z keeps its size"),
        "one_slice": (dict(size=(30, 34, 1), spacing=(0.9, 0.8, 1.0)), "2d network on a single slice"),
        "plain": (dict(size=(18, 16, 3), spacing=(1.0, 1.0, 5.0), mirroring=False, step=1.0), "2d network, slice smaller than the patch")}),
    "twod_tf": (dict(TWO_D, tf=[2, 0, 1], spacing=[0.9, 1.1]), {
        "default": (dict(size=(6, 30, 28), spacing=(3.5, 1.0, 0.9)), "2d network that cuts along file x")}),
    "small": (dict(patch=[16, 20, 16]), {
        "below_patch": (dict(size=(11, 13, 9)), "smaller than the patch on all axes"),
        "one_slice": (dict(size=(24, 26, 1)), "3d network, z has one voxel, no resampling"),
        "one_slice_resampled": (dict(size=(24, 26, 1), spacing=(0.8, 0.9, 1.0)), "one slice through the cubic resampler"),
        "one_slice_thick": (dict(size=(20, 22, 1), spacing=(0.8, 0.9, 1.4)), "one slice, z rounds 1.4 to one voxel"),
        "column": (dict(size=(1, 1, 23), spacing=(1.0, 1.0, 1.3)), "a column of voxels"),
        "voxel": (dict(size=(1, 1, 1), kind="ct"), "a single voxel: its std is 0"),
        "zeros": (dict(size=(12, 11, 10), kind="zeros"), "nothing but zero: no crop, std 0"),
        "constant": (dict(size=(12, 11, 10), kind="constant", dtype="float32"), "constant scan"),
        "negative": (dict(size=(14, 13, 18), kind="negative", dtype="float32"), "negative values only, zero frame")}),
    "sepz": (dict(patch=[16, 16, 16]), {
        "axis0": (dict(size=(22, 20, 5), spacing=(0.9, 0.8, 4.0)), "thick z"),
        "axis1": (dict(size=(20, 6, 22), spacing=(1.1, 3.5, 0.9)), "thick file y, no transposition"),
        "axis2": (dict(size=(6, 20, 18), spacing=(3.2, 1.1, 1.0)), "thick file x, no transposition"),
        "tie": (dict(size=(7, 20, 6), spacing=(4.0, 0.9, 4.0)), "two equally thick axes: no separate axis"),
        "three": (dict(size=(20, 18, 7), spacing=(1.0, 1.0, 3.0)), "ratio exactly 3: not separate"),
        "above_three": (dict(size=(20, 18, 7), spacing=(1.0, 1.0, 3.0000005)), "ratio just above 3 in float32: separate")}),
    "sepz_new": (dict(spacing=[4.2, 1.1, 1.0], patch=[6, 16, 16], strides=[[1, 1, 1], [1, 2, 2]], kernels=[[1, 3, 3], [3, 3, 3]]), {
        "default": (dict(size=(20, 20, 34), spacing=(1.2, 0.9, 1.1)), "the plan's spacing asks for separate z, the scan's does not")}),
    "up_order1": (dict(spacing=[0.7, 0.75, 0.8], data_kw=dict(order=1, force_separate_z=False), prob_kw=dict(force_separate_z=False)), {
        "thick": (dict(size=(18, 17, 4), spacing=(1.0, 1.1, 3.8)), "finer plan on all axes, linear data, separation forbidden"),
        "iso": (dict(size=(16, 15, 14), spacing=(1.0, 1.1, 1.2)), "finer plan on all axes, linear data")}),
    "up_forced": (dict(spacing=[0.8, 0.75, 0.7], data_kw=dict(order=3, order_z=1, force_separate_z=True),
                       prob_kw=dict(order=1, order_z=1, force_separate_z=True)), {
        "mild": (dict(size=(18, 17, 11), spacing=(1.0, 1.1, 1.6)), "separation forced at ratio 1.6; linear along the axis"),
        "iso": (dict(size=(16, 15, 14), spacing=(1.1, 1.1, 1.1)), "separation forced, but three equal spacings cancel it")}),
    "order_other": (dict(spacing=[1.3, 1.2, 0.9], data_kw=dict(order=0), prob_kw=dict(order=3)), {
        "default": (dict(size=(20, 18, 16)), "data order 0 and logits order 3: allowed by plans, never shipped")}),
    "torch_sepz": (dict(resample="torch", data_kw=dict(force_separate_z=None), prob_kw=dict(force_separate_z=None)), {
        "axis0": (dict(size=(22, 20, 5), spacing=(0.9, 0.8, 4.0)), "torch resampling with a separate axis"),
        "axis2": (dict(size=(6, 20, 18), spacing=(3.2, 1.1, 0.9)), "the same, thick file x"),
        "iso": (dict(size=(18, 20, 17), spacing=(1.2, 1.1, 0.9)), "torch resampling, not separate")}),
    "norgb": (dict(channels={"0": "nonorm", "1": "rgb_to_0_1"}, norm=["NoNormalization", "RGBTo01Normalization"], mask=[False, False],
                   spacing=[1.1, 1.2, 1.0]), {
        "uint8": (dict(size=(20, 18, 17), kind="rgb", dtype="uint8"), "values as they are, and divided by 255"),
        "same_grid": (dict(size=(18, 17, 16), kind="rgb", dtype="uint8", spacing=(1.0, 1.2, 1.1)), "the plan's spacing up to float32 rounding")}),
    "heads12": (dict(config="3d_lowres", labels=dict({"background": 0, "one": [1]}, **{f"s{i}": i for i in range(2, 12)}, ignore=12),
                     spacing=[1.6, 1.5, 1.4]), {
        "default": (dict(size=(22, 20, 19)), "twelve heads, lowres name, one-entry list as label, ignore label")}),
    "reading": (dict(patch=[12, 12, 12]), {
        "scaled": (dict(size=(13, 12, 11), header="scaled", labels_only=True), "int16 with slope 0.5 and intercept -3"),
        "uint8": (dict(size=(13, 12, 11), dtype="uint8", kind="rgb", labels_only=True), "uint8"),
        "uint16": (dict(size=(13, 12, 11), dtype="uint16", labels_only=True), "uint16"),
        "int32": (dict(size=(13, 12, 11), dtype="int32", labels_only=True), "int32"),
        "float64": (dict(size=(13, 12, 11), dtype="float64", labels_only=True), "float64, narrowed to float32"),
        "big_endian": (dict(size=(13, 12, 11), header="big_endian", labels_only=True), "big-endian file"),
        "ras": (dict(size=(13, 12, 11), axes="ras", labels_only=True), "RAS"),
        "lps": (dict(size=(13, 12, 11), axes="lps", labels_only=True), "LPS"),
        "lia": (dict(size=(13, 12, 11), axes="lia", labels_only=True), "permuted axes"),
        "oblique": (dict(size=(13, 12, 11), spacing=(1.1, 0.9, 1.2), labels_only=True), "oblique, spacing differs"),
        "qform_only": (dict(size=(13, 12, 11), header="qform_only", labels_only=True), "qform code 1, sform code 0"),
        "sform_2": (dict(size=(13, 12, 11), header="sform_2", labels_only=True), "sform code 2 loses against qform code 1"),
        "no_form": (dict(size=(13, 12, 11), header="no_form", labels_only=True), "neither code set"),
        "pixdim": (dict(size=(13, 12, 11), header="pixdim", labels_only=True), "pixdim and sform columns disagree: pixdim wins"),
        "metre": (dict(size=(13, 12, 11), header="metre", labels_only=True), "units metre")}),
}


def direction(kind):
    """Affine columns (RAS) of unit length."""
    if kind == "ras":
        return np.eye(3)
    if kind == "lps":
        return np.diag([-1.0, -1.0, 1.0])
    if kind == "lia":
        return np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    p, q = math.radians(11), math.radians(23)
    rx = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    rz = np.array([[math.cos(q), -math.sin(q), 0], [math.sin(q), math.cos(q), 0], [0, 0, 1]])
    return rz @ rx @ np.diag([1.0, -1.0, -1.0])


def voxels(c, rng):
    """A scan with smooth blobs and noise, z,y,x."""
    from scipy.ndimage import gaussian_filter
    shp = c["size"][::-1]
    if c["kind"] in ("zeros", "constant"):
        return np.full(shp, 0.0 if c["kind"] == "zeros" else 7.25)
    ax = [np.linspace(-1, 1, k) if k > 1 else np.zeros(1) for k in shp]
    zz, yy, xx = np.meshgrid(*ax, indexing="ij")
    r = np.sqrt(zz ** 2 + yy ** 2 + xx ** 2)
    tex = gaussian_filter(rng.normal(size=shp), [min(2.0, k / 8) for k in shp])
    tex /= max(tex.std(), 1e-6)
    fine = rng.normal(size=shp)
    if c["kind"] == "ct":
        a = -60 + 160 * tex + 25 * fine + 180 * (r < 0.55)
    elif c["kind"] == "rgb":
        a = np.clip(128 + 60 * tex + 8 * fine, 0, 255)
    else:
        a = np.abs(420 + 90 * tex + 12 * fine + 200 * (r < 0.5)) + 1.37
    if np.dtype(c["dtype"]).kind in "iu" and c["kind"] != "rgb":
        a = np.rint(a)
        a[a == 0] = 1
    if c["kind"] == "holes":
        a[r > 1.05] = 0
        a[(np.abs(zz) < 0.3) & (np.abs(yy) < 0.25) & (np.abs(xx) < 0.2)] = 0  # closed: filled
        a[(np.abs(yy - 0.5) < 0.13) & (np.abs(xx) < 0.13)] = 0  # a tunnel through: stays outside
    elif c["kind"] == "negative":
        a = -a
    f = c["frame"] or (2 if c["kind"] == "negative" else 0)
    if f:
        body = np.zeros(shp, bool)
        body[tuple(slice(min(f, k // 4), k - min(f, k // 4) - 1) for k in shp)] = True
        a[~body] = 0
    if c["stray"]:
        a[1, 2, -2] = 33.0
    return a


def write_scan(c, a, path):
    """One NIfTI file; `header` names what is unusual about it."""
    h = c["header"]
    sp = np.array(c["spacing"], float)
    aff = np.eye(4)
    aff[:3, :3] = direction(c["axes"]) * sp
    aff[:3, 3] = (57.25, -88.125, -412.625)
    data = np.ascontiguousarray(a.T.astype(c["dtype"]))
    hdr = nib.Nifti1Header(endianness=">" if h == "big_endian" else "<")
    hdr.set_data_dtype(data.dtype)
    hdr.set_data_shape(data.shape)
    hdr.set_qform(aff, 1)
    hdr.set_sform(aff, 1)
    hdr["pixdim"][1:4] = sp
    hdr.set_xyzt_units("mm", "sec")
    if h == "qform_only":
        hdr["sform_code"] = 0
    elif h == "no_form":
        hdr["sform_code"] = hdr["qform_code"] = 0
    elif h == "sform_2":
        other = aff.copy()
        other[:3, :3] = direction("lps") * sp
        hdr.set_sform(other, 2)
    elif h == "pixdim":
        hdr["pixdim"][1:4] = (1.25, 0.8, 1.1)
        hdr["qform_code"] = 0
    elif h == "metre":
        hdr.set_xyzt_units("meter", "sec")
        hdr["pixdim"][1:4] = sp / 1000
        hdr["qoffset_x"], hdr["qoffset_y"], hdr["qoffset_z"] = aff[:3, 3] / 1000
        for k, n in enumerate("xyz"):
            hdr["srow_" + n] = aff[k] / 1000
    hdr["scl_slope"], hdr["scl_inter"] = (0.5, -3) if h == "scaled" else (1, 0)
    hdr["vox_offset"] = 352
    body = data.astype(data.dtype.newbyteorder(">")) if h == "big_endian" else data
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as g:
        g.write(hdr.binaryblock + b"\0\0\0\0" + body.tobytes("F"))


def plans_and_dataset(tool, name, s):
    three = len(s["patch"]) == 3
    t = s if three else dict(s, config="3d_fullres")
    plans, dataset = tool.plans_and_dataset(name, t)
    conf = plans["configurations"]["3d_fullres"]
    conf["resampling_fn_data_kwargs"].update(s["data_kw"])
    conf["resampling_fn_probabilities_kwargs"].update(s["prob_kw"])
    kw = conf["architecture"]["arch_kwargs"]
    kw.update(s["arch_kw"])
    if "block" in kw:
        conf["architecture"]["_kw_requires_import"].append("block")
    if not three:
        for k in ("conv_op", "norm_op"):
            kw[k] = kw[k].replace("3d", "2d")
        conf["data_identifier"] = "nnUNetPlans_2d"
        plans["configurations"] = {"2d": conf}
    if s["legacy"]:
        del conf["architecture"]
        n = len(s["features"])
        conf.update(UNet_class_name="PlainConvUNet", UNet_base_num_features=s["features"][0], unet_max_num_features=s["features"][-1],
                    n_conv_per_stage_encoder=[2] * n, n_conv_per_stage_decoder=[2] * (n - 1), conv_kernel_sizes=s["kernels"],
                    pool_op_kernel_sizes=s["strides"], num_pool_per_axis=[n - 1] * 3)
        del plans["label_manager"]
    return plans, dataset


def build(tool, name, s, folder, seed):
    """Model folder with the four checkpoint entries that inference reads; every parameter non-trivial."""
    import nnunetv2
    import torch
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    plans, dataset = plans_and_dataset(tool, name, s)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for fn, d in (("plans.json", plans), ("dataset.json", dataset)):
        write_json(os.path.join(folder, fn), d)
    trainer = recursive_find_python_class(os.path.join(nnunetv2.__path__[0], "training", "nnUNetTrainer"), s["trainer"],
                                          "nnunetv2.training.nnUNetTrainer")
    pm = PlansManager(json.loads(json.dumps(plans)))
    cm = pm.get_configuration(s["config"])
    channels = determine_num_input_channels(pm, cm, dataset)
    for fold in range(s["folds"]):
        torch.manual_seed(seed * 1000 + sum(map(ord, name)) + fold)
        net = trainer.build_network_architecture(pm, cm, channels, pm.get_label_manager(dataset).num_segmentation_heads, True)
        x = torch.randn(2, channels, *cm.patch_size)
        if "rgb_to_0_1" in s["channels"].values():
            x = 128 + 60 * x
            x[:, 1] /= 255
        with torch.no_grad():
            for k, p in net.named_parameters():
                if p.ndim == 1 and ".norm." in k and k.endswith("weight"):
                    p.uniform_(0.6, 1.4)
                elif p.ndim == 1:
                    p.uniform_(-0.3, 0.3)
                elif "seg_layers" in k:
                    p.mul_(2.5)
            net.train()(x)  # BatchNorm gathers statistics; nothing else changes
            out = net.eval()(x)[0]
            net.decoder.seg_layers[-1].bias -= out.mean([i for i in range(out.ndim) if i != 1])  # every class wins somewhere
        ck = dict(network_weights=net.state_dict(), trainer_name=s["trainer"], init_args=dict(configuration=s["config"]))
        if s["mirror"] is not None:
            ck["inference_allowed_mirroring_axes"] = tuple(s["mirror"])
        os.makedirs(os.path.join(folder, f"fold_{fold}"))
        torch.save(ck, os.path.join(folder, f"fold_{fold}", "checkpoint_final.pth"))


def write_json(path, d):
    with open(path, "w") as f:
        json.dump(d, f, indent=1)
        f.write("\n")


class Plane(int):
    """A slice number that also answers as the start of a one-thick slice: the recorder asks every index for its start."""
    start = property(int)


@contextlib.contextmanager
def two_d_recordable():
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor as p
    old = p._internal_get_sliding_window_slicers
    p._internal_get_sliding_window_slicers = lambda self, size: [
        tuple(Plane(i) if isinstance(i, int) else i for i in sl) for sl in old(self, size)]
    try:
        yield
    finally:
        p._internal_get_sliding_window_slicers = old


def command_line(model, cases, folders, step, mirroring, folds):
    """The untouched program on all cases at once; its label file goes beside each case."""
    with tempfile.TemporaryDirectory() as t:
        i, o = os.path.join(t, "in"), os.path.join(t, "out")
        os.makedirs(i)
        for k in cases:
            for f in os.listdir(folders[k]):
                if f.startswith(k + "_00"):
                    shutil.copy(os.path.join(folders[k], f), i)
        cmd = [sys.executable, "-c", "from nnunetv2.inference.predict_from_raw_data import "
               "predict_entry_point_modelfolder as f; f()", "-i", i, "-o", o, "-m", model, "-f", *map(str, folds), "-device", "cpu",
               "-npp", "1", "-nps", "1", "-step_size", str(step), "--disable_progress_bar"]
        r = subprocess.run(cmd + ([] if mirroring else ["--disable_tta"]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            raise SystemExit(r.stdout[-4000:])
        for k in cases:
            shutil.copy(os.path.join(o, k + ".nii.gz"), os.path.join(folders[k], "labels.nii.gz"))


def keep(dump, info, c, folder, seen):
    """Copy the stages worth storing; stacks the tiles; a stage that any case of the variant stored before is only named."""
    d = os.path.join(folder, "stages")
    os.makedirs(d)
    load = lambda k: np.load(os.path.join(dump, k + ".npy"))
    sha = {k: v["sha256"] for k, v in info["arrays"].items()}
    names = ["09_segmentation"] if c["labels_only"] else [
        "01_nonzero_mask", "02_normalized", "03_resampled", "04_gaussian", "06_logits", "07_logits_resampled", "08_segmentation_crop",
        "09_segmentation"]
    folds = sorted({k.split("_")[1] for k in sha if k.startswith("05_")})
    if len(folds) > 1:
        names += [f"06_{f}_logits" for f in folds]
    stored, same = {}, {}

    def put(name, a):
        with open(os.path.join(d, name + ".npy.gz"), "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as g:
            buf = io.BytesIO()
            np.lib.format.write_array(buf, np.ascontiguousarray(a), version=(1, 0))
            g.write(buf.getvalue())
        stored[name] = dict(dtype=np.asarray(a).dtype.str, shape=list(a.shape))

    for n in sorted(names):
        key = sha[n], tuple(info["arrays"][n]["shape"])
        if key in seen:
            same[n] = seen[key]
        else:
            seen[key] = f"{os.path.basename(folder)}/stages/{n}.npy.gz"
            put(n, load(n))
    if c["tiles"]:
        for f in folds:
            put(f"05_{f}_tta", np.stack([load(k) for k in sorted(sha) if k.startswith(f"05_{f}_") and k.endswith("_tta")]))
    return stored, same


def make(tool, name, a):
    s, cases = VARIANTS[name]
    s = dict(BASE, **s)
    top = os.path.join(a.out, name)
    shutil.rmtree(top, ignore_errors=True)
    model = os.path.join(top, "model")
    build(tool, name, s, model, a.seed)
    folders = {k: os.path.join(top, k) for k in cases}
    groups = {}
    for k, (over, _) in cases.items():
        c = dict(CASE, **over)
        os.makedirs(folders[k])
        rng = np.random.default_rng(a.seed + sum(map(ord, name + k)))
        for ch in range(len(s["channels"])):
            write_scan(c, voxels(c, rng), os.path.join(folders[k], f"{k}_{ch:04d}.nii.gz"))
        folds = c["folds"] or list(range(s["folds"]))
        groups.setdefault((c["step"], c["mirroring"], tuple(folds)), []).append(k)
    for (step, mirroring, folds), ks in groups.items():
        command_line(model, ks, folders, step, mirroring, folds)
    seen = {}
    for k, (over, why) in cases.items():
        c = dict(CASE, **over)
        dump = os.path.join(a.work, f"{name}-{k}")
        shutil.rmtree(dump, ignore_errors=True)
        folds = c["folds"] or list(range(s["folds"]))
        files = [os.path.join(folders[k], f"{k}_{ch:04d}.nii.gz") for ch in range(len(s["channels"]))]
        with two_d_recordable(), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            info = tool.run(model, files, dump, folds, c["step"], c["mirroring"], all_tiles=True)
        lab = np.asarray(nib.load(os.path.join(folders[k], "labels.nii.gz")).dataobj)
        seg = np.load(os.path.join(dump, "09_segmentation.npy"))
        if lab.T.shape != seg.shape or (lab.T != seg).any():
            raise SystemExit(f"{name}/{k}: recorded run and command line disagree")
        stored, same = keep(dump, info, c, folders[k], seen)
        tiles = [n for n in info["arrays"] if n.startswith("05_")]
        big = {n: {q: v[q] for q in ("shape", "dtype", "sha256")} for n, v in info["arrays"].items() if n not in tiles}
        out = dict(
            about=why, script=f"make_parity.py --only {name} --seed {a.seed}", model="../model", inputs=[os.path.basename(f) for f in files],
            command_line=dict(folds=folds, step=c["step"], mirroring=c["mirroring"], device="cpu", voxels_different=0),
            labels_dtype=str(lab.dtype),
            **{q: info[q] for q in ("properties_read", "shape_before_cropping", "bbox", "patch", "spacing_plan", "transpose_forward",
                                    "mirror_axes", "padded_shape", "tiles", "label_counts", "margin_exact_tie", "margin_below_1e_3",
                                    "margin_below_1e_2")},
            stages=big, stored=stored, same_as=same, versions=info["versions"])
        write_json(os.path.join(folders[k], "manifest.json"), out)
        print(name, k, "labels", info["label_counts"], "tiles", len(info["tiles"]), "box", info["bbox"], "net",
              info["arrays"]["03_resampled"]["shape"], "ties", round(info["margin_exact_tie"], 5), flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k in ("tool", "out", "work"):
        ap.add_argument("--" + k, required=True)
    ap.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    spec = importlib.util.spec_from_file_location("recorder", a.tool)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    failed = []
    for name in a.only:
        try:
            make(tool, name, a)
        except (Exception, SystemExit) as e:
            failed.append(name)
            print(f"{name} FAILED: {type(e).__name__}: {e}", flush=True)
    write_json(os.path.join(a.out, "index.json"), {
        v: {k: why for k, (_, why) in cases.items()} for v, (_, cases) in VARIANTS.items()
        if all(os.path.isfile(os.path.join(a.out, v, k, "manifest.json")) for k in cases)})
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
