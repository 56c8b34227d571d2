"""Small quantised and half precision ONNX networks, each with an input and what ONNX Runtime answers on it.

usage: python make_quant.py OUTDIR            kept beside this script in quant/

Writes NAME.onnx and NAME.f32 (little-endian f32: the input, then the output), for a single convolution also NAME.i32
(little-endian i32: the sums of (q_x - zp_x) * (q_w - zp_w), before scales and bias), and models.json: per model its form, shapes,
what stands around each operator, how far its answer may be expected to move (`differences`) and the least distance in codes of
a value to where its rounding changes (`nearest_tie`; one value rounded the other way moves the answer by more than f32 can).
Needs torch, onnx, onnxruntime, nncf, dynamic_network_architectures. Made with torch 2.11.0, onnx 1.23.2, onnxruntime 1.32.0,
nncf 3.4.0; opset 17, on one thread.

Networks: plain (4, 8, 16 features), odd (6, 10, 12; layers as wide as each other have the same bias, so that the exporter shares it
through Identity), resenc. Example inputs are seeded so that no value lies within 1e-5 of a tie, where that is possible.
Forms, the last part of a network's name:
  i8, u8    quantize_static, everything it knows, activations QInt8 or QUInt8, weights per channel; u8 after quant_pre_process;
            AveragePool's output has its input's scale and the mean of 8 codes is often a tie, so resenc-i8 leaves it in float
  conv      quantize_static of Conv alone, QUInt8
  nncf      nncf.quantize on the ONNX model; resenc with the mixed preset (zero points other than 0), the others as it is by default
  own       built here: Q and DQ directly on a convolution's input, after Concat; first convolution, head and the rest are float
  own-split the same with Q and DQ on each operand of Concat, equal scales
  w16       float16 weights, each cast to float
  half      convert_float_to_float16(keep_io_types=True)
ONNX Runtime's optimisations are off, so that Q and DQ are computed as the standard says and all else in float. With them on, its
u8 x i8 products saturate at 16 bits on processors without VNNI. On x86 its float16 is float32 between all operators, the casts of
input and output included; `each result rounded` is what float16 would do.

What a reader of such graphs meets:
  - quantize_static puts the DQs of constants first, in the order of their names; convert_float_to_float16 appends its Casts at the
    end, so that the nodes of half are in no order of use (`sorted`); own has a constant's DQ right before its user.
  - The DQ of InstanceNormalization's bias has a scale of shape [1], a zero point of shape [] and no axis: per tensor, though the
    axis left out stands for 1. Its weight is int8 with one scale for all channels.
  - ConvTranspose's weights have their scales along axis 1, its bias along axis 0.
  - A shared int32 bias (odd-i8, odd-conv) goes DQ, Identity, user and has the scale of its first user: it is not in units of the
    sums of the others. In odd-conv a transposed convolution that is float itself has such a bias.
  - A skip connection's DQ has several users. quantize_static gives Concat's operands and result three scales, nncf one scale for the
    operands and none for the result: its convolution stands right behind Concat. In conv only one operand has Q.
  - quantize_static has Q and DQ behind the head too, so that outputs lie on at most 256 values; nncf and own have not.
  - resenc's convolutions beside the blocks have no bias; AveragePool between DQ and Q stands before them.
  - After quant_pre_process the model imports domains that nothing uses (`domains`).
  - nncf uses half the weights' range in the first convolution, -64..64, and changes biases (bias correction).
  - Padding stands for 0 and so for the zero point's code, which may be any.
"""
import argparse
import collections
import copy
import json
import logging
import os
import tempfile
import warnings
import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn
from make_onnx import unet

CONVS = ("Conv", "ConvTranspose")
SHORT = {TensorProto.FLOAT: "f32", TensorProto.FLOAT16: "f16", TensorProto.INT8: "i8", TensorProto.UINT8: "u8", TensorProto.INT32: "i32"}


def numbers(seed, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()


def export(net, shape):
    """The network as ONNX with short names: torch's long ones would be most of these files."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        torch.onnx.export(net, torch.zeros(shape), path, input_names=["input"], output_names=["fold0"], opset_version=17, dynamo=False)
        model = onnx.load(path)
    names = {"input": "input", "fold0": "fold0"}
    for prefix, found in (("w", [t.name for t in model.graph.initializer]), ("t", [o for n in model.graph.node for o in n.output])):
        for name in found:
            names.setdefault(name, f"{prefix}{len(names)}")
    for t in model.graph.initializer:
        t.name = names[t.name]
    for i, n in enumerate(model.graph.node):
        n.name = f"{n.op_type}{i}"
        n.input[:] = [names[v] for v in n.input]
        n.output[:] = [names[v] for v in n.output]
    del model.graph.value_info[:]
    return model


def run(model, x):
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    o.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), o, providers=["CPUExecutionProvider"]).run(None, {"input": x})


def evaluate(model, x, rounded=False):
    """The graph in float64 by torch, a second opinion; or in float32 with every float16 result rounded. And the nearest tie."""
    wide = torch.float32 if rounded else torch.float64
    value = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    value["input"] = torch.from_numpy(x)
    todo, tie = list(model.graph.node), 0.5
    while todo:
        n = next(n for n in todo if all(i in value for i in n.input))
        todo.remove(n)
        a = {v.name: helper.get_attribute_value(v) for v in n.attribute}
        given = [value[i] for i in n.input]
        half = given[0].dtype == torch.float16
        v = [i.to(wide) for i in given]
        if n.op_type == "QuantizeLinear":
            kind = torch.iinfo(given[2].dtype)
            exact = v[0] / v[1] + v[2]
            inside = exact[(exact > kind.min - 0.5) & (exact < kind.max + 0.5)]
            tie = min(tie, (inside - inside.floor() - 0.5).abs().min().item())
            r = exact.round().clamp(kind.min, kind.max).to(given[2].dtype)
        elif n.op_type == "DequantizeLinear":
            along = [1] * v[0].ndim
            if v[1].numel() > 1:
                along[a["axis"]] = -1
            r = (v[0] - (v[2].reshape(along) if len(v) > 2 else 0)) * v[1].reshape(along)
        elif n.op_type == "Conv":
            ends = np.array(a["pads"]).reshape(2, -1)[:, ::-1].T.ravel().tolist()
            r = F.conv3d(F.pad(v[0], ends), *v[1:], stride=a["strides"], dilation=a["dilations"])
        elif n.op_type == "Cast":
            r, half = v[0], a["to"] == TensorProto.FLOAT16
        else:
            r = {
                "Identity": lambda: v[0],
                "ConvTranspose": lambda: F.conv_transpose3d(*v, stride=a["strides"]),
                "InstanceNormalization": lambda: F.instance_norm(v[0], None, None, v[1], v[2], True, 0, a["epsilon"]),
                "LeakyRelu": lambda: F.leaky_relu(v[0], a["alpha"]),
                "Concat": lambda: torch.cat(v, a["axis"]),
                "Add": lambda: v[0] + v[1],
                "AveragePool": lambda: F.avg_pool3d(v[0], a["kernel_shape"], a["strides"]),
            }[n.op_type]()
        value[n.output[0]] = r.half() if rounded and half else r
    return value["fold0"].numpy(), tie


# --- the forms ---


class Reader(CalibrationDataReader):
    def __init__(self, samples):
        self.left = iter(samples)

    def get_next(self):
        x = next(self.left, None)
        return None if x is None else {"input": x}


def by_ort(model, samples, activations, prepare=False, **more):
    with tempfile.TemporaryDirectory() as folder:
        at, to = os.path.join(folder, "float.onnx"), os.path.join(folder, "quant.onnx")
        onnx.save(model, at)
        if prepare:
            quant_pre_process(at, at, skip_symbolic_shape=True)
        more = {"per_channel": True, "weight_type": QuantType.QInt8, **more}
        quantize_static(at, to, Reader(samples), activation_type=activations, **more)
        return onnx.load(to)


def by_nncf(model, samples, mixed):
    import nncf

    nncf.set_log_level(logging.ERROR)
    preset = nncf.QuantizationPreset.MIXED if mixed else nncf.QuantizationPreset.PERFORMANCE
    return nncf.quantize(copy.deepcopy(model), nncf.Dataset([{"input": x} for x in samples]), preset=preset)


def constant(model, name, array):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def own(model, x, split):
    """Q and DQ (u8, one scale) on the input of each Conv but the first and the last, its weights int8 with a scale per output channel."""
    model = copy.deepcopy(model)
    g = model.graph
    weights = {t.name: t for t in g.initializer}
    convs = [n for n in g.node if n.op_type == "Conv"][1:-1]
    made = {o: n for n in g.node for o in n.output}
    wanted = list(dict.fromkeys(n.input[0] for n in convs))
    watched = copy.deepcopy(model)
    watched.graph.output.extend(helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in wanted)
    ranges = {t: (min(v.min(), 0), max(v.max(), 0)) for t, v in zip(wanted, run(watched, x)[1:])}
    before = collections.defaultdict(list)

    def pair(tensor, scale, zero, mark, ahead_of):
        q, dq = f"{tensor}_q{mark}", f"{tensor}_dq{mark}"
        before[ahead_of].append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [q], name=q))
        before[ahead_of].append(helper.make_node("DequantizeLinear", [q, scale, zero], [dq], name=dq))
        return dq

    for tensor, (lo, hi) in ranges.items():
        s = np.float32((hi - lo) / 255)
        scale = constant(model, tensor + "_s", s)
        zero = constant(model, tensor + "_z", np.uint8(np.rint(-lo / s)))
        users = [n for n in convs if n.input[0] == tensor]
        if split and made[tensor].op_type == "Concat":
            concat = made[tensor]
            # An operand that also feeds a convolution of its own has a second pair there, with another scale.
            concat.input[:] = [pair(t, scale, zero, "c", concat.name) for t in concat.input]
            continue
        dq = pair(tensor, scale, zero, "", users[0].name)
        for n in users:
            n.input[0] = dq
    for n in convs:
        w = numpy_helper.to_array(weights[n.input[1]])
        s = (np.abs(w).reshape(len(w), -1).max(1) / 127).astype(np.float32)
        q = np.clip(np.rint(w / s.reshape(-1, *[1] * (w.ndim - 1))), -127, 127).astype(np.int8)
        name = n.input[1]
        g.initializer.remove(weights[name])
        parts = [constant(model, name + "_q", q), constant(model, name + "_s", s)]
        # The zero point is optional and is 0 where left out; each variant has one of the two ways.
        parts += [constant(model, name + "_z", np.zeros(len(s), np.int8))] if split else []
        before[n.name].append(helper.make_node("DequantizeLinear", parts, [name], name=name + "_dq", axis=0))
    nodes = [m for n in g.node for m in (*before[n.name], n)]
    del g.node[:]
    g.node.extend(nodes)
    return model


def weights16(model):
    model = copy.deepcopy(model)
    casts = []
    for t in model.graph.initializer:
        name = t.name
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16), name + "_h"))
        casts.append(helper.make_node("Cast", [name + "_h"], [name], name=name + "_cast", to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


# --- what a graph holds ---


def describe(model):
    """How often each operator stands in which surroundings; constants by type, axis and how they reach the operator."""
    g = model.graph
    weights = {t.name: t for t in g.initializer}
    made = {o: n for n in g.node for o in n.output}
    users = collections.defaultdict(list)
    for n in g.node:
        for v in n.input:
            users[v].append(n)

    def static(v):
        return v in weights or v in made and all(static(i) for i in made[v].input)

    def const(v):
        if v in weights:
            t = weights[v]
            return SHORT.get(t.data_type, str(t.data_type))
        n = made[v]
        if n.op_type != "DequantizeLinear":
            return f"{const(n.input[0])} {n.op_type}"
        axis = [a.i for a in n.attribute if a.name == "axis"]
        scale = list(weights[n.input[1]].dims)
        zero = numpy_helper.to_array(weights[n.input[2]]) if len(n.input) > 2 else None
        text = "none" if zero is None else "0" if not zero.any() else "not 0"
        return f"{const(n.input[0])} DQ(axis {axis[0] if axis else 'unset'}, {'scalar' if not scale else 'scales' if scale[0] > 1 else '[1]'}, zp {text})"

    def quant(n):
        t = weights[n.input[2]]
        zero = int(numpy_helper.to_array(t).ravel()[0])
        return f"Q({SHORT[t.data_type]}, zp {'0' if zero == 0 else 'not 0'})"

    def back(v):
        """The operator a value comes from, with Q and DQ in between."""
        n = made.get(v)
        if n is None:
            return "input"
        if n.op_type == "DequantizeLinear":
            return f"{back(made[n.input[0]].input[0])} {quant(made[n.input[0]])} DQ"
        return n.op_type if n.op_type != "Cast" else f"{back(n.input[0])} Cast"

    def forth(v):
        out = set()
        for n in users[v]:
            if n.op_type == "QuantizeLinear":
                out |= {f"{quant(n)} DQ {o}" for o in forth(users[n.output[0]][0].output[0])}
            elif n.op_type == "Cast":
                out |= {f"Cast {o}" for o in forth(n.output[0])}
            else:
                out.add(n.op_type)
        return out | ({"output"} if v in {o.name for o in g.output} else set())

    around = collections.defaultdict(collections.Counter)
    for n in g.node:
        if n.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast") or static(n.output[0]):
            continue
        data = ", ".join(back(v) for v in n.input if not static(v))
        parts = "".join(f"; {const(v)}" for v in n.input if static(v))
        around[n.op_type][f"{data} -> {n.op_type}{parts} -> {', '.join(sorted(forth(n.output[0])))}"] += 1
    return {
        "nodes": dict(sorted(collections.Counter(n.op_type for n in g.node).items())),
        "domains": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "sorted": in_order(g),
        "around": {k: dict(v.most_common()) for k, v in sorted(around.items())},
    }


def in_order(g):
    known = {v.name for v in (*g.initializer, *g.input)}
    for n in g.node:
        if not known.issuperset(n.input):
            return False
        known.update(n.output)
    return True


# --- single convolutions ---


def integers(model, x):
    """The exact sums of a single convolution, and the float answer they stand for before any quantisation of the output."""
    g = model.graph
    value = {t.name: numpy_helper.to_array(t) for t in g.initializer}
    made = {o: n for n in g.node for o in n.output}
    n = next(n for n in g.node if n.op_type in CONVS)
    attr = {a.name: helper.get_attribute_value(a) for a in n.attribute}
    dx, dw = made[n.input[0]], made[n.input[1]]
    sx, zx = value[dx.input[1]], value[dx.input[2]]
    kinds = np.iinfo(zx.dtype)
    q = np.clip(np.rint(x / sx).astype(np.int64) + zx, kinds.min, kinds.max) - zx
    w, sw = value[dw.input[0]].astype(np.int64), value[dw.input[1]]
    if len(dw.input) > 2:
        zw = value[dw.input[2]].astype(np.int64)
        assert zw.size == 1 or not zw.any()
        w = w - zw.ravel()[0]
    k, s, d = (np.array(v) for v in (attr["kernel_shape"], attr["strides"], attr["dilations"]))
    q, size = q[0], np.array(x.shape[2:])
    offsets = list(np.ndindex(*k))
    if n.op_type == "Conv":
        pads = np.array(attr["pads"]).reshape(2, -1)
        q = np.pad(q, [(0, 0), *zip(*pads)])
        out = (size + pads.sum(0) - d * (k - 1) - 1) // s + 1
        total = np.zeros((len(w), *out), np.int64)
        for o in offsets:
            part = q[(slice(None), *(slice(a * b, a * b + (c - 1) * e + 1, e) for a, b, c, e in zip(o, d, out, s)))]
            total += np.tensordot(w[(slice(None), slice(None), *o)], part, 1)
    else:
        assert (k == s).all(), "windows that overlap"
        total = np.zeros((w.shape[1], *(size * s)), np.int64)
        for o in offsets:
            total[(slice(None), *(slice(a, None, b) for a, b in zip(o, s)))] = np.tensordot(w[(slice(None), slice(None), *o)].T, q, 1)
    wide = (-1, *[1] * len(size))
    answer = total * (np.float64(sx) * sw.astype(np.float64)).reshape(wide)
    if len(n.input) > 2:
        b = n.input[2]
        bias = value[b] if b in value else value[made[b].input[0]] * value[made[b].input[1]].astype(np.float64)
        answer = answer + bias.reshape(wide)
    assert np.abs(total).max() < 2**31
    return total[None].astype("<i4"), answer[None], n.output[0], made, value


def bare(cin, cout, kernel, seed, size, transposed=False, bias=True, **more):
    torch.manual_seed(seed)
    net = (nn.ConvTranspose3d if transposed else nn.Conv3d)(cin, cout, kernel, bias=bias, **more)
    nn.init.normal_(net.weight, std=(cin * np.prod(kernel)) ** -0.5)
    if bias:
        nn.init.normal_(net.bias, std=0.5)
    return export(net.eval(), (1, cin, *size)), numbers(seed + 100, (1, cin, *size))


def extreme(zero):
    """Codes and weights at the ends of their ranges: pairs of products leave 16 bits, sums leave f32's 24."""
    rng = np.random.default_rng(5)
    cin, cout, size = 32, 6, (3, 4, 9)
    q = rng.choice(np.array([0, 255], np.uint8), (1, cin, *size), p=[0.5, 0.5])
    q[..., :5] = 255
    w = rng.choice(np.array([-128, 127], np.int8), (cout, cin, 3, 3, 3))
    w[0], w[1] = 127, -128
    model = helper.make_model(helper.make_graph([], "extreme", [helper.make_tensor_value_info("input", 1, [1, cin, *size])],
                                                [helper.make_tensor_value_info("fold0", 1, [1, cout, *size])]),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # Beyond the range on both sides, so that the quantiser must saturate.
    s = np.float32(0.01)
    x = ((q.astype(np.float32) - zero) * s + np.where(q == 255, 1, -1) * rng.uniform(0, 0.5, q.shape)).astype(np.float32)
    sc, z = constant(model, "s", s), constant(model, "z", np.uint8(zero))
    parts = [constant(model, "w_q", w), constant(model, "w_s", (rng.uniform(0.5, 1, cout) / 2**14).astype(np.float32))]
    model.graph.node.extend([
        helper.make_node("QuantizeLinear", ["input", sc, z], ["q"]),
        helper.make_node("DequantizeLinear", ["q", sc, z], ["dq"]),
        helper.make_node("DequantizeLinear", parts, ["w"], axis=0),
        helper.make_node("Conv", ["dq", "w"], ["fold0"], kernel_shape=[3] * 3, pads=[1] * 6, strides=[1] * 3, dilations=[1] * 3, group=1),
    ])
    return model, x


# --- all of them ---


class Writer:
    def __init__(self, out):
        self.out, self.all = out, {}

    def write(self, name, form, model, x, plain=None, exact=False):
        model.producer_version = ""
        y = run(model, x)[0]
        assert np.isfinite(y).all()
        onnx.save(model, os.path.join(self.out, name + ".onnx"))
        np.concatenate([x.ravel(), y.ravel()]).astype("<f4").tofile(os.path.join(self.out, name + ".f32"))
        entry = {"form": form, "input": list(x.shape), "output": list(y.shape), **describe(model)}

        def size(d):
            return {"max": float(f"{np.abs(d).max():.2e}"), "rms": float(f"{np.sqrt((d**2).mean()):.2e}")}

        if exact:
            total, answer, at, made, value = integers(model, x)
            total.tofile(os.path.join(self.out, name + ".i32"))
            entry["largest_sum"] = int(np.abs(total).max())
            if at == "fold0":
                assert np.abs(answer - y).max() <= 1e-4 * max(1, np.abs(y).max()), (name, np.abs(answer - y).max())
            else:
                # The output is quantised too: at most a rounding tie may fall the other way.
                s, z = (value[i] for i in made["fold0"].input[1:])
                k = np.iinfo(z.dtype)
                steps = np.rint(y / s) - (np.clip(np.rint(answer / s) + z, k.min, k.max) - z)
                assert np.abs(steps).max() <= 1 and (steps != 0).mean() < 1e-3, name
        other, tie = evaluate(model, x)
        entry["output_size"], entry["differences"] = size(y), {"float64": size(other - y)}
        if plain is not None:
            shaken = (x * (1 + 1e-4 * numbers(99, x.shape))).astype(np.float32)
            entry["differences"] |= {
                "float network": size(run(plain, x)[0] - y),
                "input shaken by 1e-4": size(run(model, shaken)[0] - y),
            }
        if form == "half":
            entry["differences"]["each result rounded"] = size(evaluate(model, x, True)[0] - y)
        if "QuantizeLinear" in entry["nodes"]:
            entry["nearest_tie"] = float(f"{tie:.1e}")
            ties = entry["nodes"].get("AveragePool") and form == "u8"
            assert ties or tie >= 1e-5 and entry["differences"]["float64"]["max"] < 1e-4, (name, tie)
        self.all[name] = entry
        print(name, form, x.shape, y.shape, os.path.getsize(os.path.join(self.out, name + ".onnx")),
              entry["differences"], entry.get("nearest_tie"))


def networks(w):
    def net(kind, feats, seed, example, heads, shape, shared=False):
        n = unet(kind, 3, shape[1], heads, feats, [1, 2, 2], seed)
        g = torch.Generator().manual_seed(seed + 2)
        same = {}
        for m in n.modules():
            if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d)) and m.bias is not None:
                b = 0.2 * torch.randn(m.bias.shape, generator=g)
                m.bias.data = same.setdefault(len(b), b).clone() if shared else b
        # Calibrated on other inputs than the example, which then leaves some ranges and must saturate.
        return export(n, shape), numbers(example, shape), [numbers(seed + i, shape) for i in (11, 12)]

    i8, u8 = QuantType.QInt8, QuantType.QUInt8
    most = ["Conv", "ConvTranspose", "InstanceNormalization", "LeakyRelu", "Concat", "Add"]
    m, x, c = net("plain", [4, 8, 16], 1, 184, 3, (1, 2, 8, 12, 20))
    w.write("plain-i8", "i8", by_ort(m, c, i8), x, m)
    w.write("plain-u8", "u8", by_ort(m, c, u8, prepare=True), x, m)
    w.write("plain-nncf", "nncf", by_nncf(m, c, False), x, m)
    w.write("plain-own", "own", own(m, x, False), x, m)
    w.write("plain-half", "half", convert_float_to_float16(copy.deepcopy(m), keep_io_types=True), x, m)
    m, x, c = net("plain", [6, 10, 12], 2, 536, 2, (1, 2, 8, 12, 12), shared=True)
    w.write("odd-i8", "i8", by_ort(m, c, i8), x, m)
    w.write("odd-conv", "conv", by_ort(m, c, u8, op_types_to_quantize=["Conv"]), x, m)
    w.write("odd-nncf", "nncf", by_nncf(m, c, False), x, m)
    w.write("odd-own-split", "own-split", own(m, x, True), x, m)
    w.write("odd-w16", "w16", weights16(m), x, m)
    m, x, c = net("res", [4, 6, 12], 3, 628, 3, (1, 2, 8, 8, 12))
    w.write("resenc-u8", "u8", by_ort(m, c, u8, prepare=True), x, m)
    w.write("resenc-i8", "i8", by_ort(m, c, i8, op_types_to_quantize=most), x, m)
    w.write("resenc-conv", "conv", by_ort(m, c, u8, op_types_to_quantize=["Conv"]), x, m)
    w.write("resenc-nncf", "nncf", by_nncf(m, c, True), x, m)
    w.write("resenc-own", "own", own(m, x, False), x, m)
    w.write("resenc-half", "half", convert_float_to_float16(copy.deepcopy(m), keep_io_types=True), x, m)


def singles(w):
    i8, u8 = QuantType.QInt8, QuantType.QUInt8
    open_end = {"OpTypesToExcludeOutputQuantization": list(CONVS)}

    def one(name, activations, made, extra=open_end, **more):
        m, x = made
        w.write(name, "i8" if activations == i8 else "u8", by_ort(m, [x * np.float32(0.8)], activations, extra_options=extra, **more), x, exact=True)

    one("conv-k3-i8", i8, bare(5, 7, 3, 1, (4, 5, 11), padding=1))
    one("conv-k3-u8", u8, bare(8, 12, 3, 2, (4, 5, 11), padding=1))
    one("conv-k1-u8", u8, bare(9, 16, 1, 3, (2, 3, 17)))
    one("conv-dilated-i8", i8, bare(6, 5, 3, 6, (5, 6, 11), padding=2, dilation=2))
    one("conv-flat-u8", u8, bare(3, 9, (1, 3, 3), 7, (3, 6, 13), padding=(0, 1, 1)))
    one("conv-symmetric-i8", i8, bare(4, 6, 3, 8, (4, 5, 9), padding=1), {**open_end, "ActivationSymmetric": True})
    one("conv-tensor-u8", u8, bare(4, 6, 3, 9, (4, 5, 9), padding=1, bias=False), per_channel=False)
    one("conv-weights-u8", u8, bare(4, 6, 3, 10, (4, 5, 9), padding=1), per_channel=False, weight_type=u8)
    one("conv-closed-u8", u8, bare(4, 6, 3, 11, (4, 5, 9), padding=1), {})
    for zero in (0, 128):
        w.write(f"conv-extreme-{zero}", "own", *extreme(zero), exact=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    writer = Writer(a.out)
    networks(writer)
    singles(writer)
    with open(os.path.join(a.out, "models.json"), "w") as f:
        json.dump(writer.all, f, indent=1)
        f.write("\n")
