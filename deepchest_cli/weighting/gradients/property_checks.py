"""How the properties of weighters of task gradients are checked, in words as for all others."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from deepchest_cli.weighting.property_checks import in_numbers
from deepchest_cli.weighting.trial import IMAGES, PLAIN, Trial, losses_of


def passes_on(trial: Trial) -> Iterator[str]:
    """Yield what a gradient that is not finite leaves behind."""
    for value in (float("nan"), float("inf")):
        broken = trial.jacobian()
        broken[len(broken) // 2, 5] = value
        one, other = (trial.live(trial.build()) for _ in range(2))
        plain = trial.values(PLAIN)
        if torch.isfinite(trial.step(one, losses_of(plain), broken)[1]).all():
            yield f"The direction was finite with a gradient of {value}."
        if one.state_dict().keys() != other.state_dict().keys():
            yield f"A gradient of {value} changed what the state holds."
        results = [trial.step(weighter, losses_of(plain))[1] for weighter in (one, other)]
        if not torch.equal(*results):
            yield f"The step after a gradient of {value} was another than without it."


def unit(trial: Trial) -> Iterator[str]:
    """Yield by how much the losses' unit turns the direction."""

    def direction(factor: float) -> Tensor:
        losses = losses_of([factor * value for value in trial.values(PLAIN)])
        found = trial.step(trial.build(), losses, trial.jacobian(scale=factor))[1].double()
        return torch.nn.functional.normalize(found, dim=0, eps=0.0)

    for factor in (1e-5, 1e3):
        difference = float((direction(factor) - direction(1.0)).abs().max())
        if not difference <= 2e-3:
            yield f"With losses {factor:g} times as large it turned by {difference:.2g}."


def without_gradient(trial: Trial) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield a kind of absence, the direction with a task without gradient, and that without it."""
    others = [i for i in range(len(trial.tasks)) if i != 1]
    for kind in ("absent", "without gradient", "of hardly any gradient"):
        jacobian, values = trial.jacobian(), trial.values(PLAIN)
        known = [IMAGES] * len(values)
        jacobian[1] *= 1e-9 if kind == "of hardly any gradient" else 0
        if kind == "absent":
            values[1], known[1] = 0.0, 0
        with_it = trial.step(trial.build(), losses_of(values, known), jacobian)[1]
        alone, losses = trial.only(others), losses_of([values[i] for i in others])
        yield kind, with_it, alone.step(alone.build(), losses, jacobian[others])[1]


def standstill(trial: Trial) -> Iterator[str]:
    """Yield the length of a direction that a task without gradient stops."""
    if len(trial.tasks) > 1:
        for kind, with_it, _ in without_gradient(trial):
            if not with_it.norm() > 0.01:
                yield f"With a task {kind} the direction's length was {float(with_it.norm()):.2g}."


def holds_up(trial: Trial) -> Iterator[str]:
    """Yield the directions with a task without gradient and without that task."""
    if len(trial.tasks) > 1:
        for kind, with_it, without_it in without_gradient(trial):
            if not torch.allclose(with_it, without_it, rtol=1e-4, atol=1e-5):
                found = f"{in_numbers(with_it)}, not {in_numbers(without_it)}"
                yield f"With a task {kind} it was {found}."


def alone(trial: Trial) -> Iterator[str]:
    """Yield the cosine between the direction of a single task and its gradient."""
    one = trial.only([0])
    direction = one.step(one.build(), losses_of([0.5]), trial.jacobian()[:1])[1]
    cosine = float(cosine_similarity(direction, trial.jacobian()[0], dim=0))
    if not cosine >= 1 - 1e-6:
        yield f"The cosine of the two was {cosine:.4g}."
