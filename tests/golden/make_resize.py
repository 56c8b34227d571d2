"""Networks that resize, each with an input and ONNX Runtime's output on it.

usage: python make_resize.py OUTDIR            kept beside this script in resize/

Writes NAME.onnx and NAME.f32 (little-endian f32: the input, then the output). The names tell the rule:
MODE-COORDINATES[-ROUNDING]-SIZES-OPSET are a Resize between convolutions, there and back; torch-* come out of PyTorch's exporter.
Needs torch, onnx, onnxruntime. Made with torch 2.11.0, onnx 1.23.2, onnxruntime 1.32.0, on one thread.
"""
import argparse
import os
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

PATCH = (8, 12, 10)


def save(out, name, model, shape):
    path = os.path.join(out, name + ".onnx")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    y = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
    assert y.shape[2:] == x.shape[2:], (name, y.shape)
    np.concatenate([x.ravel(), y.ravel()]).astype("<f4").tofile(os.path.join(out, name + ".f32"))
    print(name, x.shape, y.shape, os.path.getsize(path))


def made(mode, coordinates, rounding, there, opset, axes=False):
    """Convolution, Resize by `there` (factors, or whole sizes), convolution, Resize back, convolution."""
    dims, rng = len(there), np.random.default_rng(1)
    patch = PATCH[-dims:]
    nodes, weights = [], []

    def constant(name, values):
        weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(i, source, cin, cout):
        w = constant(f"w{i}", (rng.standard_normal((cout, cin) + (3,) * dims) * 0.3).astype(np.float32))
        b = constant(f"b{i}", (rng.standard_normal(cout) * 0.1).astype(np.float32))
        nodes.append(helper.make_node("Conv", [source, w, b], [f"c{i}"], name=f"conv{i}", pads=[1] * (2 * dims)))
        return f"c{i}"

    def resize(i, source, factors, sizes):
        whole = not axes
        lead = [1, 2] if whole else []
        if factors is not None:
            given = [constant(f"s{i}", np.array(([1.0, 1.0] if whole else []) + list(factors), np.float32))]
        else:
            given = [constant(f"e{i}", np.zeros(0, np.float32)) if opset < 13 else "",
                     constant(f"s{i}", np.array(lead + list(sizes), np.int64))]
        roi = constant(f"r{i}", np.zeros(0, np.float32)) if opset < 13 else ""
        extra = {"axes": list(range(2, dims + 2))} if axes else {}
        if mode == "nearest":
            extra["nearest_mode"] = rounding
        nodes.append(helper.make_node("Resize", [source, roi] + given, [f"z{i}"], name=f"resize{i}", mode=mode,
                                      coordinate_transformation_mode=coordinates, **extra))
        return f"z{i}"

    factors = isinstance(there[0], float)
    mid = [int(np.floor(np.float32(p) * np.float32(f))) for p, f in zip(patch, there)] if factors else there
    back = [p / m for p, m in zip(patch, mid)]
    value = conv(0, "input", 1, 2)
    value = resize(0, value, there if factors else None, mid)
    value = conv(1, value, 2, 2)
    # A factor that does not give the patch's size back would not be a network; the size itself always does.
    exact = factors and all(np.floor(np.float32(m) * np.float32(f)) == p for m, f, p in zip(mid, back, patch))
    value = resize(1, value, back if exact else None, patch)
    value = conv(2, value, 2, 2)
    graph = helper.make_graph(
        nodes, "resized", [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 1) + patch)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, (1, 2) + patch)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), (1, 1) + patch


class UNet(nn.Module):
    """Upsampling as networks outside nnU-Net do it: an Upsample and a convolution, beside the skip that is joined."""

    def __init__(self, up, dims):
        super().__init__()
        torch.manual_seed(3)
        conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if dims == 3 else (nn.Conv2d, nn.InstanceNorm2d)
        layer = lambda i, o, s=1: nn.Sequential(conv(i, o, 3, s, 1), norm(o, affine=True), nn.LeakyReLU(0.01))
        self.a, self.b, self.c = layer(1, 4), layer(4, 6, 2), layer(6, 8, 2)
        self.d, self.e, self.head, self.up = layer(14, 6), layer(10, 4), conv(4, 2, 1), up

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        c = self.c(b)
        d = self.d(torch.cat([self.up(c, b), b], 1))
        return self.head(self.e(torch.cat([self.up(d, a), a], 1)))


def exported(out, name, up, dims, opset):
    shape = (1, 1) + (8, 12, 16)[-dims:]
    path = os.path.join(out, name + ".onnx")
    torch.onnx.export(UNet(up, dims).eval(), torch.zeros(shape), path, input_names=["input"], output_names=["logits"],
                      opset_version=opset, dynamo=False)
    save(out, name, onnx.load(path), shape)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    half, twice, odd, sizes = (0.5, 0.5, 0.5), (2.0, 2.0, 2.0), (0.75, 0.6666667, 1.7), (5, 17, 9)
    for mode, coordinates, rounding in [
        ("nearest", "asymmetric", "floor"), ("nearest", "half_pixel", "round_prefer_floor"),
        ("nearest", "align_corners", "round_prefer_ceil"), ("nearest", "half_pixel", "ceil"),
        ("linear", "half_pixel", None), ("linear", "pytorch_half_pixel", None), ("linear", "align_corners", None),
        ("linear", "asymmetric", None),
    ]:
        for kind, there in (("half", half), ("twice", twice), ("odd", odd), ("sizes", sizes)):
            name = "-".join(filter(None, [mode, coordinates, rounding, kind, "13"]))
            save(a.out, name, *made(mode, coordinates, rounding, there, 13))
    for opset in (11, 17, 18, 19):
        save(a.out, f"linear-half_pixel-half-{opset}", *made("linear", "half_pixel", None, half, opset, axes=opset > 17))
        save(a.out, f"linear-align_corners-sizes-{opset}", *made("linear", "align_corners", None, sizes, opset, axes=opset > 17))
        save(a.out, f"nearest-asymmetric-floor-sizes-{opset}", *made("nearest", "asymmetric", "floor", sizes, opset, axes=opset > 17))
    save(a.out, "linear-half_pixel-flat-13", *made("linear", "half_pixel", None, (0.5, 0.5), 13))
    save(a.out, "nearest-asymmetric-floor-flat-18", *made("nearest", "asymmetric", "floor", (5, 13), 18, axes=True))
    for opset in (11, 17, 19):
        exported(a.out, f"torch-trilinear-{opset}", lambda v, s: F.interpolate(v, scale_factor=2, mode="trilinear"), 3, opset)
    exported(a.out, "torch-corners-17", lambda v, s: F.interpolate(v, scale_factor=2, mode="trilinear", align_corners=True), 3, 17)
    exported(a.out, "torch-nearest-17", lambda v, s: F.interpolate(v, scale_factor=2), 3, 17)
    exported(a.out, "torch-size-17", lambda v, s: F.interpolate(v, size=s.shape[2:], mode="trilinear"), 3, 17)
    exported(a.out, "torch-bilinear-17", lambda v, s: F.interpolate(v, size=s.shape[2:], mode="bilinear", align_corners=True), 2, 17)
