"""Rates of training and prediction for `gpu.py`, measured in turn; each part in its own process."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from bare_step import BareStep
from gpu_plan import Figures, Plan, Progress
from interleaved import Measure, in_turn
from our_epoch import OurEpoch

from deepchest_cli.comparison.running.costs import measure_costs, ratio
from deepchest_cli.comparison.running.jobs import BASELINE, Arm
from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.data.batches import batches
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import resolve_device, synchronize
from deepchest_cli.training.step import TrainingStep

EAGER, COMPILED = "eager", "compiled"
EPOCH, STEP, BARE = "epoch of training", "training step", "bare step"
CHANNELS_LAST, CONTIGUOUS = "channels last", "contiguous"
OPTIONS = {"fixed": ("weights=" + ",".join(f"{finding}:1" for finding in FINDINGS),)}


def explain(error: BaseException) -> str:
    """Return an error in one line."""
    if isinstance(error, DeepChestError):
        return error.message
    first = (str(error).strip() or "no message").splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"Out of memory: {first}"
    return f"{type(error).__name__}: {first}"


class OurSteps:
    """Training steps of a run on one batch, back to back: without loading and record."""

    def __init__(self, config: TrainConfig, steps: int) -> None:
        components = build_components(config)
        rows = components.training_rows
        self.batch = next(batches(components.reader, rows, config.batch_size))
        self.step, self.steps = TrainingStep(components), steps

    def __call__(self) -> float:
        """Return the rate in images a second."""
        started = time.perf_counter()
        for number in range(self.steps):
            self.step(self.batch, number)
        synchronize(self.step.components.device)
        return self.steps * len(self.batch.labels) / (time.perf_counter() - started)


class Predicting:
    """Predictions for the validation split as training makes them, in one of two layouts."""

    def __init__(self, config: TrainConfig, layout: str) -> None:
        self.components = build_components(config)
        if layout == CONTIGUOUS:  # the product has but one
            classifier = self.components.classifier
            classifier.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            classifier.register_forward_pre_hook(_with_contiguous_strides)

    def __call__(self) -> float:
        """Return the rate in images a second."""
        components, rows = self.components, self.components.validation_rows
        started = time.perf_counter()
        predict_rows(
            components.classifier, components.reader, rows, components.micro_batch_size
        )  # which fetches the predictions, and so waits for them
        return len(rows) / (time.perf_counter() - started)


def _with_contiguous_strides(
    module: torch.nn.Module, inputs: tuple[torch.Tensor]
) -> tuple[torch.Tensor]:
    # one channel is the same memory in both layouts, but its strides choose a network's kernels
    return (inputs[0].flatten(1).view(inputs[0].shape),)


class Candidate:
    """A measurement that is built when it is first called, and the peak memory that it takes."""

    def __init__(
        self, build: Callable[[], Measure], device: torch.device, said: Callable[[], None]
    ):
        self.build, self.device, self.said = build, device, said
        self.measure: Measure | None = None
        self.peak_memory: int | None = None  # bytes of tensors, model and optimizer included

    def __call__(self) -> float:
        """Return the rate in images a second."""
        if self.measure is not None:
            return self.measure()
        self.said()
        on_gpu = self.device.type == "cuda"
        gc.collect()  # what one that has failed has left
        if on_gpu:
            torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(self.device) if on_gpu else 0
        self.measure = self.build()
        self.measure()  # compiles and chooses kernels
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        rate = self.measure()
        if on_gpu:
            self.peak_memory = torch.cuda.max_memory_allocated(self.device) - before
        return rate


def rates_of(
    plan: Plan,
    build: Mapping[str, Callable[[], Measure]],
    reference: Mapping[str, str],
    progress: Progress,
) -> Figures:
    """Return rate, ratio to its reference and peak memory of each candidate, or why it failed."""
    reasons: dict[str, str] = {}
    device = resolve_device(plan.device)
    candidates = {
        name: Candidate(one, device, partial(progress, f"first steps: {name}"))
        for name, one in build.items()
    }
    rates = in_turn(
        candidates,
        plan.rounds,
        lambda name, error: reasons.update({name: explain(error)}),
        lambda number: progress(f"round {number} of {plan.rounds}"),
    )
    entries: Figures = {}
    for name in build:
        if name in reasons:
            entries[name] = {"reason": reasons[name]}
            continue
        other = rates.get(reference[name])
        found = None if other is None else ratio(rates[name], other)
        entries[name] = {
            "images_per_second": statistics.median(rates[name]),
            "images_per_second_by_round": rates[name],
            "reference": reference[name],
            "ratio": found and {"value": found.estimate, "low": found.low, "high": found.high},
            "peak_memory": candidates[name].peak_memory,
        }
    if len(reasons) == len(build):
        raise RuntimeError("; ".join(dict.fromkeys(reasons.values())))
    return {"rates": entries}


def _modes(plan: Plan, batch: int) -> list[str]:
    return [EAGER, COMPILED] if batch in plan.compiled else [EAGER]


def steps(plan: Plan, progress: Progress, batch: int) -> Figures:
    """Measure training steps in each precision, eager and compiled, relative to fp32, eager."""
    data, build = plan.small_data(progress), {}
    for precision in plan.precisions:
        for mode in _modes(plan, batch):
            config = plan.training(
                data, batch, precision=precision, compile=mode == COMPILED, cache="none"
            )
            build[f"{precision}, {mode}"] = partial(OurSteps, config, plan.steps)
    reference = dict.fromkeys(build, f"{plan.precisions[0]}, {EAGER}")
    return {"batch": batch, **rates_of(plan, build, reference, progress)}


def share(plan: Plan, progress: Progress, batch: int) -> Figures:
    """Measure epochs of the training loop and single steps of it over the bare step."""
    data, build, reference = plan.small_data(progress), {}, {}
    # once: a CPU measures which is faster, and could choose another one the second time
    precision = build_components(plan.training(data, batch, cache="none")).precision
    for mode in _modes(plan, batch):
        config = plan.training(data, batch, compile=mode == COMPILED, precision=precision)
        folder, number = plan.new_run(), plan.images // batch
        build[f"{EPOCH}, {mode}"] = partial(OurEpoch, config, folder)
        build[f"{STEP}, {mode}"] = partial(OurSteps, config, number)
        build[f"{BARE}, {mode}"] = partial(BareStep, config, number)
        reference |= {f"{name}, {mode}": f"{BARE}, {mode}" for name in (EPOCH, STEP, BARE)}
    return {"batch": batch, **rates_of(plan, build, reference, progress)}


def validation(plan: Plan, progress: Progress, batch: int) -> Figures:
    """Measure predictions in the product's layout, channels last, and in the contiguous one."""
    config = plan.training(plan.small_data(progress), batch)
    layouts = (CHANNELS_LAST, CONTIGUOUS)
    build = {layout: partial(Predicting, config, layout) for layout in layouts}
    reference = dict.fromkeys(layouts, CONTIGUOUS)
    return {"batch": batch, **rates_of(plan, build, reference, progress)}


def weighters(plan: Plan, progress: Progress, level: str) -> Figures:
    """Measure the cost of a step of each weighter, as `deepchest compare-weighters` does."""
    names = [name for name in plan.weighters if name != BASELINE]
    arms = [Arm(name, name, OPTIONS.get(name, ())) for name in (BASELINE, *names)]
    arms = [arm for arm in arms if level == "features" or arm.needs_gradients or arm is arms[0]]
    config = CompareConfig(
        data=(str(plan.small_data(progress)),),
        backbone=plan.backbone,
        image_size=plan.size,
        batch_size=plan.batches[0],
        device=plan.device,
        weights="none",
        cache="none",
        gradient_level=level,  # type: ignore[arg-type]
        cost_rounds=2 * plan.rounds,
    )
    progress(f"{len(arms)} weighters in turn")
    costs = measure_costs(config, arms, open_datasets(config.data))
    missing = [arm.label for arm in arms if arm.label not in costs]
    return {"batch": config.batch_size, "level": level, "costs": costs, "failed": missing}
