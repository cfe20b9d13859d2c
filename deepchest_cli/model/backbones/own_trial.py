"""What a backbone of one's own is tried for before anything is trained: features (B, D)."""

import io
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn

from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.base import GRAY, RGB
from deepchest_cli.own_code import LoadedCode, describe

IMAGES = 2  # batch norm needs two
TOLERANCE = 1e-3  # of features against the same in another batch, relative to the largest


def count_features(network: nn.Module, own: LoadedCode, image_size: int) -> int:
    """Return the number of features D of a network, which is used up by the trial.

    Noise goes through it in evaluation and in training mode. Raises `UsageError` where it does not
    map (B, 1, S, S) to finite features (B, D), or those of an image depend on chance or on other
    images in evaluation mode.
    """
    name = own.code.short
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{name} keeps {key!r}, which is no tensor, in its state.",
                "A checkpoint holds tensors only: use register_buffer, or compute it anew.",
            )
    network = network.to(memory_format=torch.channels_last)  # as in training
    shape, chance = (IMAGES, GRAY, image_size, image_size), torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=chance)
    network.eval()
    with torch.no_grad():
        together = features_of(network, images, own)
        again = features_of(network, images, own)
        alone = features_of(network, images[:1], own)
    if _differ(again, together):
        raise UsageError(
            f"{name}: in evaluation mode, the features of the same images differ from one pass to "
            "the next.",
            "Let dropout depend on self.training: F.dropout(x, 0.5, self.training)",
        )
    if _differ(alone, together[:1]):
        raise UsageError(
            f"{name}: in evaluation mode, the features of an image depend on the other images of "
            "its batch.",
            "Batch norm needs track_running_stats=True; means over dimension 0 mix images.",
        )
    trained = features_of(network.train(), images, own)
    if trained.shape != together.shape:
        raise UsageError(
            f"{name} gives {trained.shape[1]} features in training mode and {together.shape[1]} "
            "in evaluation mode.",
            "Let forward return the same features in both.",
        )
    return together.shape[1]


def features_of(network: nn.Module, images: Tensor, own: LoadedCode) -> Tensor:
    """Return the features (B, D) of images (B, C, S, S); raises `UsageError` for anything else."""
    name, printed = own.code.short, io.StringIO()
    mode = "training" if network.training else "evaluation"
    try:
        with redirect_stdout(printed):
            found = network(images)
    except (Exception, SystemExit) as error:
        if images.shape[1] == GRAY and _reads(network, images.expand(-1, RGB, -1, -1)):
            raise UsageError(
                f"{name} reads three channels, and radiographs have one.",
                "Let the function take the keyword channels, which is 1, for its first layer; or "
                "begin forward with: x = x.expand(-1, 3, -1, -1)",
            ) from error
        raise UsageError(
            f"{name} failed on {len(images)} x {images.shape[1]} x {images.shape[2]} x "
            f"{images.shape[3]} values in {mode} mode: {describe(error, own.file)}."
        ) from error
    if printed.getvalue():
        raise UsageError(
            f"{name} prints in its forward pass ({printed.getvalue().split(chr(10))[0]!r}), where "
            "standard output is for results.",
            "Leave print out, or write to sys.stderr.",
        )
    _refuse_other_features(found, len(images), f"{name} should give features (B, D) in {mode} mode")
    features: Tensor = found
    return features


def _reads(network: nn.Module, images: Tensor) -> bool:
    try:
        with redirect_stdout(io.StringIO()):
            network(images)
    except (Exception, SystemExit):
        return False
    return True


def _refuse_other_features(found: object, images: int, expected: str) -> None:
    if not isinstance(found, Tensor):
        raise UsageError(
            f"{expected}. Found {type(found).__name__}.",
            "Let forward return one tensor, for instance the first of a tuple.",
        )
    shape = tuple(found.shape)
    if found.dim() != 2:
        hints = {
            3: "Take one of the tokens or their mean: x[:, 0] or x.mean(dim=1)",
            4: "Pool the map: x.mean(dim=(2, 3))",
        }
        hint = hints.get(found.dim(), "Flatten all but the first dimension: x.flatten(1)")
        raise UsageError(f"{expected}. Found a tensor of shape {shape}.", hint)
    if shape[0] != images or not shape[1]:
        raise UsageError(
            f"{expected}. Found a tensor of shape {shape} for {images} images.",
            "The first dimension is that of the images.",
        )
    if not found.is_floating_point():
        raise UsageError(f"{expected}. Found values of type {found.dtype}.", "Use x.float().")
    if not found.isfinite().all():
        raise UsageError(
            f"{expected}. Found values that are not finite.",
            "Divisions by zero, logarithms of zero and weights that were never set have such.",
        )


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or bool(
        (one - other).abs().max() > TOLERANCE * other.abs().max()
    )
