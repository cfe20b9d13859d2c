"""Where in a radiograph a logit comes from: class activation map and Grad-CAM.

CAM (Zhou et al. 2016): the sum over channels of the finding's weight times the last feature map;
exact where features are the means of that map and the head is linear. Grad-CAM (Selvaraju et al.
2017): the same with the mean gradient of the logit in place of the weight, and nothing below zero.
Of tokens each has its own gradient in the sum (HiResCAM, Draelos and Carin 2020): the mean over
tokens would lose where the class token looks, and is the same where the mean of tokens is pooled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepchest_cli.model.classifier import Classifier
from deepchest_cli.model.spatial import SpatialLayer, recorded

TOLERANCE = 1e-3  # of features against the mean of the map, relative to their size


@dataclass(frozen=True)
class Maps:
    """Maps (B, h, w) of one finding for each radiograph; CAM is None where it does not apply."""

    grad_cam: Tensor
    cam: Tensor | None


def attribution_maps(
    classifier: Classifier, radiographs: Tensor, columns: Tensor, layer: SpatialLayer
) -> Maps:
    """Return the maps of one finding for each radiograph.

    radiographs: (B, 1, S, S), as the network takes them; columns: (B,), which logit of each;
    layer: from `spatial_layer`. The classifier is in evaluation mode; no gradient is left behind.
    """
    module = classifier.trunk.get_submodule(layer.name)
    with torch.enable_grad(), recorded([(layer.name, module)]) as seen:
        # frozen weights make no graph, but an input that asks for a gradient does
        features, logits = classifier(radiographs.detach().requires_grad_())
        chosen = logits.gather(1, columns[:, None]).sum()
        tensor = layer.tensor_in(seen)
        gradient = layer.map_of(torch.autograd.grad(chosen, tensor)[0])
    values = layer.map_of(tensor.detach())
    if layer.layout != "tokens":
        gradient = gradient.mean(dim=(2, 3), keepdim=True)
    grad_cam = (gradient * values).sum(dim=1).relu()
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
