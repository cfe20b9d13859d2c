"""What each weighter costs: its own work, its step against that of `equal`, and peak memory.

All share one model and one batch, so that nothing but the weighter differs. With `--tasks` the
model has so many findings, of which the labels are drawn; with `--gradient-level parameters` the
weighters are those that need task gradients.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from our_epoch import prepared, read_options, synchronise

from deepchest_cli.data.batches import Batch, batches
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.training.losses import cross_entropy
from deepchest_cli.training.optimisation import build_optimizer
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.weighting import (
    WEIGHTERS,
    Context,
    GradientWeighter,
    TaskLosses,
    Weighter,
    build_weighter,
)

NEEDED = {"fixed": lambda tasks: {"weights": ",".join(f"{task}:1" for task in tasks)}}
OWN_ROUNDS = 50


@dataclass
class Candidate:
    """A weighter at work in the training step."""

    step: TrainingStep
    unused: Weighter  # the same, as it was before its first step
    seconds: list[float] = field(default_factory=list)
    peak: int = 0  # bytes


def chosen(options: argparse.Namespace) -> list[str]:
    """Return the weighters to compare, `equal` first."""
    names = options.only.split(",") if options.only else list(WEIGHTERS)
    if options.gradient_level == "parameters":
        names = [name for name in names if WEIGHTERS[name].kind == "gradient"]
    return ["equal", *(name for name in names if name != "equal")]


def with_tasks(setup: Setup, count: int) -> Setup:
    """Return a setup whose model has so many findings."""
    architecture = replace(
        setup.classifier.architecture, findings=tuple(f"finding {n}" for n in range(count))
    )
    classifier = Classifier(architecture).to(setup.device, memory_format=torch.channels_last)
    return replace(setup, classifier=classifier, label_loss=cross_entropy)


def candidates(setup: Setup, names: Sequence[str], level: str) -> dict[str, Candidate]:
    """Return each weighter in a training step of its own, on the same model."""
    findings = setup.classifier.architecture.findings
    context = Context(0, torch.full((len(findings),), 0.1), setup.config.epochs)
    found = {}
    for name in names:
        options = NEEDED[name](findings) if name in NEEDED else {}
        weighter = build_weighter(name, findings, options, context).to(setup.device)
        changed = replace(
            setup,
            weighter=weighter,
            optimizer=build_optimizer(setup.classifier, weighter, setup.config),
            config=replace(setup.config, gradient_level=level),
        )
        found[name] = Candidate(TrainingStep(changed), copy.deepcopy(weighter))
    return found


def own_work(candidate: Candidate, batch: Batch) -> float:
    """Return seconds a step of what the weighter does: forward, backward to the losses, update.

    The second forward pass of the network that `famo` asks for is not among them, and of task
    gradients not the computation but what is made of those by the features.
    """
    setup, device = candidate.step.setup, batch.labels.device
    weighter, known = candidate.unused, batch.known.sum(dim=0)
    values = torch.rand(batch.labels.shape[1], device=device) + 0.1
    logits, jacobian = torch.randn_like(batch.labels), None
    if isinstance(weighter, GradientWeighter):
        width = setup.classifier.task_layer.weight.shape[1]
        numbers = len(values) if weighter.ahead else len(logits) * width
        jacobian = torch.randn(len(values), numbers, device=device)
    started = time.perf_counter()
    for _ in range(OWN_ROUNDS):
        weighter.observe(logits, batch.labels, batch.known)
        leaf = values.clone().requires_grad_()
        if jacobian is None:
            weighter(TaskLosses(leaf, known)).backward()
        else:
            weighter(TaskLosses(values, known), jacobian)
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


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gradient-level", default="features", choices=("features", "parameters"))
    parser.add_argument("--tasks", type=int, help="findings of the model [those of the data]")
    parser.add_argument("--only", help="weighters, with commas between them [all]")


def main() -> None:
    options = read_options(__doc__, images=64, rounds=20, add_more=add_options)
    with prepared(options) as (_, epoch):
        setup = epoch.trainer.setup
        batch = next(batches(setup.reader, setup.training_rows, options.batch))
        if options.tasks:
            setup = with_tasks(setup, options.tasks)
            labels = (torch.rand(options.batch, options.tasks) < 0.1).float().to(setup.device)
            batch = replace(batch, labels=labels, known=torch.ones_like(labels, dtype=torch.bool))
        found = candidates(setup, chosen(options), options.gradient_level)
        setup.classifier.train()
        for number in range(options.rounds + 1):
            order = list(found.values())  # each begins a round in its turn
            for candidate in order[number % len(order) :] + order[: number % len(order)]:
                take(candidate, batch, number)
        for candidate in found.values():
            del candidate.seconds[0]  # the first round warms up
        report(found, batch, options)


def report(found: dict[str, Candidate], batch: Batch, options: argparse.Namespace) -> None:
    equal = found["equal"]
    step, tasks = statistics.median(equal.seconds), batch.labels.shape[1]
    parameters = sum(p.numel() for p in equal.step.setup.classifier.parameters())
    print(
        f"A step of equal: {1000 * step:.0f} ms, median of {options.rounds} rounds; {tasks} "
        f"findings, {parameters / 1e6:.1f} million parameters, by {options.gradient_level}"
    )
    print("| weighter | own work a step | share of a step | step against equal | peak |")
    print("|---|---|---|---|---|")
    for name, candidate in found.items():
        own = own_work(candidate, batch)
        print(
            f"| `{name}` | {1e6 * own:,.0f} µs | {own / step:.2%} | {ratio(candidate, equal)} "
            f"| {candidate.peak / 1e9:.2f} GB |"
        )


if __name__ == "__main__":
    main()
