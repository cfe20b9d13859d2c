"""Where in a radiograph a logit comes from: class activation map and Grad-CAM.

CAM (Zhou et al. 2016): the sum over channels of the finding's weight times the last feature map;
exact where features are the means of that map and the head is linear. Grad-CAM (Selvaraju et al.
2017): the same with the mean gradient of the logit in place of the weight, and nothing below zero.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Classifier

TOLERANCE = 1e-3  # of features against the mean of the map, relative to their size


@dataclass(frozen=True)
class Maps:
    """Maps (B, h, w) of one finding for each radiograph; CAM is None where it does not apply."""

    grad_cam: Tensor
    cam: Tensor | None


def map_layer(classifier: Classifier, radiograph: Tensor) -> str:
    """Return the name of the trunk's module with the last map (B, C, h, w) larger than a point.

    radiograph: (1, 1, S, S), as the network takes it. Raises `UsageError` for a backbone without.
    """
    backbone = classifier.architecture.backbone
    names: list[str] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
                names.append(name)

        return hook

    handles = [m.register_forward_hook(note(n)) for n, m in classifier.trunk.named_modules() if n]
    try:
        with torch.no_grad():
            classifier(radiograph)
    finally:
        for handle in handles:
            handle.remove()
    if not names or backbone.startswith("vit_"):  # its only map is that of the patches it reads
        raise UsageError(
            f"Backbone {backbone!r} has no feature map to locate findings by.",
            "Use a convolutional backbone.",
        )
    return names[-1]


@contextmanager
def _captured_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that receives a module's output of every forward pass."""
    outputs: list[Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may work in place

    handle = module.register_forward_hook(hook)
    try:
        yield outputs
    finally:
        handle.remove()


def attribution_maps(
    classifier: Classifier, radiographs: Tensor, columns: Tensor, layer: str
) -> Maps:
    """Return the maps of one finding for each radiograph.

    radiographs: (B, 1, S, S), as the network takes them; columns: (B,), which logit of each;
    layer: from `map_layer`. The classifier is in evaluation mode; no gradient is left behind.
    """
    with torch.enable_grad(), _captured_output(classifier.trunk.get_submodule(layer)) as outputs:
        # frozen weights make no graph, but an input that asks for a gradient does
        features, logits = classifier(radiographs.detach().requires_grad_())
        chosen = logits.gather(1, columns[:, None]).sum()
        gradient = torch.autograd.grad(chosen, outputs[-1])[0]
    values = outputs[-1].detach()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    grad_cam = (weights * values).sum(dim=1).relu()
    return Maps(grad_cam, _cam(classifier, values, features.detach(), columns))


def _cam(
    classifier: Classifier, values: Tensor, features: Tensor, columns: Tensor
) -> Tensor | None:
    """Return the CAM (B, h, w) where the features are the means of the map, else None."""
    task = classifier.task_layer
    if not isinstance(task, nn.Linear) or values.shape[1] != task.in_features:
        return None
    for pooled in (values, values.relu()):  # DenseNet takes the positive part before the mean
        difference = (pooled.mean(dim=(2, 3)) - features).abs().max()
        if difference <= TOLERANCE * features.abs().max():
            return torch.einsum("bc,bchw->bhw", task.weight.detach()[columns], pooled)
    return None
