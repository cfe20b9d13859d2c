"""What each weighter costs: its own work, its step against that of `equal`, and peak memory.

All share one model and one batch, so that nothing but the weighter differs.
"""

import math
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from our_epoch import prepared, read_options, synchronise

from deepchest_cli.data.batches import Batch, batches
from deepchest_cli.training.optimisation import build_optimizer
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.weighting import WEIGHTERS, Context, TaskLosses, build_weighter

NEEDED = {"fixed": lambda tasks: {"weights": ",".join(f"{task}:1" for task in tasks)}}
OWN_ROUNDS = 200


@dataclass
class Candidate:
    """A weighter at work in the training step."""

    step: TrainingStep
    seconds: list[float] = field(default_factory=list)
    peak: int = 0  # bytes


def candidates(setup: Setup) -> dict[str, Candidate]:
    """Return every weighter in a training step of its own, on the same model."""
    findings = setup.dataset.findings
    context = Context(0, torch.full((len(findings),), 0.1), setup.config.epochs)
    found = {}
    for name in ["equal", *(other for other in WEIGHTERS if other != "equal")]:
        options = NEEDED[name](findings) if name in NEEDED else {}
        weighter = build_weighter(name, findings, options, context).to(setup.device)
        optimizer = build_optimizer(setup.classifier, weighter, setup.config)
        changed = replace(setup, weighter=weighter, optimizer=optimizer)
        found[name] = Candidate(TrainingStep(changed))
    return found


def own_work(candidate: Candidate, batch: Batch) -> float:
    """Return seconds a step of what the weighter does: forward, backward to the losses, update.

    The second forward pass of the network that `famo` asks for is not among them.
    """
    weighter, device = candidate.step.setup.weighter, batch.labels.device
    known = batch.known.sum(dim=0)
    values = torch.rand(batch.labels.shape[1], device=device) + 0.1
    logits = torch.randn_like(batch.labels)
    started = time.perf_counter()
    for _ in range(OWN_ROUNDS):
        weighter.observe(logits, batch.labels, batch.known)
        leaf = values.clone().requires_grad_()
        weighter(TaskLosses(leaf, known)).backward()
        weighter.after_step(lambda: TaskLosses(values, known))
    synchronise(device)
    return (time.perf_counter() - started) / OWN_ROUNDS


def take(candidate: Candidate, batch: Batch, number: int) -> None:
    """Take a step and note its time and the most memory that the process has held in it."""
    device = batch.labels.device
    reset_peak(device)
    started = time.perf_counter()
    candidate.step(batch, number)
    synchronise(device)
    candidate.seconds.append(time.perf_counter() - started)
    candidate.peak = max(candidate.peak, peak(device))


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def ratio(candidate: Candidate, equal: Candidate) -> str:
    """Return the mean of the rounds' ratios with its 95 % interval."""
    ratios = [a / b for a, b in zip(candidate.seconds, equal.seconds, strict=True)]
    middle = statistics.mean(ratios)
    reach = 1.96 * statistics.stdev(ratios) / math.sqrt(len(ratios))
    return f"{middle:.3f} ({middle - reach:.3f} to {middle + reach:.3f})"


def main() -> None:
    options = read_options(__doc__, images=64, rounds=20)
    with prepared(options) as (_, epoch):
        setup = epoch.trainer.setup
        batch = next(batches(setup.reader, setup.training_rows, options.batch))
        found = candidates(setup)
        setup.classifier.train()
        for number in range(options.rounds + 1):
            for candidate in found.values():
                take(candidate, batch, number)
        for candidate in found.values():
            del candidate.seconds[0]  # the first round warms up
        equal = found["equal"]
        step = statistics.median(equal.seconds)
        print(f"A step of equal: {1000 * step:.0f} ms, median of {options.rounds} rounds")
        print("| weighter | own work a step | share of a step | step against equal | peak |")
        print("|---|---|---|---|---|")
        for name, candidate in found.items():
            own = own_work(candidate, batch)
            print(
                f"| `{name}` | {1e6 * own:.0f} µs | {own / step:.2%} | {ratio(candidate, equal)} "
                f"| {candidate.peak / 1e9:.2f} GB |"
            )


if __name__ == "__main__":
    main()
