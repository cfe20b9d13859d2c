"""How the properties of any weighter are checked: each check yields in words what breaks one."""

import copy
import io
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses, Weighter
from deepchest_cli.weighting.gradients.base import GradientWeighter
from deepchest_cli.weighting.trial import IMAGES, PLAIN, SCORES, Trial, losses_of, performance_of

PRECISIONS = (torch.float32, torch.float64, torch.bfloat16)


def forms(trial: Trial) -> Iterator[str]:
    """Yield what the methods return in another form than that of the base class."""
    weighter, count = trial.build(), len(trial.tasks)
    if tuple(weighter.tasks) != trial.tasks:
        yield "The constructor did not pass `tasks` to super().__init__."
    is_gradient = isinstance(weighter, GradientWeighter)
    jacobian = trial.jacobian()
    losses = losses_of(trial.values(PLAIN))
    result = weighter(losses, jacobian) if is_gradient else weighter(losses)
    wanted = tuple(jacobian[0].shape) if is_gradient else ()
    if not isinstance(result, Tensor) or result.shape != wanted:
        yield f"forward returned {_form_of(result)}, not a tensor of shape {wanted}."
    if is_gradient and result.requires_grad:
        yield "forward returned a direction with a graph; detach what it is computed from."
    for name in ("weights", "head_weights") if is_gradient else ("weights",):
        value = getattr(weighter, name)
        if value is not None and (not isinstance(value, Tensor) or value.shape != (count,)):
            yield f"{name} was {_form_of(value)}, not a tensor of shape {(count,)} or None."
    notes = weighter.end_epoch(performance_of(*(trial.values(scores) for scores in SCORES)))
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        yield f"end_epoch returned {notes!r}, not a list of notes (may be empty)."


def _form_of(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def finite(trial: Trial) -> Iterator[str]:
    """Yield what is not finite for small and large losses."""
    for value in (0.0, 1e-8, 1e-4, 1.0, 1e4):
        weighter = trial.live(trial.build())
        losses = losses_of(trial.values((value, 1.0, value, 0.5)))
        jacobian = trial.jacobian(scale=value or 1e-8)
        objective, gradient = trial.step(weighter, losses, jacobian)
        yield from _not_finite(weighter, objective, gradient, f"with losses of {value:g}")
        if isinstance(weighter, GradientWeighter) and not gradient.any():
            yield f"The direction was zero with gradients {value:g} times as long."


def _not_finite(
    weighter: Weighter, objective: Tensor, gradient: Tensor, when: str
) -> Iterator[str]:
    gradient_weighter = isinstance(weighter, GradientWeighter)
    values = {"direction" if gradient_weighter else "objective": objective, "gradient": gradient}
    for name, value in {**values, "weights": weighter.weights}.items():
        if value is not None and not torch.isfinite(value).all():
            yield f"The {name} was {in_numbers(value)} {when}."


def in_numbers(values: Tensor) -> str:
    """Return the first values of a tensor as text."""
    shown = [f"{value:.4g}" for value in values.detach().flatten().tolist()[:4]]
    return shown[0] if values.ndim == 0 else f"{', '.join(shown)}{', …' if len(values) > 4 else ''}"


def survives(trial: Trial) -> Iterator[str]:
    """Yield what is not finite after extreme losses."""
    for value in (0.0, 1e-8, 1e4):
        weighter = trial.build()
        extreme = trial.values((value, 1.0, 0.3, value))
        for losses in (trial.values((value, 1.0, value, 0.5)), trial.values(PLAIN)):
            trial.step(weighter, losses_of(losses))
            weighter.after_step(lambda extreme=extreme: losses_of(extreme))  # type: ignore[misc]
            weighter.end_epoch(performance_of(trial.values((1.0, 0.0, 0.5, 0.5)), extreme))
        after = trial.step(weighter, losses_of(trial.values(PLAIN)))
        yield from _not_finite(weighter, *after, f"after losses of {value:g} some steps before")


def derivative(trial: Trial) -> Iterator[str]:
    """Yield how the weights differ from the derivative of the objective."""
    weighter, jacobian = trial.live(trial.build()), trial.jacobian()
    is_gradient = isinstance(weighter, GradientWeighter)
    previous = weighter.weights
    _, gradient = trial.step(weighter, losses_of(trial.values(PLAIN)), jacobian)
    uses_previous = is_gradient and weighter.uses_previous_weights
    weights = previous if uses_previous else weighter.weights
    if weights is None:
        return
    expected = weights.float() @ jacobian if is_gradient else weights.float()
    if not torch.allclose(gradient, expected, rtol=1e-5, atol=1e-6 if is_gradient else 1e-12):
        what = "weighted sum of the gradients" if is_gradient else "property weights"
        result = "direction" if is_gradient else "objective's gradient by the losses"
        yield f"The {what} was {in_numbers(expected)}, but the {result} was {in_numbers(gradient)}."


def absent(trial: Trial) -> Iterator[str]:
    """Yield how an absent task has a say, or stops the others."""
    if len(trial.tasks) == 1:
        return
    weighter = trial.live(trial.build())
    values, known = trial.values(PLAIN), [IMAGES] * len(trial.tasks)
    values[1], known[1] = 0.0, 0
    jacobian = trial.jacobian()
    jacobian[1] = 0
    objective, gradient = trial.step(weighter, losses_of(values, known), jacobian)
    yield from _not_finite(weighter, objective, gradient, "with an absent task")
    if not isinstance(weighter, GradientWeighter) and gradient[1] != 0:
        yield f"The gradient by the absent task's loss was {in_numbers(gradient[1])}."
    if not gradient.any():
        yield "The tasks that were present had no gradient either."


def negative(trial: Trial) -> Iterator[str]:
    """Yield the gradient where one is negative."""
    values, known = trial.values(PLAIN), [IMAGES] * len(trial.tasks)
    for absent in (False, True):
        if absent and len(known) > 1:
            values[1], known[1] = 0.0, 0
        weighter = trial.live(trial.build())
        _, gradient = trial.step(weighter, losses_of(values, known))
        if (gradient < 0).any():
            yield f"The objective's gradient by the losses was {in_numbers(gradient)}."


def empty(trial: Trial) -> Iterator[str]:
    """Yield what a batch without known labels changes."""
    weighter, none = trial.live(trial.build()), [0] * len(trial.tasks)
    values = [0.0] * len(trial.tasks)
    empty = torch.zeros_like(trial.jacobian())
    objective, gradient = trial.step(weighter, losses_of(values, none), empty)
    weighter.after_step(lambda: losses_of(values, none))
    when = "in a batch without a known label"
    if not torch.isfinite(objective).all() or gradient.any():
        found = f"The objective was {in_numbers(objective)}, its gradient {in_numbers(gradient)}"
        yield f"{found} {when}."
    after = trial.step(weighter, losses_of(trial.values(PLAIN)))
    yield from _not_finite(weighter, *after, "after a batch without a known label")


def saved(trial: Trial) -> Iterator[str]:
    """Yield how a resumed run differs from one that was not interrupted."""
    for steps in (1, 2, 3):
        weighter, fresh = trial.live(trial.build(), steps), trial.build(seed=5)
        file = io.BytesIO()
        torch.save(weighter.state_dict(), file)
        file.seek(0)
        try:
            fresh.load_state_dict(torch.load(file, weights_only=True))
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            yield f"The state could not be loaded again: {type(error).__name__}: {first}"
            return
        seen = []
        for one in (weighter, fresh):
            trial.live(one, steps)
            seen.append((*trial.step(one, losses_of(trial.values(PLAIN))), one.weights))
        names = ("objective", "gradient", "weights")
        for name, before, after in zip(names, *seen, strict=True):
            if not _same(before, after):
                yield (
                    f"After a save and a load in the middle of a run the {name} was "
                    f"{in_numbers(after)}, without them {in_numbers(before)}."
                )
        if not _same(dict(weighter.state_dict()), dict(fresh.state_dict())):
            yield "The state after a resumed run was another than without the interruption."


def taken_as_copy(trial: Trial) -> Iterator[str]:
    """Yield a word where a loaded state is shared."""
    weighter = trial.live(trial.build())
    state = copy.deepcopy(weighter.state_dict())
    fresh = trial.build()
    fresh.load_state_dict(state)
    trial.live(fresh)
    if not _same(dict(state), dict(weighter.state_dict())):
        yield "A weighter changed the state that it had been loaded from: load copies."


def _same(one: object, other: object) -> bool:
    """Whether two states are the same to the last bit; NaN is the same as NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(v, other[k]) for k, v in one.items())
    return bool(one == other)


def copies(trial: Trial) -> Iterator[str]:
    """Yield a word where deep copies share something."""
    weighter = trial.live(trial.build())
    trial.step(weighter, losses_of(trial.values(PLAIN)))
    before = copy.deepcopy((weighter.weights, dict(weighter.state_dict())))
    trial.live(copy.deepcopy(weighter))
    if not all(map(_same, before, (weighter.weights, dict(weighter.state_dict())))):
        yield "The weighter changed when its deep copy was used."


def callers_objects(trial: Trial) -> Iterator[str]:
    """Yield a word where something that was given has changed."""
    weighter, jacobian = trial.build(), trial.jacobian()
    losses, performance = losses_of(trial.values(PLAIN)), performance_of(*map(trial.values, SCORES))
    logits = torch.randn(IMAGES, len(trial.tasks), generator=torch.Generator().manual_seed(0))
    tables = (logits, (logits > 0).float(), torch.ones_like(logits, dtype=torch.bool))
    given = [*tables, losses.values, losses.known, jacobian]
    given += [*performance.training.values(), *performance.validation.values()]
    before = [value.detach().clone() for value in given]
    weighter.observe(*tables)
    for _ in range(2):
        trial.step(weighter, losses, jacobian)
    weighter.after_step(lambda: losses)
    weighter.end_epoch(performance)
    if not all(map(torch.equal, given, before)):
        yield "It changed logits, labels, losses, gradients or metrics that it was given, in place."


def random_state(trial: Trial) -> Iterator[str]:
    """Yield the global generators that have moved."""
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    trial.live(trial.build())
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    for name, one, other in zip(("torch", "random", "numpy"), before, after, strict=True):
        if not _same(one, other):
            yield f"It drew from, or seeded, the global generator of {name}; use PrivateGenerator."


def repeatable(trial: Trial) -> Iterator[str]:
    """Yield the gradients of two runs alike where they differ."""
    results = []
    for _ in range(2):
        weighter = trial.live(trial.build(seed=3))
        results.append(trial.step(weighter, losses_of(trial.values(PLAIN)))[1])
    if not torch.equal(*results):
        yield f"Two runs gave {in_numbers(results[0])} and {in_numbers(results[1])}."


def precision(trial: Trial) -> Iterator[str]:
    """Yield what is wrong with losses in other precisions."""
    for kind in PRECISIONS:
        weighter = trial.live(trial.build())
        values = torch.tensor(trial.values(PLAIN), dtype=kind, requires_grad=True)
        losses = TaskLosses(values, torch.tensor([IMAGES] * len(trial.tasks)))
        objective, gradient = trial.step(weighter, losses, trial.jacobian().to(kind))
        yield from _not_finite(weighter, objective, gradient, f"with losses in {kind}")
        if gradient.dtype != kind:
            yield f"The gradient of losses in {kind} was in {gradient.dtype}."


def additive(trial: Trial) -> Iterator[str]:
    """Yield the sum over micro-batches where it is not that of the batch."""
    weighter = trial.live(trial.build())
    if not weighter.additive:
        return
    plain = trial.values(PLAIN)
    whole = weighter(losses_of(plain)).item()
    halves = [weighter(losses_of([share * value for value in plain])) for share in (0.25, 0.75)]
    total = sum(half.item() for half in halves)
    if abs(total - whole) > 1e-6 * abs(whole):
        yield (
            f"additive is True, but the objectives of two micro-batches sum to {total:.6g}, and "
            f"that of the whole batch is {whole:.6g}."
        )


def order(trial: Trial) -> Iterator[str]:
    """Yield the gradients in two orders of the tasks where they differ."""
    results, order = [], trial.order
    for permutation in (list(range(len(order))), order):
        weighter = trial.live(trial.build(permutation), order=permutation)
        losses = losses_of(trial.values(PLAIN, permutation))
        objective, gradient = trial.step(weighter, losses, trial.jacobian(permutation))
        results.append((objective, gradient, isinstance(weighter, GradientWeighter)))
    (objective, first, is_gradient), (other, second, _) = results
    expected = first if is_gradient else first[order]
    rtol, atol = (1e-3, 1e-4) if is_gradient else (1e-5, 1e-12)
    # of a gradient weighter the objective is the direction
    same = is_gradient or torch.allclose(objective, other, rtol=rtol, atol=atol)
    if not same or not torch.allclose(second, expected, rtol=rtol, atol=atol):
        yield f"The gradient was {in_numbers(expected)}, and {in_numbers(second)} in another order."
