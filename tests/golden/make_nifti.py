#!/usr/bin/env python3
"""Makes tests/golden/nifti: tiny NIfTI files and what SimpleITK and nibabel read from them.

Usage: python make_nifti.py            (needs numpy, nibabel, SimpleITK)

Headers are packed byte by byte here, not by a library, so that a file can hold what no library would write.
Every run makes the same bytes. nifti.json holds, for each file, what the two readers say: sizes and vectors in x, y, z
order, voxels as the CRC-32 of their float32 little-endian bytes in z, y, x order (and of t before them for 4-D).
"""
import gzip
import json
import pathlib
import re
import struct
import zlib

import nibabel
import numpy as np
import SimpleITK as sitk

OUT = pathlib.Path(__file__).resolve().parent / "nifti"
SHAPE = (5, 4, 3)  # x, y, z
CODES = {
    "u1": (2, 8), "i2": (4, 16), "i4": (8, 32), "f4": (16, 32), "f8": (64, 64),
    "i1": (256, 8), "u2": (512, 16), "u4": (768, 32), "i8": (1024, 64), "u8": (1280, 64),
    "c8": (32, 64), "rgb": (128, 24), "f16": (1536, 128),
}
# A rotation about an oblique axis, as the quaternion (b, c, d) that a qform stores.
QUATERN = (0.1, -0.2, 0.3)


def rotation(b, c, d):
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    return np.array([
        [a*a + b*b - c*c - d*d, 2*(b*c - a*d), 2*(b*d + a*c)],
        [2*(b*c + a*d), a*a + c*c - b*b - d*d, 2*(c*d - a*b)],
        [2*(b*d - a*c), 2*(c*d + a*b), a*a + d*d - c*c - b*b],
    ])


def srow(quatern=QUATERN, spacing=(0.7, 0.8, 2.5), offset=(-12.5, 34.25, -56.125), flip=1.0, shear=0.0):
    m = rotation(*quatern)
    m[:, 2] *= flip
    m[:, 0] += shear * m[:, 1]
    return np.concatenate([m * np.array(spacing), np.array(offset)[:, None]], axis=1)


def header(version=1, order="<", dim=(3, 5, 4, 3, 1, 1, 1, 1), dtype="i2", pixdim=(1, 0.7, 0.8, 2.5, 1, 1, 1, 1),
           slope=1.0, inter=0.0, units=2, qcode=0, scode=0, quatern=QUATERN, qoffset=(-12.5, 34.25, -56.125),
           rows=None, vox_offset=None, intent=0, magic=None, bitpix=None):
    code, bits = CODES[dtype]
    bits = bitpix if bitpix is not None else bits
    rows = np.zeros((3, 4)) if rows is None else rows
    rows = [float(v) for v in np.asarray(rows).ravel()]
    descrip = b"a private note that must not reach a label file"
    if version == 1:
        out = struct.pack(order + "i10s18sihcB", 348, b"", b"SECRET NAME", 0, 0, b"r", 0)
        out += struct.pack(order + "8h3f4h8f3fhBB4f2i", *dim, 0, 0, 0, intent, code, bits, 0, *pixdim,
                           352 if vox_offset is None else vox_offset, slope, inter, 0, 0, units, 77, -77, 0, 0, 0, 0)
        out += struct.pack(order + "80s24s2h6f12f16s4s", descrip, b"", qcode, scode, *quatern, *qoffset, *rows, b"",
                           magic or b"n+1\0")
        assert len(out) == 348
    else:
        out = struct.pack(order + "i8s2h8q3d8dq6d2q", 540, magic or b"n+2\0\r\n\x1a\n", code, bits, *dim, 0, 0, 0,
                          *pixdim, 544 if vox_offset is None else vox_offset, slope, inter, 77, -77, 0, 0, 0, 0)
        out += struct.pack(order + "80s24s2i6d12d3i16sB15x", descrip, b"", qcode, scode, *quatern, *qoffset, *rows,
                           0, units, intent, b"", 0)
        assert len(out) == 540
    return out + b"\0\0\0\0"


def voxels(dtype="i2", order="<", count=60):
    n = np.arange(count)
    if dtype == "i4":
        v = (n * 104729 - 30 * 104729) * 11  # past 2^24: a float32 rounds it
    elif dtype == "u4":
        v = n * 71582788 + 1
    elif dtype == "i8":
        v = (n - 30) * 123456789012345
    elif dtype == "u8":
        v = n.astype(np.uint64) * np.uint64(300000000000000007)
    elif dtype in ("f4", "f8"):
        v = np.sqrt(n) * 100.0 - 333.3
    else:
        v = (n * 7 + 3) % 101 - (0 if dtype in ("u1", "u2") else 50)
    return np.asarray(v).astype(order + dtype).tobytes()


def plain_gz(data):
    return gzip.compress(data, 9, mtime=0)


def bgzip(data, size=97):
    """Blocks as bgzip makes them: a gzip member each, with its own size in an extra field, and an empty one at the end."""
    out = b""
    for at in list(range(0, len(data), size)) + [None]:
        block = b"" if at is None else data[at:at + size]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packer.compress(block) + packer.flush()
        out += struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
        out += body + struct.pack("<II", zlib.crc32(block), len(block))
    return out


def cases():
    nan, inf = float("nan"), float("inf")
    q, s = dict(qcode=1), dict(scode=1, rows=srow())
    both = dict(qcode=1, scode=1, rows=srow())
    other = srow(quatern=(0.3, 0.1, -0.2), offset=(1.0, 2.0, 3.0))
    for dtype in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
        yield f"type_{dtype}.nii", header(dtype=dtype, **both) + voxels(dtype)
        yield f"type_{dtype}_big.nii", header(dtype=dtype, order=">", **both) + voxels(dtype, ">")
        yield f"type_{dtype}_scaled.nii", header(dtype=dtype, slope=0.1, inter=-7.3, **both) + voxels(dtype)
    yield "nifti2.nii", header(2, **both) + voxels()
    yield "nifti2_big.nii.gz", plain_gz(header(2, order=">", dtype="f4", **q) + voxels("f4", ">"))
    yield "nifti2_scaled.nii", header(2, dtype="u1", slope=0.1, inter=3.0, **s) + voxels("u1")
    yield "gz.nii.gz", plain_gz(header(**both) + voxels())
    yield "gz_members.nii.gz", bgzip(header(**both) + voxels())
    yield "gz_trailing.nii.gz", plain_gz(header(**both) + voxels() + b"more than the header asks for")
    for name, slope, inter in [("nan", nan, nan), ("nan_inter5", nan, 5.0), ("zero", 0.0, 0.0), ("zero_inter5", 0.0, 5.0),
                               ("two", 2.0, nan), ("inf", inf, 5.0), ("one_inter", 1.0, -1024.0), ("negative", -0.5, 3.0)]:
        yield f"slope_{name}.nii", header(slope=slope, inter=inter, **both) + voxels()
    yield "slope_two_no_form.nii", header(slope=2.0, inter=1.0) + voxels()
    yield "form_none.nii", header() + voxels()
    yield "form_q.nii", header(**q) + voxels()
    yield "form_q_left.nii", header(pixdim=(-1, 0.7, 0.8, 2.5, 1, 1, 1, 1), **q) + voxels()
    yield "form_q_qfac0.nii", header(pixdim=(0, 0.7, 0.8, 2.5, 1, 1, 1, 1), **q) + voxels()
    yield "form_q_halfturn.nii", header(quatern=(0.6, 0.8, 0.0), **q) + voxels()
    yield "form_q_long.nii", header(quatern=(0.9, 0.9, 0.3), **q) + voxels()
    yield "form_q_nan.nii", header(quatern=(nan, 0.0, 0.5), qoffset=(nan, 1.0, 2.0), **q) + voxels()
    yield "form_q_code3.nii", header(qcode=3) + voxels()
    yield "form_q_negative_code.nii", header(qcode=-1) + voxels()
    yield "form_s.nii", header(**s) + voxels()
    yield "form_s_code2.nii", header(scode=2, rows=srow()) + voxels()
    yield "form_s_left.nii", header(scode=1, rows=srow(flip=-1.0)) + voxels()
    yield "form_both_s1.nii", header(qcode=1, scode=1, rows=other) + voxels()
    yield "form_both_s2.nii", header(qcode=1, scode=2, rows=other) + voxels()
    yield "form_both_s2_flip.nii", header(qcode=1, scode=2, rows=srow(flip=-1.0)) + voxels()
    yield "form_both_s4_q2.nii", header(qcode=2, scode=4, rows=other) + voxels()
    yield "form_both_near.nii", header(qcode=1, scode=2, rows=srow(offset=(-12.50003, 34.25, -56.125))) + voxels()
    yield "form_both_far.nii", header(qcode=1, scode=2, rows=srow(offset=(-12.502, 34.25, -56.125))) + voxels()
    yield "pixdim_not_columns.nii", header(scode=1, rows=srow(spacing=(1.4, 0.8, 5.0))) + voxels()
    for name, units in [("metre", 1), ("micron", 3), ("unknown", 0), ("micron_ms", 3 | 16)]:
        yield f"units_{name}.nii", header(units=units, **s) + voxels()
        yield f"units_{name}_q.nii", header(units=units, **q) + voxels()
    for name, shear in [("5", 1e-5), ("4", 9e-5), ("3", 1e-3), ("2", 3e-2)]:
        yield f"shear_1e-{name}.nii", header(scode=1, rows=srow(shear=shear)) + voxels()
        yield f"shear_1e-{name}_q.nii", header(qcode=1, scode=1, rows=srow(shear=shear)) + voxels()
    yield "sform_zeros.nii", header(scode=1) + voxels()
    yield "sform_zeros_q.nii", header(qcode=1, scode=1) + voxels()
    yield "plane.nii", header(dim=(2, 5, 4, 1, 1, 1, 1, 1), rows=np.diag([0.7, 0.8, 1.0, 0])[:3], scode=1,
                              pixdim=(1, 0.7, 0.8, 1, 0, 0, 0, 0)) + voxels(count=20)
    yield "plane_no_form.nii", header(dim=(2, 5, 4, 0, 0, 0, 0, 0), pixdim=(1, 0.7, 0.8, 0, 0, 0, 0, 0)) + voxels(count=20)
    yield "one_slice.nii", header(dim=(3, 5, 4, 1, 1, 1, 1, 1), **both) + voxels(count=20)
    yield "time.nii", header(dim=(4, 5, 4, 3, 2, 1, 1, 1), **both) + voxels(count=120)
    yield "time_gz.nii.gz", plain_gz(header(dim=(4, 5, 4, 3, 3, 1, 1, 1), dtype="f4", slope=2.0, **q) + voxels("f4", count=180))
    yield "time_one.nii", header(dim=(4, 5, 4, 3, 1, 1, 1, 1), **both) + voxels()
    yield "seven_ones.nii", header(dim=(7, 5, 4, 3, 1, 1, 1, 1), **both) + voxels()
    yield "vector.nii", header(dim=(5, 5, 4, 3, 1, 2, 1, 1), intent=1007, **both) + voxels(count=120)
    yield "five.nii", header(dim=(5, 5, 4, 3, 1, 2, 1, 1), **both) + voxels(count=120)
    note = struct.pack("<4B2i", 1, 0, 0, 0, 32, 6) + b"an extension, padded...."
    yield "extension.nii", header(vox_offset=384, **both)[:348] + note[:36] + voxels()
    yield "negative_pixdim.nii", header(pixdim=(1, 0.7, -0.8, 2.5, 1, 1, 1, 1), **s) + voxels()
    yield "negative_pixdim_q.nii", header(pixdim=(1, -0.7, 0.8, -2.5, 1, 1, 1, 1), **q) + voxels()
    yield "negative_pixdim_none.nii", header(pixdim=(1, 0.7, 0.8, -2.5, 1, 1, 1, 1)) + voxels()
    yield "zero_pixdim.nii", header(pixdim=(1, 0.7, 0.0, 2.5, 1, 1, 1, 1), **both) + voxels()
    yield "nan_pixdim.nii", header(pixdim=(1, nan, 0.8, 2.5, 1, 1, 1, 1), **both) + voxels()
    yield "complex.nii", header(dtype="c8", **both) + b"\0" * 480
    yield "rgb.nii", header(dtype="rgb", **both) + b"\0" * 180
    yield "float128.nii", header(dtype="f16", **both) + b"\0" * 960
    yield "two_file.nii", header(magic=b"ni1\0", **both) + voxels()
    yield "analyze.nii", header(magic=b"\0\0\0\0") + voxels()


def crc(array):
    return zlib.crc32(np.ascontiguousarray(array, dtype="<f4").tobytes())


def by_itk(path):
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        return {"error": re.sub(r"0x[0-9a-f]+", "0x", last)}
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return {"components": image.GetNumberOfComponentsPerPixel()}
    with np.errstate(all="ignore"):
        values = array.astype(np.float32)
    return {"size": image.GetSize(), "spacing": image.GetSpacing(), "origin": image.GetOrigin(),
            "direction": image.GetDirection(), "sum": float(values.astype(np.float64).sum()), "crc": crc(values)}


def by_nibabel(path):
    try:
        image = nibabel.load(path)
        array = np.asanyarray(image.dataobj)
        if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
            return {"error": f"type {array.dtype}"}
        with np.errstate(all="ignore"):
            values = array.astype(np.float32).T
        out = {"shape": image.shape, "crc": crc(values), "sum": float(values.astype(np.float64).sum())}
        if isinstance(image, nibabel.Nifti2Image):  # SimpleITK does not read these
            out["affine"] = np.asarray(image.affine).ravel().tolist()
        return out
    except Exception as error:  # noqa: BLE001 - what a reader refuses is part of the record
        return {"error": f"{type(error).__name__}: {error}"}


def tidy(value):
    """JSON has no NaN: null stands for it. No sentence may hold the folder's name."""
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value.replace(f"{OUT}/", "") if isinstance(value, str) else value


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    record = {}
    for name, data in cases():
        path = OUT / name
        path.write_bytes(data)
        record[name] = tidy({"sitk": by_itk(path), "nibabel": by_nibabel(path)})
    versions = {"SimpleITK": sitk.Version.VersionString(), "nibabel": nibabel.__version__}
    lines = [f"{json.dumps(k)}: {json.dumps(v, sort_keys=True, allow_nan=False)}" for k, v in record.items()]
    head = json.dumps({"made_by": "tests/golden/make_nifti.py", "format": 1, "versions": versions})[:-1]
    (OUT / "nifti.json").write_text(head + ', "files": {\n' + ",\n".join(lines) + "\n}}\n")
    print(len(record), "files,", sum(p.stat().st_size for p in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
