"""What the catalog knows of a weighter."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a list of weighters needs no torch
    from deepchest_cli.weighting.base import Context, Weighter

GIVEN = ("tasks", "context")  # by the run, not by the user


@dataclass(frozen=True)
class WeighterInfo:
    """What a user wants to know before choosing a weighter."""

    name: str
    factory: Callable[..., "Weighter"]
    summary: str
    paper: str
    memory: str = "none"  # beyond that of equal weighting
    passes: str = "1 forward, 1 backward"  # of a step
    kind: str = "loss"  # loss: needs the losses only; gradient: needs task gradients

    @property
    def options(self) -> Mapping[str, Any]:
        """The parameters that --weighter-option sets, with their defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {entry.name: entry.default for entry in parameters if entry.name not in GIVEN}

    def build(
        self, tasks: Sequence[str], context: "Context", values: Mapping[str, Any]
    ) -> "Weighter":
        """Return the weighter; a factory that has a parameter `context` is given it."""
        if "context" in inspect.signature(self.factory).parameters:
            return self.factory(tasks, **values, context=context)
        return self.factory(tasks, **values)
