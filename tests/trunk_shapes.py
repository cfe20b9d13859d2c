"""Trunks by name; and networks without numbers, whose shapes are true and weights cost nothing."""

import pytest
import torch
from torchvision.models.regnet import BlockParams

from deepchest_cli.model.backbones.registry import describe_backbone, source_of
from deepchest_cli.model.trunk import build_trunk
from deepchest_cli.model.weights import read_weights

LARGE = 100e6  # parameters; more are left without memory


def trunk_of(name, image_size, weights=None):
    """Return a trunk, with the weights of a file or published ones where they are named."""
    spec = describe_backbone(name, image_size)
    chosen = weights and read_weights(spec, weights, source_of(spec.name))
    return build_trunk(spec, chosen)


def shapes_only(name, image_size):
    """Return a trunk on the meta device, which knows shapes and no values, and its features."""
    plan = BlockParams.from_init_params

    def plan_with_values(**settings):
        with torch.device("cpu"):  # RegNet computes its widths in tensors
            return plan(**settings)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(BlockParams, "from_init_params", plan_with_values)
        return trunk_of(name, image_size)


def try_size(name, built_for, size):
    """Run a trunk forward in training mode, on the CPU with any weights unless it is large."""
    trunk, width = shapes_only(name, built_for)
    device = "meta"
    if sum(parameter.numel() for parameter in trunk.parameters()) < LARGE:
        trunk, device = trunk.to_empty(device="cpu"), "cpu"
        for buffer in trunk.buffers():  # some are indices
            buffer.zero_()
    with torch.inference_mode():
        found = trunk.train()(torch.zeros(2, 1, size, size, device=device))
    assert found.shape == (2, width)
