"""What each weighter costs: its own work, its step against that of `equal`, and peak memory.

All share one model and one batch, so that nothing but the weighter differs. With `--tasks` the
model has so many findings, of which the labels are drawn; with `--gradient-level parameters` the
weighters are those that need task gradients.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from our_epoch import prepared, read_options

from deepchest_cli.comparison.running.costs import (
    Candidate,
    Ratio,
    candidates,
    measure,
    prepare_cost,
    ratio,
)
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import Batch
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.device import synchronize
from deepchest_cli.weighting import WEIGHTERS, GradientWeighter, TaskLosses

NEEDED = {"fixed": lambda tasks: ("weights=" + ",".join(f"{task}:1" for task in tasks),)}
OWN_ROUNDS = 50


def chosen(options: argparse.Namespace) -> list[str]:
    """Return the weighters to compare, `equal` first."""
    names = options.only.split(",") if options.only else list(WEIGHTERS)
    if options.gradient_level == "parameters":
        names = [name for name in names if WEIGHTERS[name].kind == "gradient"]
    return ["equal", *(name for name in names if name != "equal")]


def configs(setup: TrainingComponents, names: Sequence[str], level: str) -> dict[str, TrainConfig]:
    """Return what each weighter is trained with."""
    tasks = setup.classifier.architecture.findings
    return {
        name: replace(
            setup.config,
            weighter=name,
            weighter_option=NEEDED[name](tasks) if name in NEEDED else (),
            gradient_level=level if WEIGHTERS[name].kind == "gradient" else "features",
        )
        for name in names
    }


def own_work(candidate: Candidate, batch: Batch) -> float:
    """Return seconds a step of what the weighter does: forward, backward to the losses, update.

    The second forward pass of the network that `famo` asks for is not among them, and of task
    gradients not the computation but what is made of those by the features.
    """
    setup, device = candidate.step.components, batch.labels.device
    weighter, known = candidate.unused, batch.known.sum(dim=0)
    values = torch.rand(batch.labels.shape[1], device=device) + 0.1
    logits, jacobian = torch.randn_like(batch.labels), None
    if isinstance(weighter, GradientWeighter):
        width = setup.classifier.task_layer.weight.shape[1]
        numbers = len(values) if weighter.uses_previous_weights else len(logits) * width
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
    synchronize(device)
    return (time.perf_counter() - started) / OWN_ROUNDS


def written(found: Ratio) -> str:
    return f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gradient-level", default="features", choices=("features", "parameters"))
    parser.add_argument("--tasks", type=int, help="findings of the model [those of the data]")
    parser.add_argument("--back-to-back", type=int, help="steps between two waits [5; 1 on a CPU]")
    parser.add_argument("--only", help="weighters, with commas between them [all]")


def main() -> None:
    options = read_options(__doc__, images=64, rounds=20, add_more=add_options)
    with prepared(options) as (_, epoch):
        setup = epoch.trainer.components
        setup, batch = prepare_cost(setup.config, setup.dataset, options.tasks)
        found = candidates(setup, configs(setup, chosen(options), options.gradient_level))
        measure(found, batch, options.rounds, options.back_to_back)
        report(found, batch, options)


def report(found: dict[str, Candidate], batch: Batch, options: argparse.Namespace) -> None:
    equal = found["equal"]
    step, tasks = statistics.median(equal.seconds), batch.labels.shape[1]
    parameters = sum(p.numel() for p in equal.step.components.classifier.parameters())
    print(
        f"A step of equal: {1000 * step:.0f} ms, median of {options.rounds} rounds; {tasks} "
        f"findings, {parameters / 1e6:.1f} million parameters, by {options.gradient_level}"
    )
    print("| weighter | own work a step | share of a step | step against equal | alone | peak |")
    print("|---|---|---|---|---|---|")
    for name, candidate in found.items():
        own = own_work(candidate, batch)
        print(
            f"| `{name}` | {1e6 * own:,.0f} µs | {own / step:.2%} "
            f"| {written(ratio(candidate.seconds, equal.seconds))} "
            f"| {written(ratio(candidate.synchronized_seconds, equal.synchronized_seconds))} "
            f"| {max(candidate.peak_memory_by_round, default=0) / 1e9:.2f} GB |"
        )


if __name__ == "__main__":
    main()
