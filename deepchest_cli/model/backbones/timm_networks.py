"""Networks of timm: built, and run once without numbers to learn what they take and give."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.model.backbones.base import AUTO_POOL, GRAY, BackboneSpec, refuse_pooling
from deepchest_cli.model.sizes import SizeRule, size_error

CLASS_TOKEN = "class-token"
POOLS = {CLASS_TOKEN: "token", "mean": "avg"}  # our words, timm's
CELL = 32  # pixels across a cell of the last map, in most networks without patches
TRIALS = 16  # sizes that are tried for a suggestion


def timm() -> Any:
    """Return the package; raises `UsageError` with the command that installs it."""
    try:
        import timm as package
    except ImportError as error:
        hint = install_hint("timm")
        raise UsageError("A backbone of timm needs the package timm.", hint) from error
    return package


@contextmanager
def silence() -> Iterator[None]:
    """Keep timm's notes on weights and deprecated names out of a command's output."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def create(spec: BackboneSpec, **more: Any) -> nn.Module:
    """Return a network with a stem of one channel and without its classification layer."""
    arguments = {**spec.config["arguments"], **more}
    if spec.config["has_image_size"]:
        arguments["img_size"] = (spec.image_size, spec.image_size)
    with silence():
        network: nn.Module = timm().create_model(
            spec.config["architecture"], in_chans=GRAY, num_classes=0, **arguments
        )
    if spec.pool != AUTO_POOL:
        # layers and their names stay as they are, so that published weights fit
        network.reset_classifier(0, global_pool=POOLS[spec.pool])  # type: ignore[operator]
    return network


def has_drop_path(network: nn.Module) -> bool:
    """Whether any layer has a rate of stochastic depth."""
    layers = (m for m in network.modules() if isinstance(m, timm().layers.DropPath))
    return any(layer.drop_prob for layer in layers)


def features_of(spec: BackboneSpec, usual_size: int) -> int:
    """Return the number of features D of a network, computed from shapes alone.

    usual_size: pixels that it is known to take. Raises `UsageError` for an image size that it does
    not take, a way of pooling that it has not, and where it gives no features (B, D).
    """
    try:
        return _run(spec)
    except UsageError:
        raise
    except Exception as error:  # timm's networks refuse sizes in many ways, or break
        usual = replace(spec, image_size=usual_size)
        try:
            _run(usual)
        except UsageError:
            raise
        except Exception as broken:
            reason = str(broken).partition("\n")[0].rstrip(".") or type(broken).__name__
            raise UsageError(
                f"{spec.name} cannot be used on radiographs of one channel: {reason}.",
                "Use another --backbone.",
            ) from broken
        fitting = _fitting_sizes(spec, usual) or [usual_size]
        raise size_error(spec.name, spec.image_size, fitting) from error


def _run(spec: BackboneSpec) -> int:
    """Return the width of the output; raises whatever the network does, and as `features_of`."""
    shape = (2, GRAY, spec.image_size, spec.image_size)
    # shapes without values: even the largest network takes no memory and little time
    with torch.device("meta"), torch.inference_mode():
        network = create(replace(spec, pool=AUTO_POOL)).train()
        if spec.image_size % _patch_size(network):
            raise ValueError("patches that do not divide the image leave its border out")
        if spec.pool != AUTO_POOL:
            refuse_pooling(spec.name, spec.pool, _pools(network, torch.zeros(shape)))
            network = create(spec).train()
        found = network(torch.zeros(shape))
    if not isinstance(found, Tensor) or found.dim() != 2:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"{spec.name} is no classifier: it gives {given} for two radiographs, not features "
            "(2, D).",
            "Use another --backbone.",
        )
    return found.shape[1]


def _patch_size(network: nn.Module) -> int:
    """Return the pixels across a patch; 1 where there are none."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(size if isinstance(size, int) else size[0])


def _pools(network: nn.Module, radiographs: Tensor) -> list[str]:
    """Return the ways in which a network's tokens can become features."""
    if not isinstance(getattr(network, "global_pool", None), str):
        return []
    tokens = network.forward_features(radiographs)  # type: ignore[operator]
    if not isinstance(tokens, Tensor) or tokens.dim() != 3:
        return []
    has_class_token = getattr(network, "cls_token", None) is not None
    ways = [name for name in POOLS if has_class_token or name != CLASS_TOKEN]
    return [name for name in ways if _pools_by(network, name)]


def _pools_by(network: nn.Module, pool: str) -> bool:
    """Whether a network can be changed to a way of pooling; it is changed then."""
    try:
        network.reset_classifier(0, global_pool=POOLS[pool])  # type: ignore[operator]
    except (AssertionError, ValueError):  # some have one way only
        return False
    return True


def _fitting_sizes(spec: BackboneSpec, usual: BackboneSpec) -> list[int]:
    """Return the two nearest sizes that a network takes, as far as a few trials find them."""
    with torch.device("meta"):
        patch = _patch_size(create(replace(usual, pool=AUTO_POOL)))
    step = patch if patch > 1 else CELL
    around = range(step, 2 * spec.image_size + TRIALS * step, step)
    likely = sorted(
        (size for size in around if size >= SizeRule.least),
        key=lambda size: abs(size - spec.image_size),
    )
    return list(islice((s for s in likely[:TRIALS] if _takes(replace(spec, image_size=s))), 2))


def _takes(spec: BackboneSpec) -> bool:
    try:
        _run(spec)
    except Exception:  # as above
        return False
    return True
