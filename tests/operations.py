"""Counts the operations of a training step by the part of the step that asks for them.

At small batches a GPU waits for the host to launch its kernels, so that a step takes as long as its
operations are many. Counted is what torch dispatches: an operation may launch several kernels, and
what the CPU computes for a GPU, as the draws of augmentation, counts as well.
"""

import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode

from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.forward import DTYPES
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Clock, Observer, StepReport

# part of a step by the innermost function that a row names; functions before their files
PLACES = {
    "deepchest_cli/data/": "input",
    "deepchest_cli/training/losses.py": "loss",
    "deepchest_cli/weighting/losses.py": "loss",
    "deepchest_cli/training/backward.py:_objective": "loss",
    "deepchest_cli/training/backward.py:task_logit_gradients": "loss",
    "tests/operations.py:bare_loss": "loss",
    "deepchest_cli/training/train_state.py": "record",
    "deepchest_cli/training/failures.py": "record",
    "deepchest_cli/training/": "model",
    "tests/operations.py:__call__": "model",
    "deepchest_cli/model/": "model",
    "deepchest_cli/weighting/": "weighter",
    "torch/optim/swa_utils.py": "EMA",
    "torch/optim/": "optimizer",
    "torch/amp/grad_scaler.py": "optimizer",
    "torch/nn/utils/clip_grad.py": "optimizer",
}
PARTS = ("input", "model", "loss", "weighter", "optimizer", "EMA", "record", "other")
# they allocate, mark a profile, or make a number that no device sees
FREE = ("aten.empty", "aten.new_empty", "profiler.", "aten.scalar_tensor")

Operations = Counter[tuple[str, str]]  # by part and name


class OperationCounter(TorchDispatchMode):
    """Counts what is computed while it is entered, but for views."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Operations = Counter()
        self._parts: dict[CodeType, str | None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and not str(func).startswith(FREE):
            self.operations[self._part(), str(func)] += 1
        return func(*args, **(kwargs or {}))

    def _part(self) -> str:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code not in self._parts:
                place = f"{code.co_filename}:{code.co_name}".replace("\\", "/")
                found = (part for beginning, part in PLACES.items() if beginning in place)
                self._parts[code] = next(found, None)
            if (part := self._parts[code]) is not None:
                return part
            frame = frame.f_back
        return "other"


def by_part(operations: Operations) -> dict[str, int]:
    """Return how many operations each part of a step has."""
    found = dict.fromkeys(PARTS, 0)
    for (part, _), number in operations.items():
        found[part] += number
    return found


class _LatestStep(Observer):
    """Keeps what a counter has found between the latest two steps of a run."""

    def __init__(self, counter: OperationCounter) -> None:
        self.counter = counter
        self.operations: Operations = Counter()

    def on_step(self, report: StepReport) -> None:
        self.operations = self.counter.operations.copy()
        self.counter.operations.clear()


def whole_step(components: TrainingComponents, folder: Path) -> Operations:
    """Return the operations of a step of the training loop: input, update and record.

    It is the last of an epoch: the first ones make what is kept between steps.
    """
    latest = _LatestStep(OperationCounter())
    trainer = Trainer(components, folder, latest)
    # batches are made in a thread otherwise, whose operations no counter of this one sees
    with mock.patch("deepchest_cli.training.loop.prefetch", iter), latest.counter:
        trainer._train_epoch(Clock())
    return latest.operations


class BareStep:
    """The same network on inputs that are ready, with cross-entropy and a fused optimizer."""

    def __init__(self, components: TrainingComponents) -> None:
        self.components, self.network = components, components.classifier.train()
        architecture, device = components.classifier.architecture, components.device
        batch, size = components.config.batch_size, architecture.image_size
        self.inputs = torch.randn(batch, 1, size, size, device=device).contiguous(
            memory_format=torch.channels_last
        )
        self.labels = torch.zeros(batch, len(architecture.findings), device=device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), fused=True)

    def __call__(self) -> None:
        """Take a step."""
        dtype, kind = DTYPES[self.components.precision], self.components.device.type
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            _, logits = self.network(self.inputs)
        self.optimizer.zero_grad(set_to_none=True)
        loss = bare_loss(logits, self.labels)
        loss.backward()
        self.optimizer.step()


def bare_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of logits (B, T)."""
    return binary_cross_entropy_with_logits(logits.float(), labels)


def bare_step(components: TrainingComponents) -> Operations:
    """Return the operations of a bare step: the second, as the first one makes what is kept."""
    step, counter = BareStep(components), OperationCounter()
    step()
    with counter:
        step()
    return counter.operations
