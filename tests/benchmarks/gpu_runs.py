"""Whole runs for `gpu.py`: an epoch of NIH's size, two GPUs, NIH itself, and the machine."""

import contextlib
import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bare_step import BareStep
from gpu_plan import Figures, Plan, Progress
from gpu_rates import explain
from interleaved import processor

from deepchest_cli.commands.doctor import doctor
from deepchest_cli.comparison.running.costs import ratio
from deepchest_cli.config import DoctorConfig
from deepchest_cli.terminal import Terminal
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import resolve_device
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import EpochReport, Observer, StepReport

REPORT_EVERY = 5.0  # seconds, of a long epoch
BARE_STEPS = 30  # of a run, before and after the epoch
TURNS = 3  # of one and of two GPUs
NAMED = ("name", "driver_version", "memory.total", "power.limit")  # of nvidia-smi


class Watcher(Observer):
    """Says how far an epoch is, without reading anything from the device, and keeps its report."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.said = progress, time.monotonic()
        self.report: EpochReport | None = None

    def on_step(self, report: StepReport) -> None:
        """Receive a step's report."""
        if time.monotonic() - self.said > REPORT_EVERY:
            self.said = time.monotonic()
            self.progress(f"step {report.step:,} of {report.steps:,}")

    def on_epoch(self, report: EpochReport) -> None:
        """Receive a finished epoch's report."""
        self.report = report


def epoch(plan: Plan, progress: Progress, batch: int, cache: str) -> Figures:
    """Train an epoch as `deepchest train` does, between measurements of the bare step."""
    config = plan.training(plan.large_data(progress), batch, cache=cache, epochs=1, patience=0)
    steps = BARE_STEPS if not plan.scaled_down else plan.steps
    bare = BareStep(plan.training(Path(config.data[0]), batch, cache="none"), steps)
    # a CPU measures which is faster, and could choose another one the second time
    config = replace(config, precision=bare.setup.precision)
    progress("the bare step")
    bare()  # chooses kernels
    before = bare()
    folder, watcher = plan.new_run(), Watcher(progress)
    folder.mkdir()
    trainer = Trainer(build_components(config), folder, watcher)
    started = time.perf_counter()
    trainer.fit()
    seconds, report = time.perf_counter() - started, watcher.report
    assert report is not None
    rates = (before, bare())
    found = sorted(report.images_per_second / rate for rate in rates)
    return {
        "batch": batch,
        "place": trainer.components.reader.place,
        "precision": trainer.components.precision,
        "training_images": len(trainer.components.training_rows),
        "validation_images": len(trainer.components.validation_rows),
        "images_per_second": report.images_per_second,
        "seconds_training": report.seconds,
        "seconds_in_all": seconds,
        "data_wait_fraction": report.data_wait_fraction,
        "peak_memory": report.peak_memory,
        "bare_images_per_second": list(rates),
        "share": {"value": sum(found) / 2, "low": found[0], "high": found[1]},
    }


def command(*words: object) -> str:
    """Run a command of deepchest in a process of its own; return what it prints.

    Raises `RuntimeError` with the last line of its errors.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        printed, errors = process.communicate()
    except BaseException:
        process.terminate()  # torchrun ends its processes
        process.wait()
        raise
    print(printed, errors, sep="\n", file=sys.stderr)  # into the log
    if process.returncode:
        said = (errors.strip() or "no message").splitlines()
        message = next((line for line in said if line.startswith("Error")), said[-1])
        raise RuntimeError(f"{words[1]} ended with status {process.returncode}: {message}")
    return printed


def two_gpus(plan: Plan, progress: Progress) -> Figures:
    """Train on one GPU and on two, with as many images on each, in turn."""
    return train_on_two(plan, progress, "cuda")


def without_two_gpus(plan: Plan) -> str | None:
    """Return why two GPUs cannot be measured."""
    if torch.device(plan.device).type != "cuda":
        return f"It takes two CUDA devices; this was run on {plan.device}."
    count = torch.cuda.device_count()
    return None if count > 1 else f"It takes two CUDA devices; there is {count}."


def without_nih(plan: Plan) -> str | None:
    """Return why NIH cannot be measured."""
    return None if plan.nih else "There are no NIH files: name their folder with --nih FOLDER."


def train_on_two(plan: Plan, progress: Progress, device: str) -> Figures:
    """Train in one process and in two by torchrun, in turn; the batch grows with them."""
    data, batch = plan.small_data(progress), plan.batches[len(plan.batches) // 2]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(TURNS if not plan.scaled_down else 2):
        for processes, found in rates.items():
            progress(f"{processes} of 2 processes, turn {turn + 1}")
            out = plan.new_run()
            start = () if processes == 1 else launcher
            command(
                *start, "-m", "deepchest_cli", "train", "--data", data, "--device", device,
                "--backbone", plan.backbone, "--image-size", plan.size, "--weights", "none",
                "--batch-size", batch * processes, "--epochs", 2, "--patience", 0, "--out", out,
            )  # fmt: skip
            with (out / "metrics.csv").open(newline="", encoding="utf-8") as file:
                found.append(float(list(csv.DictReader(file))[-1]["images_per_second"]))
            shutil.rmtree(out)
    speedup = ratio(rates[2], rates[1])
    return {
        "batch_per_device": batch,
        "images_per_second_of_one": rates[1],
        "images_per_second_of_two": rates[2],
        "speedup": {"value": speedup.estimate, "low": speedup.low, "high": speedup.high},
    }  # fmt: skip


def nih(plan: Plan, progress: Progress) -> Figures:
    """Prepare NIH ChestX-ray14, train with the default recipe and evaluate on the official test."""
    data, run, seconds = plan.scratch / "nih", plan.out / "nih-run", {}
    less = ("--backbone", plan.backbone, "--epochs", 1) if plan.scaled_down else ()
    device = ("--device", plan.device)
    said = {
        "prepare": ("prepare", "--source", plan.nih, "--data", data, "--size", plan.size),
        "train": (
            "train", "--data", data, "--recipe", "default", *device, *less,
            "--out", run, "--resume", "auto",
        ),
        "evaluate": ("evaluate", "--model", run, "--data", data, *device, "--format", "json"),
    }  # fmt: skip
    for name, words in said.items():
        progress(f"deepchest {name}")
        started = time.perf_counter()
        printed = command("-m", "deepchest_cli", *words)
        seconds[name] = time.perf_counter() - started
    document: dict[str, Any] = json.loads(printed)
    shutil.rmtree(data)
    return {"seconds": seconds, **scores_of(document), **_training_of(run)}


def scores_of(document: dict[str, Any]) -> Figures:
    """Return the AUROC of an evaluation with its interval, by finding, and published ones."""
    macro = document["macro"]
    return {
        "split": document["split_name"] or document["split"],
        "images": document["images"],
        "patients": document["patients"],
        "auroc": _with_interval(macro, "auroc"),
        "average_precision": _with_interval(macro, "average_precision"),
        "findings": {
            name: _with_interval(metrics, "auroc") for name, metrics in document["findings"].items()
        },
        "published": {
            row["title"]: row["macro_auroc"] for row in document["references"]["rows"]
        },
    }  # fmt: skip


def _with_interval(metrics: dict[str, Any], name: str) -> Figures:
    interval = metrics["intervals"].get(name) or {"low": None, "high": None}
    return {"value": metrics[name], "low": interval["low"], "high": interval["high"]}


def _training_of(run: Path) -> Figures:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    config = (run / "config.toml").read_text(encoding="utf-8")
    weights = next(line for line in config.splitlines() if line.startswith("weights ="))
    return {
        "epochs": len(rows),
        "images_per_second": float(rows[-1]["images_per_second"]),
        "initial_weights": weights.partition("=")[2].strip().strip('"'),
    }


def machine(plan: Plan, progress: Progress) -> Figures:
    """Describe the machine, and take the bare step's rate, by which the time is estimated."""
    device = resolve_device(plan.device)
    progress("looking at the machine")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        doctor(DoctorConfig(), Terminal(json=True))
    config = plan.training(plan.small_data(progress), plan.batches[0], cache="none")
    facts: Figures = {
        "device": str(device),
        "device_name": processor(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "main_memory": _main_memory(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_of_convolutions": torch.backends.cudnn.allow_tf32,
        "nvidia_smi": _nvidia_smi(),
        "doctor": json.loads(printed.getvalue()),
        "rate": None,
        "precision": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device_name"] = properties.name
        facts["device_memory"] = properties.total_memory
        facts["compute_capability"] = f"{properties.major}.{properties.minor}"
        facts["multiprocessors"] = properties.multi_processor_count
    try:
        bare = BareStep(config, plan.steps)
        bare()
        facts |= {"rate": bare(), "precision": bare.setup.precision}
    except Exception as error:  # what fails is measured, and recorded, once more
        facts["rate_unavailable_reason"] = explain(error)
    return facts


def _main_memory() -> int | None:
    information = Path("/proc/meminfo")
    if not information.exists():
        return None
    return int(information.read_text().split()[1]) * 1024


def _nvidia_smi() -> list[dict[str, str]] | None:
    """Return what the driver says of each GPU; None where it has no program."""
    query = ["nvidia-smi", f"--query-gpu={','.join(NAMED)}", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [[cell.strip() for cell in line.split(",")] for line in lines.splitlines()]
    return [dict(zip(NAMED, row, strict=True)) for row in rows if len(row) == len(NAMED)]
