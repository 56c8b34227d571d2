#!/usr/bin/env python3
"""Scanside beside other runtimes: the same networks, one after the other in the same minutes, ratios pair by pair.

usage: python benches/side_by_side.py FOLDER [--models A,B] [--precisions f32,f16,int8] [--threads 1,2] [--pairs 3]
                                      [--peers openvino,onnxruntime] [--scanside target/release/scanside]

FOLDER holds ONNX files NAME.onnx; for int8 NAME.qdq.onnx (for Scanside and ONNX Runtime) and, if there, what OpenVINO's
own quantiser made of the same network, NAME.ovint8.xml. Needs Python with numpy and the peers that are to be compared; a
peer that is not installed is named and left out. `tests/golden/make_onnx.py FOLDER --large` makes networks.

Every measurement is a fresh process: load, one run to warm up, some timed runs. A pair is one process of ours and one of
the peer's right after; machines are shared and change under us, so the ratio of a pair is what is trusted, and the median
of the pairs is printed with their range. Half precision of ours is compared with single precision of the peer: on CPUs
without half-precision arithmetic nobody has another.
"""
import argparse, json, os, platform, statistics, subprocess, sys

PEER = r"""
import json, os, resource, sys, time
peer, path, threads, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = str(threads)
import numpy as np
if peer == "openvino":
    import openvino as ov
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if path.endswith(".onnx"):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    model = ov.Core().compile_model(path, "CPU", config)
    request, shape = model.create_infer_request(), list(model.input(0).shape)
    run = lambda x: request.infer({0: x}, share_inputs=True, share_outputs=True)
else:
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    run = lambda x: session.run(None, {name: x})
x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
run(x)
times = []
for _ in range(runs):
    start = time.perf_counter()
    run(x)
    times.append(time.perf_counter() - start)
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"median_seconds": sorted(times)[len(times) // 2], "peak_rss_bytes": rss}))
"""


def last_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        print(f"SKIPPED: {' '.join(command[-6:])}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def runs_for(seconds):
    return max(3, min(30, int(2 / max(seconds, 1e-4))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--models")
    parser.add_argument("--precisions", default="f32,f16,int8")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--peers", default="openvino")
    parser.add_argument("--scanside", default="target/release/scanside")
    a = parser.parse_args()
    here = [f[:-5] for f in sorted(os.listdir(a.folder)) if f.endswith(".onnx") and f.count(".") == 1]
    models = a.models.split(",") if a.models else here
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    print(f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    print("| network | precision | threads | peer | ours s | peer s | ratio (range) | ours MiB | announced | peer MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in models:
        for precision in a.precisions.split(","):
            plain, qdq = os.path.join(a.folder, name + ".onnx"), os.path.join(a.folder, name + ".qdq.onnx")
            own = os.path.join(a.folder, name + ".ovint8.xml")
            ours_path = qdq if precision == "int8" else plain
            if not os.path.exists(ours_path):
                print(f"SKIPPED: {ours_path} is not there", file=sys.stderr)
                continue
            for threads in a.threads.split(","):
                for peer in a.peers.split(","):
                    peer_path = ours_path if precision != "int8" else (own if peer == "openvino" and os.path.exists(own) else qdq)
                    ours, theirs, ratios = [], [], []
                    runs = None
                    for _ in range(a.pairs):
                        command = [a.scanside, "bench", "--json", "--threads", threads, "-m", ours_path]
                        command += ["--precision", "f16"] if precision == "f16" else []
                        mine = last_json(command + ["--runs", str(runs or 3)])
                        runs = runs_for(mine["median_seconds"]) if mine else 3
                        other = last_json([sys.executable, "-c", PEER, peer, peer_path, threads, str(runs)])
                        if mine is None or other is None:
                            break
                        ours.append(mine), theirs.append(other)
                        ratios.append(mine["median_seconds"] / other["median_seconds"])
                    if not ratios:
                        continue
                    median = lambda rows: statistics.median(r["median_seconds"] for r in rows)
                    peak = lambda rows: max(r["peak_rss_bytes"] for r in rows) / 2**20
                    print(
                        f"| {name} | {precision} | {threads} | {peer} | {median(ours):.4f} | {median(theirs):.4f} "
                        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | {peak(ours):.0f} "
                        f"| {ours[0]['announced_bytes'] / 2**20:.0f} | {peak(theirs):.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
