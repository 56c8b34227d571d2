#!/usr/bin/env python3
"""Training steps a second: scanside-train beside nnU-Net's own trainer, the same plan, the same batch, on the CPU.

usage: python benches/training_side_by_side.py DATASET_FOLDER [--batch 2] [--steps 12] [--pairs 3]
                                               [--train target/release/scanside-train]

DATASET_FOLDER is nnU-Net's raw layout. Needs nnunetv2 2.8.1 and torch. nnU-Net plans and preprocesses the dataset into a
temporary folder, and its nnUNetTrainer runs whole training steps (its loader with augmentation in processes of its own, deep
supervision, Dice and cross entropy, backward, clipping, SGD) as it does in an epoch; ours runs an epoch of as many steps. Two
steps of warm-up are not counted. One pair is theirs and ours right after the other, each a fresh process; the ratio of a pair is what
is to be trusted.
"""
import argparse, json, os, shutil, signal, statistics, subprocess, sys, tempfile

THEIRS = r"""
import json, os, sys, time
import torch
batch, steps = int(sys.argv[1]), int(sys.argv[2])
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
torch.set_num_threads(os.cpu_count())
folder = os.path.join(os.environ["nnUNet_preprocessed"], "Dataset004_Bench")
plans = load_json(os.path.join(folder, "nnUNetPlans.json"))
plans["configurations"]["3d_fullres"]["batch_size"] = batch
# As its command line adds it.
plans["continue_training"] = False
trainer = nnUNetTrainer(plans, "3d_fullres", 0, load_json(os.path.join(folder, "dataset.json")), device=torch.device("cpu"))
trainer.print_to_log_file = lambda *a, **k: None
trainer.initialize()
trainer.on_train_start()
trainer.on_train_epoch_start()
times = []
for step in range(steps + 2):
    start = time.perf_counter()
    trainer.train_step(next(trainer.dataloader_train))
    times.append(time.perf_counter() - start)
print(json.dumps({"samples_per_second": batch * steps / sum(times[2:])}), flush=True)
"""


def theirs(environment, batch, steps):
    # The processes of its loader outlive it and keep its output open: it is read to the line that counts, then all are ended.
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([sys.executable, "-c", THEIRS, str(batch), str(steps)], env=environment,
                                 stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        line = next((line for line in child.stdout if line.startswith("{")), None)
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        if line is None:
            errors.seek(0)
            sys.exit(f"nnU-Net's trainer failed: {errors.read().strip()[-600:]}")
    return json.loads(line)["samples_per_second"]


def ours(train, work, batch, steps):
    """One epoch to warm up, one that counts; both are in the log."""
    name = "speed"
    command = [train, "teacher", work, "--name", name, "--epochs", "2", "--iterations-per-epoch", str(steps),
               "--validation-iterations", "0", "--batch-size", str(batch), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-600:]}")
    run = os.path.join(work, "runs", name)
    with open(os.path.join(run, "log.jsonl")) as log:
        last = json.loads(log.read().splitlines()[-1])
    shutil.rmtree(run)
    return last["samples"] / last["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--train", default="target/release/scanside-train")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        environment = dict(os.environ, nnUNet_n_proc_DA=str(os.cpu_count()), nnUNet_compile="f")
        for part in ["raw", "preprocessed", "results"]:
            environment[f"nnUNet_{part}"] = os.path.join(root, part)
            os.mkdir(environment[f"nnUNet_{part}"])
        raw = os.path.join(environment["nnUNet_raw"], "Dataset004_Bench")
        shutil.copytree(args.dataset, raw)
        plan = "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry as run; run()"
        subprocess.run([sys.executable, "-c", plan, "-d", "4", "-c", "3d_fullres", "-np", str(os.cpu_count()), "-npfp",
                        str(os.cpu_count())], env=environment, check=True, stdout=subprocess.DEVNULL)
        work = os.path.join(root, "work")
        subprocess.run([args.train, "plan", args.dataset, "-o", work], check=True, capture_output=True)
        ratios = []
        for _ in range(args.pairs):
            pair = theirs(environment, args.batch, args.steps), ours(args.train, work, args.batch, args.steps)
            ratios.append(pair[1] / pair[0])
            print(f"nnU-Net {pair[0]:.2f} samples/s, ours {pair[1]:.2f}, ratio {ratios[-1]:.2f}", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")


main()
