#!/usr/bin/env python3
"""Labels of the MeshNet brain model (niivue-onnx) on its own T1, as ONNX Runtime gives them.

    make_meshnet.py --model model.onnx --image t1_crop.nii.gz --out meshnet

Preprocessing: float32; clip to the 2nd and 98th percentile of the whole volume (numpy.percentile, linear), then
(x - low) / (high - low) in float32. The array goes in as the file stores it (x fastest), so the network's axes are the
file's z, y, x, as in the web page this model was written for. Label = first head with the largest logit.

Writes labels.nii.gz (uint8, header of the image) and manifest.json. With --check-axes the five other axis orders are run
too and the labelled fractions printed: a look at which order the network was trained for. Each run holds several GB.
"""
import argparse
import gzip
import hashlib
import io
import itertools
import json
import os
import resource
import time

import nibabel as nib
import numpy as np
import onnxruntime as ort


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def save_nii(img, path):
    """Gzip without a time stamp, so that the same labels give the same file."""
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as g:
        g.write(img.to_bytes())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--image", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--check-axes", action="store_true")
    a = ap.parse_args()
    img = nib.load(a.image)
    raw = np.ascontiguousarray(np.asarray(img.dataobj).T)  # z, y, x
    low, high = (float(v) for v in np.percentile(raw, [2, 98]))
    x = raw.astype(np.float32)
    x = (np.clip(x, np.float32(low), np.float32(high)) - np.float32(low)) / np.float32(high - low)
    opt = ort.SessionOptions()
    opt.intra_op_num_threads = a.threads
    ses = ort.InferenceSession(a.model, opt, providers=["CPUExecutionProvider"])

    def segment(v):
        return ses.run(None, {ses.get_inputs()[0].name: np.ascontiguousarray(v)[None, None]})[0][0]

    t = time.perf_counter()
    logits = segment(x)
    seconds = time.perf_counter() - t
    seg = logits.argmax(0).astype(np.uint8)
    top = np.sort(logits, 0)
    margin = top[-1] - top[-2]
    del logits, top
    info = dict(
        script="make_meshnet.py --model model.onnx --image t1_crop.nii.gz --out meshnet",
        model_sha256=sha256(open(a.model, "rb").read()), image_sha256=sha256(open(a.image, "rb").read()),
        axes="network axes are file axes z, y, x", clip=[low, high], input_sha256=sha256(x.astype("<f4").tobytes()),
        shape_zyx=list(seg.shape), label_counts={int(k): int(v) for k, v in zip(*np.unique(seg, return_counts=True))},
        labels_sha256=sha256(seg.tobytes()), margin_exact_tie=int((margin == 0).sum()),
        margin_below={str(e): int((margin < e).sum()) for e in (1e-4, 1e-3, 1e-2)},
        versions=dict(onnxruntime=ort.__version__, numpy=np.__version__, nibabel=nib.__version__))
    os.makedirs(a.out, exist_ok=True)
    hdr = img.header.copy()
    hdr.set_data_dtype(np.uint8)
    hdr["scl_slope"], hdr["scl_inter"], hdr["cal_max"], hdr["cal_min"] = 1, 0, 0, 0
    save_nii(nib.Nifti1Image(np.ascontiguousarray(seg.T), None, hdr), os.path.join(a.out, "labels.nii.gz"))
    with open(os.path.join(a.out, "manifest.json"), "w") as f:
        json.dump(info, f, indent=1)
        f.write("\n")
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"labels {info['label_counts']}  {seconds:.1f} s on {a.threads} threads, peak {rss:.0f} MiB")
    if a.check_axes:
        for p in itertools.permutations(range(3)):
            s = segment(x.transpose(p)).argmax(0).astype(np.uint8).transpose(np.argsort(p))
            same = [2 * ((s == k) & (seg == k)).sum() / ((s == k).sum() + (seg == k).sum()) for k in (1, 2)]
            print("axes", p, "counts", np.bincount(s.ravel(), minlength=3), "Dice with the file order", np.round(same, 4))


if __name__ == "__main__":
    main()
