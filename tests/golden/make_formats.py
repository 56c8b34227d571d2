#!/usr/bin/env python3
"""Makes tests/golden/formats: tiny NRRD, MetaImage and MGH files, and what SimpleITK and nibabel read from them.

Usage: python make_formats.py            (needs numpy, nibabel, SimpleITK)

Headers are written line by line here, not by a library, so that a file can hold what no library would write. Every run makes
the same bytes. formats.json holds, for each file, what the reader of its format says (SimpleITK; nibabel for MGH), or that it
refuses: sizes and vectors in x, y, z order and LPS, voxels as the CRC-32 of their float32 little-endian bytes in z, y, x order
(and of channels before them). "nibabel_io" holds what nibabel reads from the files of tests/golden/nifti, as nnU-Net's
NibabelIO takes it: voxels in float64, spacing without units.
"""
import gzip
import json
import pathlib
import struct
import zlib

import nibabel
import numpy as np
import SimpleITK as sitk

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "formats"
SHAPE = (4, 3, 2)  # x, y, z
VOXELS = (np.arange(24) * 37 % 101 - 50).astype("<i2")
RAW = VOXELS.tobytes()


def nrrd(*fields, kind="short", dimension=3, sizes="4 3 2", encoding="raw", endian="little", body=RAW, magic="NRRD0004"):
    lines = [magic, f"type: {kind}", f"dimension: {dimension}", f"sizes: {sizes}", f"encoding: {encoding}"]
    lines += [f"endian: {endian}"] if endian else []
    return "\n".join(lines + list(fields) + ["", ""]).encode() + body


def placed(space, directions="(0.6,0.8,0) (-1.6,1.2,0) (0,0,2.5)", origin="(-12.5,34.25,-56.125)"):
    return [f"space: {space}", f"space directions: {directions}", f"space origin: {origin}"]


def mha(*fields, axes=3, size="4 3 2", kind="MET_SHORT", msb="False", file="LOCAL", body=RAW, spacing="0.7 0.8 2.5"):
    lines = ["ObjectType = Image", f"NDims = {axes}", "BinaryData = True", f"BinaryDataByteOrderMSB = {msb}", f"DimSize = {size}"]
    lines += [f"ElementSpacing = {spacing}"] if spacing else []
    return "\n".join(lines + list(fields) + [f"ElementType = {kind}", f"ElementDataFile = {file}", ""]).encode() + body


def mgh(kind=4, sizes=(4, 3, 2, 1), good=1, delta=(0.7, 0.8, 2.5), mdc=(0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, 1), centre=(-12.5, 34.25, -56.125),
        body=None, version=1):
    out = struct.pack(">7ih", version, *sizes, kind, 0, good) + struct.pack(">15f", *delta, *mdc, *centre)
    return out + bytes(284 - len(out)) + (VOXELS.astype(">i2").tobytes() if body is None else body)


def cases():
    gz = gzip.compress(RAW, 9, mtime=0)
    lps = placed("left-posterior-superior")
    types = {"signed char": "i1", "uchar": "u1", "int16_t": "<i2", "unsigned short": "<u2", "int": "<i4", "uint32": "<u4",
             "long long": "<i8", "uint64_t": "<u8", "float": "<f4", "double": "<f8"}
    for kind, code in types.items():
        body = (np.arange(24) * 5).astype(code)
        yield f"type_{kind.replace(' ', '_')}.nrrd", nrrd(*lps, kind=kind, body=body.tobytes())
    yield "big.nrrd", nrrd(*lps, endian="big", body=VOXELS.astype(">i2").tobytes())
    for space in ["RAS", "LAS", "LPS", "right-anterior-superior", "scanner-xyz", "3D-left-handed"]:
        yield f"space_{space}.nrrd", nrrd(*placed(space))
    yield "space_dimension.nrrd", nrrd("space dimension: 3", *lps[1:])
    yield "sheared.nrrd", nrrd(*placed("LPS", "(1,0,0) (0.5,2,0) (0,0.25,3)"))
    yield "left.nrrd", nrrd(*placed("LPS", "(-1,0,0) (0,2,0) (0,0,3)"))
    yield "degenerate.nrrd", nrrd(*placed("LPS", "(1,0,0) (2,0,0) (0,0,3)"))
    yield "origin_none.nrrd", nrrd(*placed("LPS", origin="(nan,nan,nan)"))
    yield "no_directions.nrrd", nrrd("space: LPS", "space origin: (1,2,3)")
    yield "no_place.nrrd", nrrd()
    yield "spacings.nrrd", nrrd("spacings: 0.7 -0.8 nan")
    yield "axis_mins.nrrd", nrrd("spacings: 0.7 0.8 2.5", "axis mins: 10 20 30")
    yield "axis_mins_node.nrrd", nrrd("spacings: 0.7 0.8 2.5", "axis mins: 10 20 30", "centers: node node node")
    yield "gzip.nrrd", nrrd(*lps, encoding="gzip", body=gz)
    yield "gz_members.nrrd", nrrd(*lps, encoding="gz", body=gzip.compress(RAW[:10], mtime=0) + gzip.compress(RAW[10:], mtime=0))
    yield "crlf.nrrd", nrrd(*lps, body=b"").replace(b"\n", b"\r\n") + RAW
    yield "byte_skip.nrrd", nrrd(*lps, "byte skip: 3", body=b"xyz" + RAW)
    yield "byte_skip_end.nrrd", nrrd(*lps, "byte skip: -1", body=b"some words" + RAW)
    yield "line_skip.nrrd", nrrd(*lps, "line skip: 2", body=b"one\ntwo\n" + RAW)
    yield "gzip_byte_skip.nrrd", nrrd(*lps, "byte skip: 3", encoding="gzip", body=gzip.compress(b"xyz" + RAW, mtime=0))
    yield "gzip_line_skip.nrrd", nrrd(*lps, "line skip: 1", encoding="gzip", body=b"one\n" + gz)
    yield "notes.nrrd", nrrd("# a comment", "content: some words", *lps, "old min: 0", "key:=value: more", 'space units: "mm" "mm" "mm"')
    yield "channels.nrrd", nrrd(dimension=4, sizes="3 2 2 2")
    yield "channels_space.nrrd", nrrd("space dimension: 4", "space directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1)",
                                      "space origin: (1,2,3,0)", dimension=4, sizes="3 2 2 2")
    yield "plane.nrrd", nrrd("spacings: 0.7 0.8", dimension=2, sizes="6 4")
    yield "vectors.nrrd", nrrd("kinds: vector domain domain domain", dimension=4, sizes="2 3 2 2")
    yield "ascii.nrrd", nrrd(*lps, encoding="ascii", body=" ".join(map(str, VOXELS)).encode())
    yield "bzip2.nrrd", nrrd(*lps, encoding="bzip2")
    yield "no_endian.nrrd", nrrd(*lps, endian=None)
    yield "short.nrrd", nrrd(*lps, body=RAW[:-1])
    yield "version_6.nrrd", nrrd(*lps, magic="NRRD0006")
    yield "detached.raw", RAW
    yield "detached.nhdr", nrrd(*lps, "data file: ./detached.raw", body=b"")
    yield "detached_gz.raw.gz", gz
    yield "detached_gz.nhdr", nrrd(*lps, "data file: detached_gz.raw.gz", encoding="gzip", body=b"")

    turned = ["TransformMatrix = 0.6 0.8 0 -0.8 0.6 0 0 0 1", "Offset = -12.5 34.25 -56.125", "CenterOfRotation = 0 0 0"]
    packed = zlib.compress(RAW, 9)
    types = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "<i2", "MET_USHORT": "<u2", "MET_INT": "<i4", "MET_ULONG": "<u4",
             "MET_LONG_LONG": "<i8", "MET_ULONG_LONG": "<u8", "MET_FLOAT": "<f4", "MET_DOUBLE": "<f8"}
    for kind, code in types.items():
        yield f"type_{kind[4:].lower()}.mha", mha(*turned, kind=kind, body=(np.arange(24) * 5).astype(code).tobytes())
    yield "big.mha", mha(*turned, msb="True", body=VOXELS.astype(">i2").tobytes())
    yield "zlib.mha", mha(*turned, "CompressedData = True", f"CompressedDataSize = {len(packed)}", body=packed)
    yield "zlib_padded.mha", mha(*turned, "CompressedData = True", f"CompressedDataSize = {len(packed):>20}", body=packed)
    yield "names.mha", mha("Rotation = 0.6 0.8 0 -0.8 0.6 0 0 0 1", "Position = 1 2 3")
    yield "element_size.mha", mha("ElementSize = 0.7 0.8 2.5", spacing=None)
    yield "no_spacing.mha", mha(spacing=None)
    yield "negative_spacing.mha", mha(*turned, spacing="0.7 -0.8 2.5")
    yield "zero_spacing.mha", mha(spacing="0.7 0 2.5")
    yield "sheared.mha", mha("TransformMatrix = 1 0 0 0.5 1 0 0 0 1")
    yield "degenerate.mha", mha("TransformMatrix = 1 0 0 1 0 0 0 0 1")
    yield "colons.mha", mha(*turned, body=b"").replace(b" = ", b":") + RAW
    yield "crlf.mha", mha(*turned, body=b"").replace(b"\n", b"\r\n") + RAW
    yield "notes.mha", mha("Comment = some words", "Foo = bar", *turned, "ElementMin = 0")
    yield "slope.mha", mha("ElementToIntensityFunctionSlope = 2")
    yield "header_end.mha", mha("HeaderSize = -1", body=b"some words" + RAW)
    yield "channels.mha", mha(axes=4, size="3 2 2 2", spacing="2 3 4 1")
    yield "plane.mha", mha(axes=2, size="6 4", spacing="0.7 0.8")
    yield "vectors.mha", mha("ElementNumberOfChannels = 2", size="2 3 2")
    yield "short.mha", mha(body=RAW[:-1])
    yield "far.raw", b"head" + RAW
    yield "far.mhd", mha(*turned, "HeaderSize = 4", file="far.raw", body=b"")
    yield "packed.zraw", packed
    yield "packed.mhd", mha(*turned, "CompressedData = True", file="packed.zraw", body=b"")

    for name, kind, code in [("uchar", 0, "u1"), ("int", 1, ">i4"), ("float", 3, ">f4"), ("short", 4, ">i2"), ("ushort", 10, ">u2")]:
        yield f"type_{name}.mgh", mgh(kind, body=(np.arange(24) * 5).astype(code).tobytes())
    yield "packed.mgz", gzip.compress(mgh(), 9, mtime=0)
    yield "frames.mgz", gzip.compress(mgh(sizes=(3, 2, 2, 2)), 9, mtime=0)
    yield "tags.mgh", mgh() + struct.pack(">5f", 2300, 0.1, 3, 900, 256)
    yield "version_2.mgh", mgh(version=2)
    yield "empty_axis.mgh", mgh(sizes=(4, 0, 2, 1))
    yield "unplaced.mgh", mgh(good=0)


def crc(values):
    return zlib.crc32(np.ascontiguousarray(values).astype("<f4").tobytes())


def by_itk(path):
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return "refused"
    return {"size": image.GetSize(), "components": image.GetNumberOfComponentsPerPixel(), "spacing": image.GetSpacing(),
            "origin": image.GetOrigin(), "direction": image.GetDirection(), "crc": crc(sitk.GetArrayFromImage(image))}


def by_nibabel(path):
    try:
        image = nibabel.load(path)
        data = np.asanyarray(image.dataobj)
    except Exception:
        return "refused"
    affine = np.diag([-1, -1, 1, 1]) @ image.affine.astype(float)
    spacing = image.header.get_zooms()[:3]
    return {"size": data.shape, "components": 1, "spacing": [float(v) for v in spacing], "origin": list(affine[:3, 3]),
            "direction": list((affine[:3, :3] / spacing).ravel()), "crc": crc(data.transpose())}


def nibabel_io():
    for path in sorted((HERE / "nifti").glob("*.nii*")):
        try:
            image = nibabel.load(path)
            if image.ndim != 3 or image.get_data_dtype().kind not in "iuf":
                continue
            data = image.get_fdata().transpose()
        except Exception:
            continue
        spacing = [float(v) for v in image.header.get_zooms()]
        if np.isfinite(spacing).all():
            yield path.name, {"spacing": spacing, "crc": crc(data)}


def main():
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    OUT.mkdir(exist_ok=True)
    files = {}
    for name, data in cases():
        (OUT / name).write_bytes(data)
    for name, _ in cases():
        if not name.endswith((".raw", ".raw.gz", ".zraw")):
            files[name] = (by_nibabel if ".mg" in name else by_itk)(OUT / name)
    record = {"format": 1, "files": files, "nibabel_io": dict(nibabel_io())}
    (OUT / "formats.json").write_text(json.dumps(record, indent=0, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
