#!/usr/bin/env python3
"""One exported network in other runtimes: the same labels?

    check_runtimes.py EXPORTED MODEL.onnx IMAGES LABELS [--runtimes pytorch,onnxruntime,openvino] [--mirror] [CASE ...]

EXPORTED    the folder of `scanside-train export --nnunet`
MODEL.onnx  the file of `scanside-train export -o`, of the same run
IMAGES      CASE_0000.nii.gz ...
LABELS      what `scanside segment -m MODEL.onnx` made of them (with --disable-tta unless --mirror is given)

nnU-Net's own predictor reads, crops, normalises, tiles, stitches and writes; only the network inside it is replaced. Counts voxels
that differ; exits with 1 where more than 1 in 100,000 do. Needs nnunetv2 (used with 2.8.1, torch 2.11) and the runtimes.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import torch

for part in ["raw", "preprocessed", "results"]:
    os.environ.setdefault(f"nnUNet_{part}", tempfile.gettempdir())
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402


class Replaced(torch.nn.Module):
    """Looks like the network to nnU-Net, and asks another runtime."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def load_state_dict(self, *_args, **_kwargs):
        pass

    def forward(self, x):
        return torch.from_numpy(np.array(self.run(x.numpy())))


def onnxruntime_runner(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino_runner(path):
    import openvino
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: model([x])[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["exported", "model", "images", "labels"]:
        parser.add_argument(name, type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--runtimes", default="pytorch,onnxruntime,openvino")
    parser.add_argument("--mirror", action="store_true")
    args = parser.parse_args()
    cases = args.cases or sorted(p.name.removesuffix(".nii.gz") for p in args.labels.glob("*.nii.gz"))
    runners = {"pytorch": None, "onnxruntime": onnxruntime_runner, "openvino": openvino_runner}
    failed = False
    for runtime in args.runtimes.split(","):
        predictor = nnUNetPredictor(use_mirroring=args.mirror, device=torch.device("cpu"), perform_everything_on_device=False)
        fold = next(args.exported.glob("fold_*")).name.removeprefix("fold_")
        predictor.initialize_from_trained_model_folder(str(args.exported), (fold if fold == "all" else int(fold),))
        if runners[runtime]:
            predictor.network = Replaced(runners[runtime](str(args.model)))
        with tempfile.TemporaryDirectory() as out:
            files = [sorted(map(str, args.images.glob(f"{case}_[0-9][0-9][0-9][0-9].nii.gz"))) for case in cases]
            predictor.predict_from_files_sequential(files, [str(Path(out) / case) for case in cases], overwrite=True)
            different = voxels = 0
            for case in cases:
                ours, theirs = (np.asarray(nibabel.load(Path(folder) / f"{case}.nii.gz").dataobj) for folder in (args.labels, out))
                different += int((ours != theirs).sum())
                voxels += ours.size
        print(f"{runtime}: {different} of {voxels} voxels differ in {len(cases)} cases", flush=True)
        failed |= different * 100_000 > voxels
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
