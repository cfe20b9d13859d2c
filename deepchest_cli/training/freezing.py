"""The part of the trunk that is not trained, and until when."""

import math
from dataclasses import dataclass

from torch import nn

from deepchest_cli.config import RunConfig
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.model.layers import layers_of

ALL = "all"


@dataclass(frozen=True)
class Frozen:
    """The first layers of a trunk, or all of it; nothing where all is trained."""

    layers: int = 0
    parameters: tuple[nn.Parameter, ...] = ()
    modules: tuple[nn.Module, ...] = ()
    until: float = math.inf  # the first epoch, counted from 1, in which they are trained

    def begin_epoch(self, model: nn.Module, epoch: int) -> bool:
        """Put a model into training mode and, as long as they are frozen, these layers not.

        Batch norm then uses its running statistics and leaves them as they are; there is neither
        dropout nor stochastic depth. Returns whether other parameters are trained than before.
        """
        trained = epoch >= self.until
        changed = any(parameter.requires_grad != trained for parameter in self.parameters)
        for parameter in self.parameters:
            parameter.requires_grad_(trained)
        model.train()
        if not trained:
            for module in self.modules:
                module.eval()
        return changed


def frozen_part(config: RunConfig, trunk: nn.Module) -> Frozen:
    """Return what `--freeze` names; raises `UsageError` where the trunk has no such layers."""
    if config.freeze is None:
        return Frozen()
    layers, until = layers_of(trunk), config.unfreeze_epoch or math.inf
    count = len(layers) if config.freeze == ALL else int(config.freeze)
    if count > len(layers):
        raise UsageError(
            f"--freeze {count}: {config.backbone} has {count_of(len(layers), 'layer')}.",
            f"Use --freeze {len(layers) - 1} or less, or --freeze all."
            if len(layers) > 1
            else "Use --freeze all.",
        )
    if count == len(layers):
        modules: tuple[nn.Module, ...] = (trunk,)
        parameters = list(trunk.parameters())
    else:
        modules = tuple(module for layer in layers[:count] for module in layer.modules)
        names = [name for layer in layers[:count] for name in layer.parameters]
        parameters = [trunk.get_parameter(name) for name in names]
    # a network may have parameters that it never trains, such as fixed positions
    trained = tuple(parameter for parameter in parameters if parameter.requires_grad)
    return Frozen(count, trained, modules, until)


def refuse_unfit_freezing(config: RunConfig) -> None:
    """Raise `UsageError` for what makes no sense with any backbone."""
    freeze, epoch = config.freeze, config.unfreeze_epoch
    if freeze not in (None, ALL) and not (freeze.isdecimal() and int(freeze)):
        raise UsageError(
            f"--freeze takes all, or a number of layers from 1. Found {freeze!r}.",
            "For instance: --freeze all",
        )
    if epoch is not None and freeze is None:
        raise UsageError(
            f"--unfreeze-epoch {epoch}: nothing is frozen.", "Add --freeze all or --freeze N."
        )
    if epoch is not None and epoch > config.epochs:
        raise UsageError(
            f"--unfreeze-epoch {epoch} is beyond the last epoch ({config.epochs}).",
            f"Use {config.epochs} or less, or leave it out: frozen layers are then never trained.",
        )
