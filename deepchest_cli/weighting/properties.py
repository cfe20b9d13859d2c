"""What every weighter promises: the same checks for the built-in ones and for one's own.

A required property is part of the contract: without it a run would go wrong, could not be resumed,
or would report weights that it does not have. The others are what most methods keep to.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.own_code import describe
from deepchest_cli.weighting import property_checks as checks
from deepchest_cli.weighting.catalog import NO_EFFECT
from deepchest_cli.weighting.gradients import property_checks as by_gradient
from deepchest_cli.weighting.gradients.base import GradientWeighter
from deepchest_cli.weighting.own import COMPOSITE, code_of, short_name
from deepchest_cli.weighting.registry import DEEPCHEST_OPTION
from deepchest_cli.weighting.trial import PLAIN, Trial, losses_of

Check = Callable[[Trial], Iterator[str]]  # yields in words what breaks the property
FACTORS = (1.0, 1.5, 0.7, 1.2)  # of the losses
BOTH, LOSS, GRADIENT = ("loss", "gradient"), ("loss",), ("gradient",)


@dataclass(frozen=True)
class Property:
    """A property, what it asks for in a sentence, and how it is checked."""

    name: str
    expected: str
    check: Check
    kinds: tuple[str, ...] = BOTH
    required: bool = True

    def violation(self, trial: Trial) -> str:
        """Return what was found instead, in a sentence; nothing where the property holds."""
        try:
            return next(self.check(trial), "")
        except UsageError:  # of an option, for instance
            raise
        except (Exception, SystemExit) as error:
            code = code_of(trial.name)
            if code is None:
                raise
            return f"{describe(error, code.find())}."


def violations(trial: Trial) -> Iterator[tuple[Property, str]]:
    """Yield each property with what was found instead, nothing where it holds.

    After the first, which says that the methods can be called at all, the rest is left out where
    it is broken.
    """
    for one in properties_of(trial):
        found = one.violation(trial)
        yield one, found
        if found and one is PROPERTIES[0]:
            return


def refuse_without_effect(trial: Trial) -> None:
    """Raise `UsageError` for `deepchest+X` where DeepChest's weights change nothing of X."""
    if trial.name.startswith(COMPOSITE):
        options = tuple(o for o in trial.options if not o[0].startswith(DEEPCHEST_OPTION))
        below = replace(trial, name=trial.name.removeprefix(COMPOSITE), options=options)
        if ignores_factors(below):
            name = short_name(trial.name)
            raise UsageError(f"The weighter {name!r} makes no sense: {NO_EFFECT}.")


def ignores_factors(trial: Trial) -> bool:
    """Whether constant factors of the losses, as DeepChest's weights are, change nothing.

    With X the method, f the factors and g_i(L) the derivative of X(L) by task i's loss: whether
    f_i g_i(f L) is a multiple of g_i(L), at the first step and later; or X(f_i g_i) one of X(g_i)
    for gradients g_i.
    """
    factors, plain = torch.tensor(trial.values(FACTORS)), torch.tensor(trial.values(PLAIN))
    jacobian = trial.jacobian()
    cosines = []
    for lives in (0, 5):  # a warm-up may differ from what follows
        one, other = trial.build(), trial.build()
        for _ in range(lives):
            trial.live(one)
            trial.live(other)
        before = trial.step(one, losses_of(plain.tolist()), jacobian)[1]
        after = trial.step(
            other, losses_of((factors * plain).tolist()), factors[:, None] * jacobian
        )[1]
        after = after if isinstance(other, GradientWeighter) else factors * after
        cosines.append(float(torch.nn.functional.cosine_similarity(before, after, dim=0)))
    return len(factors) > 1 and min(cosines) > 1 - 1e-5


def broken_properties(trial: Trial) -> list[tuple[Property, str]]:
    """Return the required properties that a weighter breaks, with what was found instead."""
    return [(one, found) for one, found in violations(trial) if found and one.required]


def properties_of(trial: Trial) -> list[Property]:
    """Return the properties that concern a weighter of this kind."""
    kind = "gradient" if isinstance(trial.build(), GradientWeighter) else "loss"
    return [one for one in PROPERTIES if kind in one.kinds]


# tables read better in rows
# fmt: off
PROPERTIES = (
    Property("forms",
        "The methods of the base class return what it says.",
        checks.forms),
    Property("finite values",
        "Losses from 0 to 10,000 give a finite objective, gradient and weights.",
        checks.finite),
    Property("recovery",
        "A converged or an exploding loss leaves nothing behind that is not finite.",
        checks.survives),
    Property("weights",
        "The property weights is the objective's derivative by each task's loss, as last used.",
        checks.derivative),
    Property("absent task",
        "A task without a known label in the batch has no gradient, the others have one.",
        checks.absent),
    Property("empty batch",
        "A batch without any known label changes nothing.",
        checks.empty),
    Property("saved state",
        "state_dict holds all that is remembered, in tensors and plain values: a resumed run "
        "goes on to the same bits.",
        checks.saved),
    Property("loaded state",
        "load_state_dict copies what it is given.",
        checks.taken_as_copy),
    Property("copies",
        "A deep copy shares nothing with the weighter.",
        checks.copies),
    Property("given objects",
        "What the weighter is given stays as it is.",
        checks.callers_objects),
    Property("random state",
        "The global random generators are left alone.",
        checks.random_state),
    Property("repeatability",
        "The same seed and the same losses give the same gradient, to the last bit.",
        checks.repeatable),
    Property("precision",
        "Losses in single, double and bfloat16 precision get gradients in their own.",
        checks.precision),
    Property("additivity",
        "Where additive is True, a batch's objective is the sum of those of its micro-batches.",
        checks.additive, LOSS),
    Property("order of tasks",
        "The order of the tasks does not matter.",
        checks.order, required=False),
    Property("no negative weight",
        "No task's loss is raised.",
        checks.negative, LOSS, required=False),
    Property("gradients not finite",
        "A gradient that is not finite is passed on, and not stored.",
        by_gradient.passes_on, GRADIENT, required=False),
    Property("unit",
        "The unit of the losses does not turn the direction.",
        by_gradient.unit, GRADIENT, required=False),
    Property("standstill",
        "A task without gradient does not stop the others.",
        by_gradient.standstill, GRADIENT, required=False),
    Property("neutrality",
        "A task without gradient leaves the direction of the others as it is.",
        by_gradient.holds_up, GRADIENT, required=False),
    Property("single task",
        "A task alone goes along its own gradient.",
        by_gradient.alone, GRADIENT, required=False),
)
# fmt: on
