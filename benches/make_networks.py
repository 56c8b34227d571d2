#!/usr/bin/env python3
"""The networks that side_by_side.py measures: nnU-Net's plain 3D U-Net with random weights, 1 channel, 3 heads.

usage: python benches/make_networks.py FOLDER [--networks teacher,r2,r4,r8] [--patches 128,96,64,hip] [--int8]

Writes FOLDER/NETWORK-PATCH.onnx, for example r4-128.onnx. The teacher has 32 to 320 channels, rN has these divided by N;
six stages, four at hip (40 x 56 x 40). With --int8 also NAME.qdq.onnx, what ONNX Runtime's quantiser makes of it, and
NAME.ovint8.xml, what OpenVINO's own (NNCF) does, each calibrated on two patches of noise; a quantiser that is not
installed is named and left out. Needs torch, onnx and dynamic_network_architectures.
"""
import argparse, os, sys
import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden"))
from make_onnx import unet  # noqa: E402

STAGES = [32, 64, 128, 256, 320, 320]


def shape_of(patch):
    return (40, 56, 40) if patch == "hip" else (int(patch),) * 3


def noise(shape, count=2):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, 1, *shape)).astype(np.float32) for _ in range(count)]


def quantise_onnxruntime(path, shape):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = noise(shape)

        def get_next(self):
            return {"input": self.left.pop()} if self.left else None

    quantize_static(path, path.replace(".onnx", ".qdq.onnx"), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def quantise_openvino(path, shape):
    import nncf
    import openvino

    made = nncf.quantize(openvino.Core().read_model(path), nncf.Dataset(noise(shape)), subset_size=2)
    openvino.save_model(made, path.replace(".onnx", ".ovint8.xml"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--networks", default="teacher,r2,r4,r8")
    p.add_argument("--patches", default="128,96,64,hip")
    p.add_argument("--int8", action="store_true")
    a = p.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    for network in a.networks.split(","):
        for patch in a.patches.split(","):
            shape = shape_of(patch)
            stages = STAGES[:4] if patch == "hip" else STAGES
            channels = [c // int(network[1:]) if network != "teacher" else c for c in stages]
            net = unet("plain", 3, 1, 3, channels, [1] + [2] * (len(stages) - 1), 1)
            path = os.path.join(a.folder, f"{network}-{patch}.onnx")
            torch.onnx.export(net, torch.from_numpy(noise(shape, 1)[0]), path, input_names=["input"],
                              output_names=["logits"], opset_version=17, dynamo=False)
            print(path, channels, shape, flush=True)
            for quantise in (quantise_onnxruntime, quantise_openvino) if a.int8 else ():
                try:
                    quantise(path, shape)
                except ImportError as missing:
                    print(f"SKIPPED: {quantise.__name__}: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
