#!/usr/bin/env python3
"""The real nnU-Net on a model folder that the trainer wrote.

    check_nnunet.py EXPORTED IMAGES LABELS [CASE ...]

EXPORTED  a folder of `scanside-train export --nnunet`, or of the test that keeps it:
          SCANSIDE_KEEP_EXPORT=DIR cargo test --workspace --test export -- real_model
IMAGES    CASE_0000.nii.gz ...
LABELS    what nnU-Net said of them with the original weights, without mirroring (CASE.nii.gz)

Loads the checkpoint as strictly as nnU-Net does and with PyTorch's restricted reader, checks that copies of a tensor
share their memory, runs nnU-Net's untouched command line on the cases (default: the first four labels), and counts
voxels that differ. Needs nnunetv2 (used with 2.8.1, torch 2.11). Exits with 1 where something differs.
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import torch


def check_checkpoint(path: Path) -> None:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    assert set(saved) == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}, set(saved)
    weights = saved["network_weights"]
    storages = {tensor.untyped_storage().data_ptr() for tensor in weights.values()}
    print(f"{path.name}: {len(weights)} names of {len(storages)} tensors, {saved['trainer_name']}, "
          f"mirroring {saved['inference_allowed_mirroring_axes']}")
    assert len(storages) < len(weights)


def predict(model: Path, images: Path, cases: list[str], out: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        for case in cases:
            for channel in images.glob(f"{case}_[0-9][0-9][0-9][0-9].nii.gz"):
                shutil.copy(channel, place)
        fold = next(model.glob("fold_*")).name.removeprefix("fold_")
        command = ["nnUNetv2_predict_from_modelfolder", "-i", place, "-o", out, "-m", model, "-f", fold,
                   "-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"]
        program = Path(sys.executable).parent / command[0]
        subprocess.run([program, *command[1:]], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    exported, images, labels = map(Path, sys.argv[1:4])
    cases = sys.argv[4:] or sorted(p.name.removesuffix(".nii.gz") for p in labels.glob("*.nii.gz"))[:4]
    for checkpoint in exported.glob("fold_*/checkpoint_final.pth"):
        check_checkpoint(checkpoint)
    wrong = 0
    with tempfile.TemporaryDirectory() as out:
        predict(exported, images, cases, Path(out))
        for case in cases:
            ours, theirs = (np.asarray(nibabel.load(Path(folder) / f"{case}.nii.gz").dataobj) for folder in (out, labels))
            different = int((ours != theirs).sum())
            wrong += different
            print(f"{case}: {different} of {ours.size} voxels differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
