"""Makes seeds/: small inputs to start from, one folder for each target, out of files that the repository has anyway.

Usage: python3 fuzz/seeds.py
Needs nothing but Python 3.9 or newer. The result is committed; run it again when a format or a target changes.
"""

import gzip
import io
import json
import pathlib
import struct
import zipfile

FUZZ = pathlib.Path(__file__).resolve().parent
GOLDEN = FUZZ.parent / "tests" / "golden"


def put(target: str, name: str, data: bytes) -> None:
    folder = FUZZ / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def plain(path: pathlib.Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def nifti() -> None:
    """Each version, byte order, number of axes and kind of geometry once."""
    golden = GOLDEN / "nifti"
    for name in ["form_none", "form_q", "form_both_s1", "plane", "five", "slope_nan", "nifti2", "nifti2_big"]:
        path = next(golden.glob(f"{name}.nii*"))
        put("nifti_header", name, plain(path)[: 540 if "nifti2" in name else 348])
    for name in ["extension.nii", "gz.nii.gz", "gz_members.nii.gz", "gz_trailing.nii.gz", "nifti2_scaled.nii", "plane.nii"]:
        put("nifti_stream", name, (golden / name).read_bytes())
    for name in ["four_d.nii.gz", "truncated_gzip.nii.gz"]:
        put("nifti_stream", name, (GOLDEN / "faults" / "nifti" / name).read_bytes())


def formats() -> None:
    """Each packing, number of axes and way to say where voxels lie once; a header whose voxels are in another file too."""
    golden = GOLDEN / "formats"
    for target, ending, names in [
        ("nrrd", "nrrd", ["gzip", "gzip_byte_skip", "line_skip", "byte_skip_end", "channels_space", "spacings", "axis_mins_node", "plane", "notes"]),
        ("metaimage", "mha", ["zlib", "big", "channels", "plane", "names", "header_end", "notes"]),
        ("mgh", "mgh", ["type_short", "type_float", "unplaced"]),
    ]:
        for name in names:
            put(target, name, (golden / f"{name}.{ending}").read_bytes())
    for name in ["packed.mgz", "frames.mgz"]:
        put("mgh", name, (golden / name).read_bytes())
    put("nrrd", "detached", (golden / "detached.nhdr").read_bytes())
    put("metaimage", "detached", (golden / "packed.mhd").read_bytes())


def pickle() -> None:
    """What PyTorch writes, the same in few bytes with tensors of several types, texts of protocol 0, and whole archives."""
    golden = GOLDEN / "faults" / "checkpoints"
    with zipfile.ZipFile(golden / "tensor_shape.pth") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        put("pickle", "of_pytorch", archive.read(name))
    put("pickle", "archive_command", (golden / "shell_command_weights.pth").read_bytes())

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def ints(*values: int) -> bytes:
        return b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"

    def longs(*values: int) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    def tensor(key: int, kind: str, length: int, shape: bytes, stride: bytes) -> bytes:
        storage = text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(str(key)) + text("cpu")
        view = b"((" + storage + b"K" + bytes([length]) + b"tQ\x8a\x08" + bytes(8) + shape + stride
        return b"ctorch._utils\n_rebuild_tensor_v2\n" + view + b"\x89ccollections\nOrderedDict\n)RtR"

    small = b"\x80\x02}(" + text("network_weights") + b"ccollections\nOrderedDict\n)R("
    small += text("a") + tensor(0, "Float", 6, ints(2, 3), ints(3, 1))
    small += text("b") + tensor(1, "Half", 12, ints(3, 2), ints(1, 3))
    small += text("c") + tensor(2, "Byte", 24, longs(0, 4, 4), longs(16, 0, 1))
    small += b"ctorch._utils\n_rebuild_parameter\n(" + tensor(3, "Double", 3, ints(), ints()) + b"\x89NtR0"
    small += b"u" + text("trainer_name") + text("nnUNetTrainer") + text("init_args") + b"}" + text("configuration")
    small += text("3d_fullres") + b"s" + text("inference_allowed_mirroring_axes") + ints(0, 1, 2) + b"u."
    put("pickle", "small", small)
    put("pickle", "protocol_0", b"(dp0\nS'a\\x62'\np1\n(lp2\nI01\naL12L\naF1.5\naVx\\u00e4\nasg1\n(I1\ntp3\ns.")

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in [("data.pkl", small), ("byteorder", b"little"), ("data/0", bytes(24)), ("data/2", bytes(24))]:
            out.writestr(zipfile.ZipInfo(f"a/{name}"), data, zipfile.ZIP_DEFLATED)
    put("pickle", "archive_deflated", archive.getvalue())


def onnx() -> None:
    """A convolution of each kind: plain, quantised, pooled, transposed, resized, and two faults."""
    for name in ["quant/conv-k1-u8", "quant/conv-tensor-u8", "resize/linear-half_pixel-flat-13"]:
        put("onnx", name.split("/")[1], (GOLDEN / f"{name}.onnx").read_bytes())
    for name in ["ok", "metadata_channels", "rank4", "two_inputs"]:
        put("onnx", name, (GOLDEN / "faults" / "onnx" / f"{name}.onnx").read_bytes())
    put("onnx", "odd", (GOLDEN / "onnx" / "odd.onnx").read_bytes())


def image() -> None:
    """The graphs of a compiled student, alone, and its smaller fold as a whole image with few weights."""
    student = (GOLDEN / "image" / "student.image").read_bytes()
    (count,) = struct.unpack_from("<I", student, 12)
    table = [struct.unpack_from("<IIQQ", student, 64 + 32 * i) for i in range(count)]
    for kind, fold, start, length in table:
        if kind == 2:
            put("image", f"graph_{fold}", student[start : start + length])
    # A graph and a manifest without their weights: lengths and checksum are mended by the target.
    whole = bytearray(student[:64])
    kept = [entry for entry in table if entry[0] != 3 and entry[1] == 0]
    struct.pack_into("<I", whole, 12, len(kept) + 1)
    body = bytearray()
    first = 64 + 64 * ((32 * (len(kept) + 1) + 63) // 64)
    for kind, fold, start, length in kept:
        whole += struct.pack("<IIQQQ", kind, fold, first + len(body), length, 0)
        body += student[start : start + length] + bytes(-length % 64)
    whole += struct.pack("<IIQQQ", 3, 0, first + len(body), 64, 0)
    whole += bytes(first - len(whole))
    put("image", "whole", bytes(whole + body + bytes(64)))


def manifest() -> None:
    """A small manifest, one with everything in it, one with regions and constants, and one as TOML."""

    def inside(model: pathlib.Path) -> bytes:
        data = model.read_bytes()
        text = data[data.rindex(b'{"format":') :].decode("utf-8", "replace")
        _, length = json.JSONDecoder().raw_decode(text)
        return text[:length].encode()

    put("manifest", "small.json", inside(GOLDEN / "faults" / "onnx" / "ok.onnx"))
    put("manifest", "full.json", inside(FUZZ.parent / "models" / "hippocampus-r4.onnx"))
    put("manifest", "meshnet.toml", (FUZZ.parent / "examples" / "meshnet.toml").read_bytes())
    regions = {
        "grid": {"patch_zyx": [1, 32, 32], "two_dimensional": True, "spacing_mm": [None, 0.5, 2], "transpose_forward": [2, 0, 1]},
        "channels": [
            {"name": "CT", "normalization": {"kind": "ct", "mean": 1.5, "std": 2, "lower": -3, "upper": 9}},
            {"name": "T1", "normalization": {"kind": "z_score", "masked": True}},
        ],
        "resample_data": {"kind": "torch", "force_separate_z": None},
        "resample_logits": {"kind": "keep"},
        "labels": {"kind": "regions", "heads": [{"name": "whole", "value": 1, "snomed": "1", "rgb": [1, 2, 3]}]},
        "folds": 2,
        "mirror_axes": [1, 2],
    }
    put("manifest", "regions.json", json.dumps(regions).encode())


nifti()
formats()
pickle()
onnx()
image()
manifest()
