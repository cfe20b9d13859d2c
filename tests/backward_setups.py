"""Components around a small model, and the gradients of a step with them, for tests."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tests_support import QUICK
from torch import Tensor

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import Batch
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.backward import StepResult
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.forward import DROPOUT, seed_of
from deepchest_cli.training.step import choose_backward
from deepchest_cli.training.tasks import Tasks
from deepchest_cli.weighting import GradientWeighter, TaskLosses, Weighter
from deepchest_cli.weighting.losses import task_losses

# every family of the reference, and others whose last layers differ; the smallest members
BACKBONES = {
    "small_cnn": 28,
    "vgg11": 32,
    "resnet18": 32,
    "efficientnet_b0": 32,
    "densenet121": 32,
    "mobilenet_v2": 32,
    "inception_v3": 75,
    "vit_b_32": 32,
    "swin_t": 32,
    "squeezenet1_1": 32,
    "shufflenet_v2_x0_5": 32,
    "convnext_tiny": 32,
}
LEVELS = ("features", "parameters")
TASKS = FINDINGS[:4]
SHARED = np.array([0, 0, 1, 2, 3, 3])  # finding of each task
# the tasks of a run: the findings, or several of two sources that share logits
TASK_SETS = {
    "finding": Tasks(TASKS, np.arange(4)),
    "finding-by-source": Tasks(
        tuple("abcdef"), SHARED, np.array([0, 1, 0, 0, 0, 1]), torch.from_numpy(SHARED)
    ),
}
BATCH = 6
CPU = torch.device("cpu")
Gradients = dict[str, Tensor]
MakeComponents = Callable[..., TrainingComponents]


class GivenWeighter(GradientWeighter):
    """Given weights; it keeps the jacobian that they were used on."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__(FINDINGS[: len(weights)])
        self.given, self.jacobian = weights, torch.empty(0)

    @property
    def weights(self) -> Tensor:
        return self.given

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        self.jacobian = jacobian.clone()
        return self.given.to(jacobian) @ jacobian


def batch_of(tasks: int = len(TASKS), device: torch.device = CPU) -> Batch:
    """Return labels of which some are unknown; of the second task all, of the first image too."""
    chance = torch.Generator().manual_seed(3)
    labels = (torch.rand(BATCH, tasks, generator=chance) < 0.4).float()
    known = torch.rand(BATCH, tasks, generator=chance) < 0.8
    known[0], known[:, 1] = False, False
    images = torch.zeros(BATCH, 1, 1, dtype=torch.uint8)
    present = tuple(np.flatnonzero(known.any(dim=0).numpy()).tolist())
    return Batch(images.to(device), labels.to(device), known.to(device), present)


def maker(data: Any) -> MakeComponents:
    """Return a function that puts a new model and a weighter into components built once."""
    settings = {"weighter": "mgda", "precision": "fp32", "batch_size": BATCH}
    config = TrainConfig(data=(str(data),), **QUICK | settings | {"backbone": "small_cnn"})
    built = build_components(config)

    def make(
        weighter: Weighter,
        backbone: str = "small_cnn",
        head: str = "linear",
        size: int | None = None,
        tasks: Tasks | None = None,
        **changes: Any,
    ) -> TrainingComponents:
        size = size or BACKBONES[backbone]
        tasks = tasks or Tasks(weighter.tasks, np.arange(len(weighter.tasks)))
        findings = FINDINGS[: tasks.finding.max() + 1]
        torch.manual_seed(0)
        classifier = Classifier(Architecture(backbone, head, findings, size, size)).train()
        # away from heads of hardly any weight
        torch.nn.init.normal_(classifier.task_layer.weight, std=0.1)
        weighter.to(built.device)
        changed = replace(built.config, **changes)
        precision = changed.precision
        return replace(
            built,
            config=changed,
            precision=precision,
            classifier=classifier.to(built.device),
            weighter=weighter,
            tasks=tasks,
        )

    return make


def radiographs_for(components: TrainingComponents) -> Tensor:
    """Return the same network input of a batch whenever it is asked for."""
    size = components.classifier.architecture.image_size
    made = torch.randn(BATCH, 1, size, size, generator=torch.Generator().manual_seed(1))
    return made.to(components.device)


def gradients(
    components: TrainingComponents, micro_batches: int = 1
) -> tuple[StepResult, Gradients]:
    """Back-propagate a batch, and return the gradient of every parameter by name."""
    components.classifier.zero_grad()
    chunks = list(radiographs_for(components).chunk(micro_batches))
    batch = batch_of(len(components.tasks.names), components.device)
    result = choose_backward(components)(chunks, batch, 0)
    named = components.classifier.named_parameters()
    return result, {name: p.grad.clone() for name, p in named if p.grad is not None}


def same(found: Gradients, expected: Gradients, tolerance: float = 1e-5) -> bool:
    """Whether tensors agree to a fraction of the largest number among them all."""
    assert found.keys() == expected.keys()
    largest = max(tensor.abs().max().item() for tensor in expected.values())
    assert largest > 0
    return all(
        bool((found[k] - tensor).abs().max() <= tolerance * largest)
        for k, tensor in expected.items()
    )


def relative_difference(found: Gradients, expected: Gradients) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    one, other = (torch.cat([t.flatten() for t in x.values()]) for x in (found, expected))
    return float((one - other).norm() / other.norm())


def scaler_for(precision: str) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=2.0**6, enabled=precision == "fp16")


def expected_norms(components: TrainingComponents, parameters: list[Tensor]) -> Tensor:
    """Return the norm of each task's gradient by the parameters, by plain back-propagation."""
    batch = batch_of(len(components.tasks.names))
    torch.manual_seed(seed_of(DROPOUT, components.config.seed, 0, 0, 0))
    logits = components.tasks.expand(components.classifier(radiographs_for(components))[1])
    losses = task_losses(logits, batch.labels, batch.known)
    rows = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for loss in losses.values
    ]
    return torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows])
