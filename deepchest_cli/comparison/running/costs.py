"""The cost of a step of each weighter, measured apart from the training.

Steps are timed in turn on one model, so that noise affects all alike: several back to back, as
training takes them, and one with a wait for the device before and after it. A GPU computes while
the process prepares what follows, so that a step is shorter in a row of steps than alone.
"""

import copy
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from deepchest_cli.comparison.running.comparison import TrainedComparison
from deepchest_cli.comparison.running.jobs import BASELINE, Arm, train_config
from deepchest_cli.config import CompareConfig, TrainConfig, parse_assignments
from deepchest_cli.config.flags import NONE
from deepchest_cli.data.batches import Batch, batches
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.device_errors import explain_device
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.task import Report, Task
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.statistics import half_width
from deepchest_cli.files import write_json
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.device import (
    cpu_threads,
    free_memory,
    peak_memory,
    reset_peak_memory,
    synchronize,
)
from deepchest_cli.training.freezing import frozen_part
from deepchest_cli.training.optimization import MovingAverage, build_optimizer
from deepchest_cli.training.recomputation import recompute_blocks
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.tasks import Tasks
from deepchest_cli.weighting import Context, Weighter, build_weighter
from deepchest_cli.weighting.losses import cross_entropy
from deepchest_cli.weighting.own import COMPOSITE
from deepchest_cli.weighting.registry import find_weighter

COSTS = "costs.json"
PREVALENCE = 0.1  # of synthetic labels
BACK_TO_BACK = 5  # steps between two waits for the device

Costs = dict[str, dict[str, Any]]  # by the arm's label
Progress = Callable[[int, int], None]


@dataclass
class Candidate:
    """A weighter in a training step, with its measurements by round."""

    step: TrainingStep
    unused: Weighter  # a copy from before its first step
    seconds: list[float] = field(default_factory=list)  # a step of several back to back
    synchronized_seconds: list[float] = field(default_factory=list)  # a step between two waits
    peak_memory_by_round: list[int] = field(default_factory=list)  # bytes; empty if unavailable


def prepare_cost(
    config: TrainConfig, dataset: RadiographDataset, tasks: int | None = None
) -> tuple[TrainingComponents, Batch]:
    """Return a model and one batch; with `tasks`, that many findings have synthetic labels."""
    # the values of the weights do not matter to the time of a step
    drawn = replace(config, weights=NONE, weights_sha256=None, cache="none")  # one batch is read
    components = build_components(drawn, dataset=dataset)
    batch = next(batches(components.reader, components.training_rows, config.batch_size))
    if tasks is None:
        return components, batch
    names = tuple(f"finding {number}" for number in range(tasks))
    architecture = replace(components.classifier.architecture, findings=names)
    classifier = Classifier(architecture, None, config.drop_path, config.dropout)
    classifier.to(components.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = (torch.rand(config.batch_size, tasks) < PREVALENCE).float().to(components.device)
    known = torch.ones_like(labels, dtype=torch.bool)
    frozen = frozen_part(config, classifier.trunk)
    frozen.begin_epoch(classifier, 1)
    ema_model = MovingAverage(classifier, config.ema) if config.ema else None
    recompute_blocks(classifier.trunk, config)
    components = replace(
        components,
        classifier=classifier,
        frozen=frozen,
        ema_model=ema_model,
        optimizer=build_optimizer(classifier, components.weighter, config),
        label_loss=cross_entropy,
        tasks=Tasks(names, np.arange(tasks)),
    )
    return components, replace(batch, labels=labels, known=known)


def candidates(
    components: TrainingComponents, configs: Mapping[str, TrainConfig]
) -> dict[str, Candidate]:
    """Return the weighter of each configuration in a training step of its own, on one model."""
    tasks = components.tasks.names
    context = Context(0, torch.full((len(tasks),), PREVALENCE), components.config.epochs)
    # all optimizers share their moments, each set of which would be as large as the model, or twice
    moments: dict[torch.Tensor, Any] = {p: {} for p in components.classifier.parameters()}
    measured = {}
    for name, config in configs.items():
        options = parse_assignments(config.weighter_option, f"--weighters {name}:")
        weighter = build_weighter(config.weighter, tasks, options, context, config.weighter_sha256)
        weighter.to(components.device)
        optimizer = build_optimizer(components.classifier, weighter, components.config)
        optimizer.state.update(moments)
        level = replace(components.config, gradient_level=config.gradient_level)
        changed = replace(components, weighter=weighter, optimizer=optimizer, config=level)
        measured[name] = Candidate(TrainingStep(changed), copy.deepcopy(weighter))
    return measured


def measure(
    measured: dict[str, Candidate], batch: Batch, rounds: int, steps: int | None = None
) -> None:
    """Time steps of every candidate in each round, in rotated order, after a step of warm-up.

    steps: back to back; None: as many as suit the device. A candidate that fails is removed from
    `measured`; the first one's error is raised, and that of a device that has failed.
    """
    steps = steps or steps_back_to_back(batch.labels.device)
    names = list(measured)
    for number in range(-1, rounds):  # -1: the warm-up
        turn = max(number, 0) % len(names)
        for name in names[turn:] + names[:turn]:
            try:
                if number < 0:
                    _seconds_a_step(measured[name], batch, 0)
                elif name in measured:
                    _take_turn(measured[name], batch, number, steps)
            except (Exception, SystemExit) as error:  # of a weighter of one's own anything
                if name == names[0] or explain_device(error) is not None:
                    raise
                del measured[name]


def steps_back_to_back(device: torch.device) -> int:
    """Return how many steps are timed between two waits; a CPU has finished a step at its end."""
    return 1 if device.type == "cpu" else BACK_TO_BACK


def _take_turn(candidate: Candidate, batch: Batch, number: int, steps: int) -> None:
    """Time the steps of round `number`."""
    device, first = batch.labels.device, 1 + number * (steps + 1)
    reset_peak_memory(device)
    if device.type != "cpu":  # memory of the size that another candidate has not needed
        _seconds_a_step(candidate, batch, first)
    alone = together = _seconds_a_step(candidate, batch, first)
    if steps > 1:
        together = _seconds_a_step(candidate, batch, first + 1, steps)
    candidate.synchronized_seconds.append(alone)
    candidate.seconds.append(together)
    peak = peak_memory(device)
    if peak is not None:
        candidate.peak_memory_by_round.append(peak)


def _seconds_a_step(candidate: Candidate, batch: Batch, first: int, steps: int = 1) -> float:
    """Return the seconds of a step, of `steps` that are taken without a wait between them."""
    components, device = candidate.step.components, batch.labels.device
    components.frozen.begin_epoch(components.classifier, 1)
    synchronize(device)
    started = time.perf_counter()
    for number in range(first, first + steps):
        candidate.step(batch, number)
    synchronize(device)
    return (time.perf_counter() - started) / steps


@dataclass(frozen=True)
class Ratio:
    """The geometric mean over the rounds of a ratio of step times, with its 95 % interval."""

    estimate: float
    low: float
    high: float


def ratio(seconds: Sequence[float], others: Sequence[float]) -> Ratio:
    """Return the geometric mean of the ratios of step times in the same rounds."""
    logs = [math.log(one / other) for one, other in zip(seconds, others, strict=True)]
    mean, half = statistics.mean(logs), half_width(logs)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def cost_of(candidate: Candidate, baseline: Candidate, passes: str) -> dict[str, Any]:
    """Return a weighter's measurements in plain values."""
    components = candidate.step.components
    step = _times("", candidate.seconds, baseline.seconds)
    return {
        **step,
        "images_per_second": components.config.batch_size / step["step_seconds"],
        **_times("synchronized_", candidate.synchronized_seconds, baseline.synchronized_seconds),
        "steps_back_to_back": steps_back_to_back(components.device),
        "peak_memory": max(candidate.peak_memory_by_round, default=None),
        "peak_memory_by_round": list(candidate.peak_memory_by_round),
        "device": components.device.type,
        "passes": passes,
        "state_bytes": _bytes(components.weighter.state_dict()),
    }


def _times(prefix: str, seconds: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Return the times of a step by round, their median and their ratio to the baseline's."""
    times = ratio(seconds, others)
    return {
        f"{prefix}step_seconds": statistics.median(seconds),
        f"{prefix}ratio": times.estimate,
        f"{prefix}ratio_low": times.low,
        f"{prefix}ratio_high": times.high,
        f"{prefix}step_seconds_by_round": list(seconds),
    }


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, value))
    return 0


def measure_costs(
    config: CompareConfig, arms: Sequence[Arm], dataset: RadiographDataset, tasks: int | None = None
) -> Costs:
    """Return each arm's cost: all take steps in turn, on one model and one batch.

    An arm that cannot take a step, for lack of memory for instance, has no entry.
    """
    device = config.device_list[0]
    configs = {arm.label: replace(train_config(config, arm, 0), device=device) for arm in arms}
    components, batch = prepare_cost(configs[arms[0].label], dataset, tasks)
    measured = candidates(components, configs)
    with cpu_threads(config.threads):
        measure(measured, batch, config.cost_rounds)
    baseline, tasks = measured[arms[0].label], batch.labels.shape[1]
    costs = {
        arm.label: cost_of(measured[arm.label], baseline, _passes_of(arm, config, tasks))
        for arm in arms
        if arm.label in measured
    }
    del components, batch, measured, baseline
    free_memory()
    return costs


def _passes_of(arm: Arm, config: CompareConfig, tasks: int) -> str:
    """Return the forward and backward passes of a step in words."""
    info = find_weighter(arm.weighter.removeprefix(COMPOSITE))
    if arm.needs_gradients and config.gradient_level == "parameters":
        return f"1 forward, {tasks} backward"
    return info.passes


def load_or_measure_costs(comparison: TrainedComparison) -> Costs:
    """Return the costs of the finished arms, measured anew unless the folder has those of the same.

    Where nothing was trained this time, costs of another device count: those where it was trained.
    Without the baseline among them there are no costs, since all are relative to it.
    """
    config, arms = comparison.config, comparison.finished_arms
    if BASELINE not in {arm.label for arm in arms}:
        return {}
    path = comparison.folder / COSTS
    labels = [arm.label for arm in arms]
    wanted = [config.device_list[0], config.cost_rounds, BACK_TO_BACK, *labels]
    with suppress(OSError, ValueError, KeyError, TypeError):  # missing or damaged: measured anew
        kept = json.loads(path.read_text(encoding="utf-8"))
        costs: Costs = kept["costs"]
        device, *same = kept["measured"]
        if same == wanted[1:] and (device == wanted[0] or not comparison.newly_trained):
            return costs
    costs = _measured(comparison)
    write_json(path, {"measured": wanted, "costs": costs})
    return costs


def _measured(comparison: TrainedComparison) -> Costs:
    """Measure in this process, or on one worker of a cluster, which does nothing else then."""
    config, arms, engine = comparison.config, comparison.finished_arms, comparison.engine
    if config.dask is None or engine is None:
        return measure_costs(config, arms, _view(comparison.dataset, config))
    folders = tuple(str(member.folder.absolute()) for member in comparison.dataset.members)
    argument = replace(config, dask=None, data=folders), tuple(arms)
    task = Task("costs", "The cost of a step", _measure_elsewhere, argument)
    ((_, outcome),) = drive([task], engine, lambda _: None, lambda _: None)
    if isinstance(outcome, BaseException):
        raise outcome
    costs: Costs = outcome
    return costs


def _measure_elsewhere(
    argument: tuple[CompareConfig, tuple[Arm, ...]], device: str | None, report: Report
) -> Costs:
    config, arms = argument
    return measure_costs(config, arms, _view(open_datasets(config.data), config))


def _view(dataset: RadiographDataset, config: CompareConfig) -> RadiographDataset:
    return dataset if config.folds is None else dataset.folded(0, config.folds, config.first_seed)


def cost_tables(
    config: CompareConfig, arms: Sequence[Arm], dataset: RadiographDataset, progress: Progress
) -> list[dict[str, Any]]:
    """Return the costs for each requested backbone and number of findings."""
    backbones = _split(config.cost_backbones) or [config.backbone]
    counts: Sequence[int | None] = _task_counts(config.cost_tasks) or [None]
    tables = []
    for backbone in backbones:
        for tasks in counts:
            costs = measure_costs(
                replace(config, backbone=backbone, backbone_sha256=None), arms, dataset, tasks
            )
            number = tasks or len(dataset.findings)
            tables.append({"backbone": backbone, "findings": number, "costs": costs})
            progress(len(tables), len(backbones) * len(counts))
    return tables


def _split(text: str | None) -> list[str]:
    return [entry for entry in (text or "").replace(" ", "").split(",") if entry]


def _task_counts(text: str | None) -> list[int]:
    entries = _split(text)
    if not all(entry.isdecimal() and int(entry) > 0 for entry in entries):
        raise UsageError(
            f"--cost-tasks should be whole numbers above 0 with commas between. Found {text!r}.",
            "For instance: --cost-tasks 2,14,56",
        )
    return [int(entry) for entry in entries]
