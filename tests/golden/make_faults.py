#!/usr/bin/env python3
"""Broken, hostile and odd input files, all tiny: what must be refused in words, and what must not be.

    make_faults.py --out faults

Needs numpy, torch, dynamic_network_architectures and onnx. Nothing made here is executed or loaded here. Layout:
    nifti/NAME.nii.gz      scans (the good one: ok.nii.gz)
    folder/                a good nnU-Net v2 folder of 1x1x1 convolutions; checkpoints/NAME.pth replace its checkpoint
    plans/NAME.json, dataset/NAME.json    replace its plans or dataset
    onnx/NAME.onnx         networks of one 1x1x1 convolution, patch 8x8x8 (the good one: ok.onnx)
    index.json             for every file: what is wrong with it, and whether a reader must refuse it
"""
import argparse
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

INDEX = {}


class Out:
    def __init__(self, top):
        self.top = top

    def __call__(self, name, data, about, refuse=True):
        path = os.path.join(self.top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        INDEX[name] = dict(refuse=refuse, about=about)


def gz(data):
    buf = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, buf, mtime=0) as g:
        g.write(data)
    return buf.getvalue()


def nifti1(dim=(3, 10, 9, 8, 1, 1, 1, 1), datatype=16, bitpix=32, pixdim=(1, 1, 1, 1, 0, 0, 0, 0), vox_offset=352.0, magic=b"n+1\0",
           slope=1.0, inter=0.0, srow=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)), sizeof=348):
    h = bytearray(348)
    struct.pack_into("<i", h, 0, sizeof)
    struct.pack_into("<8h", h, 40, *dim)
    struct.pack_into("<hh", h, 70, datatype, bitpix)
    struct.pack_into("<8f", h, 76, *pixdim)
    struct.pack_into("<fff", h, 108, vox_offset, slope, inter)
    h[123] = 2  # mm
    struct.pack_into("<hh", h, 252, 0, 1)
    for i, r in enumerate(srow):
        struct.pack_into("<4f", h, 280 + 16 * i, *r)
    h[344:348] = magic
    return bytes(h) + b"\0\0\0\0"


def nifti2(dim):
    h = bytearray(540)
    struct.pack_into("<i8s", h, 0, 540, b"n+2\0\r\n\x1a\n")
    struct.pack_into("<hh8q", h, 12, 16, 32, *dim)
    struct.pack_into("<8d", h, 104, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<q", h, 168, 544)
    struct.pack_into("<d", h, 176, 1.0)
    struct.pack_into("<i", h, 348, 1)
    for i in range(3):
        struct.pack_into("<4d", h, 400 + 32 * i, *np.eye(4)[i])
    struct.pack_into("<i", h, 500, 2)
    return bytes(h) + b"\0\0\0\0"


def scans(out):
    rng = np.random.default_rng(0)
    vox = np.rint(100 + 20 * rng.normal(size=(8, 9, 10))).astype("<f4")
    body = vox.tobytes()
    put = lambda name, data, about, refuse=True: out(f"nifti/{name}.nii.gz", data, about, refuse)

    def changed(v):
        a = vox.copy()
        a[3, 4, 5] = v
        return a.tobytes()

    good = gz(nifti1() + body)
    put("ok", good, "a good scan of 10 x 9 x 8 voxels", False)
    put("truncated_gzip", good[:len(good) // 2], "the gzip stream ends half way (ITK reads on silently)")
    put("gzip_crc", good[:-8] + b"\1\2\3\4" + good[-4:], "the gzip check sum is wrong")
    put("missing_voxels", gz(nifti1() + body[:-400]), "whole gzip stream, but 100 voxels are missing (ITK fills them silently)")
    put("header_only", gz(nifti1()), "no voxels at all")
    put("short_header", gz(nifti1()[:200]), "the header ends at byte 200")
    put("empty", b"", "an empty file")
    put("text", b"PatientID,StudyDate\n0001,20200101\n", "not a NIfTI: a text file")
    put("dicom_like", b"\0" * 128 + b"DICM" + b"\0" * 64, "not a NIfTI: starts like DICOM")
    put("dims_huge", gz(nifti1(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1)) + body), "32767^3 voxels promised, 720 there")
    put("dims_huge_nifti2", gz(nifti2((3, 2 ** 40, 2 ** 40, 2 ** 40, 1, 1, 1, 1)) + body), "2^120 voxels promised: overflows 64 bit")
    put("dims_large_nifti2", gz(nifti2((3, 2 ** 40, 1, 1, 1, 1, 1, 1)) + body), "2^40 voxels promised")
    put("dims_zero", gz(nifti1(dim=(3, 10, 0, 8, 1, 1, 1, 1)) + body), "an extent of 0 (ITK makes it 1)")
    put("dims_negative", gz(nifti1(dim=(3, 10, -9, 8, 1, 1, 1, 1)) + body), "an extent of -9 (ITK makes it 1)")
    put("dims_count", gz(nifti1(dim=(11, 10, 9, 8, 1, 1, 1, 1)) + body), "claims 11 dimensions (also not a byte-swapped header)")
    put("four_d", gz(nifti1(dim=(4, 10, 9, 4, 2, 1, 1, 1)) + body), "four dimensions: two time points where one channel is expected")
    put("nan_voxel", gz(nifti1() + changed(np.nan)), "one voxel is NaN: ITK reads 0", False)
    put("inf_voxel", gz(nifti1() + changed(np.inf)), "one voxel is +inf: ITK reads 0", False)
    put("float64_beyond_float32", gz(nifti1(datatype=64, bitpix=64) + np.where(np.arange(720) == 7, 1e300, vox.ravel().astype("<f8")).tobytes()),
        "a float64 voxel of 1e300: infinite as float32")
    put("spacing_zero", gz(nifti1(pixdim=(1, 1, 0, 1, 0, 0, 0, 0), srow=((1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))) + body), "voxel spacing 0 on y")
    put("spacing_nan", gz(nifti1(pixdim=(1, np.nan, 1, 1, 0, 0, 0, 0)) + body), "voxel spacing NaN on x (ITK makes it 1)")
    put("spacing_tiny", gz(nifti1(pixdim=(1, 1e-30, 1, 1, 0, 0, 0, 0)) + body), "voxel spacing 1e-30 on x: resamples to no voxel at all")
    put("spacing_huge", gz(nifti1(pixdim=(1, 1e30, 1, 1, 0, 0, 0, 0)) + body), "voxel spacing 1e30 on x: resamples to an absurd grid")
    put("sheared", gz(nifti1(srow=((1, 0.3, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0))) + body), "sform with shear and no qform: ITK refuses it")
    put("sform_singular", gz(nifti1(srow=((1, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0))) + body), "sform of rank 2")
    put("datatype_unknown", gz(nifti1(datatype=999) + body), "datatype code 999")
    put("datatype_complex", gz(nifti1(datatype=32, bitpix=64) + body + body), "complex voxels")
    put("datatype_rgb", gz(nifti1(datatype=128, bitpix=24) + body), "RGB voxels")
    put("bitpix_wrong", gz(nifti1(bitpix=8) + body), "float32 with bitpix 8: the code decides in ITK", False)
    put("offset_nan", gz(nifti1(vox_offset=np.nan) + body), "vox_offset NaN")
    put("offset_beyond", gz(nifti1(vox_offset=1e9) + body), "vox_offset of 1e9 bytes")
    put("offset_negative", gz(nifti1(vox_offset=-352) + body), "vox_offset of -352: ITK reads from the end of the header", False)
    put("slope_nan", gz(nifti1(slope=np.nan) + body), "scl_slope NaN: means no scaling to most readers; refusing is fine too", False)
    put("pair_header", gz(nifti1(magic=b"ni1\0") + body), "marked as half of a pair, with its voxels behind the header: ITK reads them", False)
    put("zeros_bomb", gz(nifti1() + body + b"\0" * (1 << 24)), "16 MiB of zeros after the voxels: must not be held in memory", False)


class Run:
    """Unpickling this runs a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def store(name, entries, method=zipfile.ZIP_DEFLATED):
    """Most bad checkpoints are deflated to stay small; `deflated` below shows that a reader takes such a one when it is sound."""
    buf = io.BytesIO()
    with zipfile.ZipFile(buf, "w", method) as z:
        for k, v in entries.items():
            z.writestr(zipfile.ZipInfo(f"{name}/{k}", (1980, 1, 1, 0, 0, 0)), v, method)
    return buf.getvalue()


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return {n.split("/", 1)[1]: z.read(n) for n in z.namelist()}


def pth(ck, **k):
    buf = io.BytesIO()
    torch.save(ck, buf, **k)
    return buf.getvalue()


def model_folder(out):
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    kw = dict(n_stages=2, features_per_stage=[2, 2], conv_op="torch.nn.modules.conv.Conv3d", kernel_sizes=[[1, 1, 1]] * 2,
              strides=[[1, 1, 1], [2, 2, 2]], n_conv_per_stage_decoder=[1], conv_bias=True,
              norm_op="torch.nn.modules.instancenorm.InstanceNorm3d", norm_op_kwargs={"eps": 1e-5, "affine": True}, dropout_op=None,
              dropout_op_kwargs=None, nonlin="torch.nn.LeakyReLU", nonlin_kwargs={"inplace": True}, n_conv_per_stage=[1, 1])
    spline = lambda seg, order: dict(is_seg=seg, order=order, order_z=0, force_separate_z=None)
    fn = "resample_data_or_seg_to_shape"
    plans = dict(
        dataset_name="Dataset901_faults", plans_name="nnUNetPlans", image_reader_writer="SimpleITKIO", transpose_forward=[0, 1, 2],
        transpose_backward=[0, 1, 2], label_manager="LabelManager", foreground_intensity_properties_per_channel={"0": dict(
            mean=0.0, median=0.0, std=1.0, min=-1.0, max=1.0, percentile_00_5=-1.0, percentile_99_5=1.0)},
        configurations={"3d_fullres": dict(
            data_identifier="nnUNetPlans_3d_fullres", preprocessor_name="DefaultPreprocessor", batch_size=2, patch_size=[8, 8, 8],
            spacing=[1.0, 1.0, 1.0], normalization_schemes=["ZScoreNormalization"], use_mask_for_norm=[False], resampling_fn_data=fn,
            resampling_fn_seg=fn, resampling_fn_probabilities=fn, resampling_fn_data_kwargs=spline(False, 3),
            resampling_fn_seg_kwargs=spline(True, 1), resampling_fn_probabilities_kwargs=spline(False, 1), batch_dice=False,
            architecture=dict(network_class_name="dynamic_network_architectures.architectures.unet.PlainConvUNet", arch_kwargs=kw,
                              _kw_requires_import=["conv_op", "norm_op", "dropout_op", "nonlin"]))})
    dataset = dict(channel_names={"0": "MR"}, labels={"background": 0, "a": 1}, numTraining=1, file_ending=".nii.gz")
    text = lambda d: (json.dumps(d, indent=1) + "\n").encode()
    out("folder/plans.json", text(plans), "good plans", False)
    out("folder/dataset.json", text(dataset), "good dataset.json", False)

    def edited(d, change):
        d = json.loads(json.dumps(d))
        change(d)
        return json.dumps(d).encode()

    conf = lambda d: d["configurations"]["3d_fullres"]
    for name, about, change in (
            ("inherits_cycle", "inherits_from points back to itself", lambda d: conf(d).update(inherits_from="3d_fullres")),
            ("inherits_missing", "inherits_from names no configuration", lambda d: conf(d).update(inherits_from="nowhere")),
            ("patch_zero", "a patch extent of 0", lambda d: conf(d).update(patch_size=[8, 0, 8])),
            ("patch_huge", "a patch of 2^60 voxels on each axis", lambda d: conf(d).update(patch_size=[2 ** 60] * 3)),
            ("patch_indivisible", "a patch the strides cannot divide", lambda d: conf(d).update(patch_size=[8, 7, 8])),
            ("spacing_zero", "plan spacing 0", lambda d: conf(d).update(spacing=[1.0, 0.0, 1.0])),
            ("spacing_negative", "plan spacing -1", lambda d: conf(d).update(spacing=[1.0, -1.0, 1.0])),
            ("norm_unknown", "an unknown normalisation", lambda d: conf(d).update(normalization_schemes=["HistogramMagic"])),
            ("transpose_bad", "transpose_forward is no permutation", lambda d: d.update(transpose_forward=[0, 0, 2])),
            ("network_unknown", "an unknown network class", lambda d: conf(d)["architecture"].update(network_class_name="my.Transformer")),
            ("stages_disagree", "lists of unequal length", lambda d: conf(d)["architecture"]["arch_kwargs"].update(features_per_stage=[2, 2, 2])),
            ("features_huge", "2^40 features", lambda d: conf(d)["architecture"]["arch_kwargs"].update(features_per_stage=[2 ** 40, 2])),
            ("cascade", "needs the labels of a previous stage", lambda d: conf(d).update(previous_stage="3d_lowres"))):
        out(f"plans/{name}.json", edited(plans, change), about)
    out("plans/truncated.json", text(plans)[:400], "JSON that ends early")
    out("plans/deep.json", b"[" * 20000, "20,000 nested lists: must not exhaust the stack")
    for name, about, labels in (
            ("labels_gap", "labels 0 and 2: the saved value is the head's index, so 2 could never be written", {"background": 0, "a": 2}),
            ("no_background", "no background", {"a": 1}), ("labels_text", "a label that is text", {"background": 0, "a": "one"}),
            ("regions_no_order", "regions without regions_class_order", {"background": 0, "a": [1, 2], "b": [2]})):
        out(f"dataset/{name}.json", text(dict(dataset, labels=labels)), about)

    torch.manual_seed(0)
    net = PlainConvUNet(1, 2, (2, 2), torch.nn.Conv3d, 1, [1, [2, 2, 2]], [1, 1], 2, [1], True, torch.nn.InstanceNorm3d,
                        dict(eps=1e-5, affine=True), nonlin=torch.nn.LeakyReLU, nonlin_kwargs=dict(inplace=True), deep_supervision=False)
    base = dict(network_weights=dict(net.state_dict()), trainer_name="nnUNetTrainer", init_args=dict(configuration="3d_fullres"),
                inference_allowed_mirroring_axes=(0, 1, 2))
    good = pth(base)
    out("folder/fold_0/checkpoint_final.pth", good, "good checkpoint", False)

    def put(name, data, about, refuse=True):
        if data[:2] == b"PK" and name not in ("shell_command", "tensor_missing", "truncated", "zip_sizes"):  # these as PyTorch writes them
            data = store("x", entries_of(data))
        out(f"checkpoints/{name}.pth", data, about, refuse)

    first = "encoder.stages.0.0.convs.0.conv.weight"
    head = "decoder.seg_layers.0.weight"

    def weights(change, **top):
        w = dict(base["network_weights"])
        change(w)
        return pth(dict(base, network_weights=w, **top))

    put("shell_command", pth(dict(base, init_args=dict(configuration="3d_fullres", extra=Run("touch scanside_was_here")))),
        "the pickle calls os.system('touch scanside_was_here') where nothing is needed: refuse or skip, never run")
    put("shell_command_weights", pth(dict(base, network_weights=Run("touch scanside_was_here"))), "the same in place of the weights")
    put("tensor_missing", weights(lambda w: w.pop(head)), "decoder.seg_layers.0.weight is missing")
    put("tensor_extra", weights(lambda w: w.update({"encoder.surplus.weight": torch.zeros(2)})), "an extra tensor: loading is strict")
    put("tensor_shape", weights(lambda w: w.update({head: torch.zeros(3, 2, 1, 1, 1)})), "the head has 3 outputs, dataset.json needs 2")
    put("tensor_nan", weights(lambda w: w.update({head: torch.full((2, 2, 1, 1, 1), float("nan"))})), "weights are NaN")
    put("tensor_int", weights(lambda w: w.update({head: torch.zeros(2, 2, 1, 1, 1, dtype=torch.int64)})), "weights are int64: PyTorch would convert them", False)
    put("alias_disagrees", weights(lambda w: w.update({first.replace("conv.weight", "all_modules.0.weight"): torch.ones(2, 1, 1, 1, 1)})),
        "two names of one weight hold different values: PyTorch would let the last name in module order win", False)
    put("module_prefix", pth(dict(base, network_weights={"module." + k: v for k, v in base["network_weights"].items()})),
        "all names start with module.: PyTorch's strict load refuses them at inference")
    put("mirror_empty", pth(dict(base, inference_allowed_mirroring_axes=())), "empty mirror tuple: nnU-Net crashes, no mirroring is the plain meaning", False)
    put("mirror_bad", pth(dict(base, inference_allowed_mirroring_axes=(0, 7))), "mirror axis 7")
    put("trainer_unknown", pth(dict(base, trainer_name="MyTrainer")), "a trainer whose network nobody knows")
    put("configuration_unknown", pth(dict(base, init_args=dict(configuration="4d"))), "a configuration that is not in plans.json")
    put("keys_missing", pth(dict(network_weights=base["network_weights"])), "only the weights, no trainer and no configuration")
    put("half", weights(lambda w: [w.update({k: v.half()}) for k, v in list(w.items())]), "float16 weights: PyTorch widens them when loading", False)
    put("truncated", good[:len(good) // 2], "the zip ends half way")
    put("not_zip", pickle.dumps(dict(network_weights={}), 2), "a bare pickle, no zip")
    put("old_format", b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True))),
        "starts like the format before PyTorch 1.6, then ends")
    e = entries_of(good)
    put("deflated", store("x", e), "a good checkpoint, recompressed: PyTorch reads it", False)
    key = next(k for k in e if k.startswith("data/") and len(e[k]) > 4)
    put("storage_short", store("x", {**e, key: e[key][:-4]}), "a storage with fewer bytes than its tensors need")
    put("storage_missing", store("x", {k: v for k, v in e.items() if k != key}), "a storage is not in the zip")
    put("no_version", store("x", {k: v for k, v in e.items() if k != "version"}), "no version entry: PyTorch refuses, reading it is harmless", False)
    put("big_endian", store("x", {**e, "byteorder": b"big"}), "declares big-endian storages: PyTorch would swap them")
    put("pickle_truncated", store("x", {**e, "data.pkl": e["data.pkl"][:-200]}), "the pickle ends early")
    put("pickle_deep", store("x", {**e, "data.pkl": b"\x80\x02" + b"]" * 30000 + b"a" * 29999 + b"."}), "30,000 nested lists: must not exhaust the stack")
    put("pickle_length", store("x", {**e, "data.pkl": b"\x80\x02X\xff\xff\xff\x7fabc."}), "a string that claims 2 GiB")
    put("pickle_memo", store("x", {**e, "data.pkl": b"\x80\x02j\xff\xff\xff\x7f."}), "reads a memo slot nobody wrote")
    z = bytearray(store("x", e, zipfile.ZIP_STORED))
    at = z.index(b"PK\x01\x02")
    z[at + 20:at + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    put("zip_sizes", bytes(z), "the zip's directory claims 4 GiB for one entry")
    put("zip_bomb", store("x", {**e, "data.pkl": b"\0" * (1 << 24)}), "data.pkl inflates to 16 MiB of zeros")


def networks(out):
    put = lambda name, m, about, refuse=True: out(f"onnx/{name}.onnx", m if isinstance(m, bytes) else m.SerializeToString(), about, refuse)
    card = dict(
        format=1, name="fault", grid=dict(patch_zyx=[8, 8, 8], spacing_mm=[1.0, 1.0, 1.0], transpose_forward=[0, 1, 2]),
        channels=[dict(name="MR", normalization=dict(kind="z_score", masked=False))], crop_to_nonzero=True,
        labels=dict(kind="exclusive", heads=[dict(name="background", value=0), dict(name="a", value=1)]))
    rng = np.random.default_rng(0)

    def model(shape=(1, 1, 8, 8, 8), w=None, nodes=None, meta=card, out_shape=None, extra_inputs=(), opset=14, domain=None):
        w = rng.normal(size=(2, shape[1]) + (1,) * (len(shape) - 2)).astype(np.float32) if w is None else w
        kind = helper.np_dtype_to_tensor_dtype(w.dtype)
        nodes = nodes or [helper.make_node("Conv", ["x", "w"], ["y"])]
        g = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", kind, shape), *extra_inputs],
            [helper.make_tensor_value_info("y", kind, out_shape or (shape[0], 2, *shape[2:]))], [numpy_helper.from_array(w, "w")])
        ops = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        m = helper.make_model(g, opset_imports=ops, ir_version=8, producer_name="make_faults")
        if meta is not None:
            helper.set_model_props(m, {"scanside": meta if isinstance(meta, str) else json.dumps(meta)})
        return m

    w8 = rng.normal(size=(2, 1, 1, 1, 1)).astype(np.float32)
    good = model(w=w8)
    put("ok", good, "a good network of one convolution, described", False)
    put("no_metadata", model(w=w8, meta=None), "no description: needs one beside it")
    put("metadata_text", model(w=w8, meta="{not json"), "a description that is not JSON")
    put("metadata_newer", model(w=w8, meta=dict(card, format=999)), "a description of format 999")
    put("metadata_hash", model(w=w8, meta=dict(card, graph_sha256="0" * 64)), "a hash that does not fit graph and weights")
    put("metadata_heads", model(w=w8, meta=dict(card, labels=dict(kind="exclusive", heads=[dict(name="background", value=0)]))),
        "described with one head, the graph has two")
    put("metadata_channels", model(w=w8, meta=dict(card, channels=card["channels"] * 3)), "described with three channels, the graph has one")
    put("metadata_patch", model(w=w8, meta=dict(card, grid=dict(card["grid"], patch_zyx=[16, 8, 8]))), "described patch differs from the graph's fixed shape")
    put("metadata_patch_huge", model(w=w8, shape=("b", 1, "z", "y", "x"), meta=dict(card, grid=dict(card["grid"], patch_zyx=[2 ** 31] * 3))),
        "a described patch of 2^93 voxels")
    ext = model(w=w8)
    t = ext.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    for k, v in (("location", "../../../../etc/hostname"), ("offset", "0"), ("length", "8")):
        t.external_data.add(key=k, value=v)
    put("external_data", ext, "weights in another file, outside the folder: refused")
    nms = helper.make_node("NonMaxSuppression", ["x", "w"], ["y"])
    put("operator_unsupported", model(w=w8, nodes=[nms]), "a standard operator no image network needs: NonMaxSuppression")
    uniq = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Unique", ["c"], ["y"])]
    put("operator_unique", model(w=w8, nodes=uniq), "Unique: an output whose shape depends on values")
    put("operator_custom", model(w=w8, nodes=[helper.make_node("Magic", ["x", "w"], ["y"], domain="example.custom")], domain="example.custom"),
        "an operator of a private domain")
    put("opset_future", model(w=w8, opset=999), "opset 999")
    loop = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    put("cycle", model(w=w8, nodes=loop), "the graph has a cycle")
    put("input_dangling", model(w=w8, nodes=[helper.make_node("Conv", ["nowhere", "w"], ["y"])]), "a node reads a value nobody makes")
    put("rank4", model(shape=(1, 1, 8, 8)), "a network with two spatial axes, described with three")
    put("two_inputs", model(w=w8, extra_inputs=[helper.make_tensor_value_info("z", 1, (1,))]), "a second input")
    put("float64", model(w=w8.astype(np.float64)), "computes in float64")
    put("weights_nan", model(w=np.full_like(w8, np.nan)), "weights are NaN")
    short = model(w=w8)
    short.graph.initializer[0].raw_data = short.graph.initializer[0].raw_data[:4]
    put("weights_short", short, "a weight with fewer bytes than its shape needs")
    huge = model(w=w8)
    huge.graph.initializer[0].dims[:] = [2 ** 40, 2 ** 40, 1, 1, 1]
    put("weights_dims_huge", huge, "a weight of 2^80 elements in 8 bytes")
    negative = model(w=w8)
    negative.graph.initializer[0].dims[:] = [-2, 1, 1, 1, 1]
    put("weights_dims_negative", negative, "a weight with extent -2")
    data = good.SerializeToString(deterministic=True)
    put("truncated", data[:len(data) * 2 // 3], "the file ends early")
    put("empty", b"", "an empty file")
    put("text", b"this is not a network\n", "not ONNX: text")
    put("length_lie", b"\x3a\xff\xff\xff\xff\x07" + data[:64], "a protobuf length of 2 GiB")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    top = ap.parse_args().out
    shutil.rmtree(top, ignore_errors=True)
    out = Out(top)
    scans(out)
    model_folder(out)
    networks(out)
    with open(os.path.join(top, "index.json"), "w") as f:
        json.dump(INDEX, f, indent=1)
        f.write("\n")
    size = sum(os.path.getsize(os.path.join(d, n)) for d, _, ns in os.walk(top) for n in ns)
    print(len(INDEX), "files,", size, "bytes; versions: onnx", onnx.__version__, "torch", torch.__version__)


if __name__ == "__main__":
    main()
