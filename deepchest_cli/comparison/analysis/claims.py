"""The five claims of the paper (Mohamed et al. 2025) as a comparison has measured them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.scores import Quantity, Scores, mean_of_defined
from deepchest_cli.comparison.analysis.tables import BETTER, WORSE, paired
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.statistics import difference, half_width

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"
UNMEASURED = "not measured"
METHOD, ABOVE, BASELINE = "deepchest", "deepchest+", "equal"
ACCURACY, SPEED = 0.07, 3.0  # of the paper: by so much better, so many times as fast
# a share below which two peaks of memory count as the same: of a GPU's tensors, and of a process,
# whose peak holds libraries, data and what its allocator has kept
SAME_MEMORY, SAME_PROCESS = 0.01, 0.1

Claim = dict[str, Any]


def claims(
    arms: Mapping[str, Scores],
    losses: Mapping[str, Mapping[str, Any]] | None,
    cost: Mapping[str, Mapping[str, Any]],
    gradient: Sequence[str],
    level: str,
) -> list[Claim]:
    """Return the claims with figure, interval and verdict.

    `losses` are DeepChest's differences of each finding's loss to equal weighting, corrected over
    the findings; `gradient` are the arms that need task gradients, taken at `level`.
    """
    return [
        _accuracy(arms),
        _speed(cost, gradient, level),
        _memory(cost, gradient, level),
        _losses(losses),
        _improvement(arms),
    ]


def _claim(
    name: str, text: str, found: str, interval: Sequence[float | None] = (None, None, None),
    verdict: str = OPEN,
) -> Claim:  # fmt: skip
    estimate, low, high = interval
    return {
        "name": name,
        "claim": text,
        "found": found,
        "estimate": estimate,
        "low": low,
        "high": high,
        "verdict": verdict,
    }


def _accuracy(arms: Mapping[str, Scores]) -> Claim:
    text = "DeepChest's accuracy is 7 points above that of other multi-task methods."
    others = [label for label in arms if label != BASELINE and not label.startswith(METHOD)]
    if METHOD not in arms or not others:
        return _missing("accuracy", text, "deepchest and other methods")
    quantity = Quantity("macro_accuracy", "", "accuracy", mean_of_defined)
    mine, *rest = (quantity.of(arms[label]) for label in [METHOD, *others])
    by_seed = mine[0] - np.mean([seeds for seeds, _ in rest], axis=0)
    by_replicate = mine[1] - np.mean([replicates for _, replicates in rest], axis=0)
    one = difference(by_seed, by_replicate)
    low, high = one.interval() or (None, None)
    found = (
        f"{100 * one.estimate:+.2f} points against the mean of {', '.join(others)}, "
        "over all findings"
    )
    verdict = _against(low, high, ACCURACY)
    return _claim("accuracy", text, found, (one.estimate, low, high), verdict)


def _against(low: float | None, high: float | None, threshold: float) -> str:
    """Return the verdict on a claim that a figure is at least the threshold."""
    if low is None or high is None:
        return OPEN
    return HOLDS if low >= threshold else FAILS if high < threshold else OPEN


def _speed(cost: Mapping[str, Mapping[str, Any]], gradient: Sequence[str], level: str) -> Claim:
    text = "DeepChest trains three times as fast as gradient-based weighting."
    rivals = [label for label in gradient if label in cost]
    if METHOD not in cost or not rivals:
        return _missing("speed", text, "deepchest and a weighter by task gradients")
    figures = _over_rounds(cost, rivals, "seconds")
    found = f"their step takes {figures[0]:.2f} times as long ({', '.join(rivals)}, {_at(level)})"
    return _claim("speed", text, found, figures, _against(figures[1], figures[2], SPEED))


def _memory(cost: Mapping[str, Mapping[str, Any]], gradient: Sequence[str], level: str) -> Claim:
    text = "DeepChest needs less memory than gradient-based weighting."
    rivals = [label for label in gradient if label in cost and cost[label]["peak_memory_by_round"]]
    if METHOD not in cost or not rivals or not cost[METHOD]["peak_memory_by_round"]:
        return _missing("memory", text, "deepchest and a weighter by task gradients")
    figures = _over_rounds(cost, rivals, "peak_memory_by_round")
    whole = cost[METHOD]["device"] == "cpu"
    found = (
        f"the peak of {'the whole process' if whole else 'tensors'} is {figures[0]:.3f} times as "
        f"high ({', '.join(rivals)}, {_at(level)})"
    )
    verdict = _against(figures[1], figures[2], 1 + (SAME_PROCESS if whole else SAME_MEMORY))
    verdict = OPEN if whole and verdict == FAILS else verdict
    return _claim("memory", text, found, figures, verdict)


def _at(level: str) -> str:
    other = "" if level == "parameters" else ", not at the parameters as in the paper"
    return f"gradients at the {level}{other}"


def _over_rounds(
    cost: Mapping[str, Mapping[str, Any]], rivals: Sequence[str], what: str
) -> tuple[float, float, float]:
    """Return how many times as much the rivals take, the geometric mean, with its interval."""
    mine = cost[METHOD][what]
    logs = [
        statistics.mean(math.log(cost[rival][what][i] / mine[i]) for rival in rivals)
        for i in range(len(mine))
    ]
    middle = statistics.mean(logs)
    reach = half_width(logs)
    return math.exp(middle), math.exp(middle - reach), math.exp(middle + reach)


def _losses(losses: Mapping[str, Mapping[str, Any]] | None) -> Claim:
    text = "DeepChest lowers the loss of every task."
    if losses is None:
        return _missing("losses", text, "deepchest and equal")
    defined = {name: row for name, row in losses.items() if math.isfinite(row["estimate"])}
    lower = [name for name, row in defined.items() if row["estimate"] < 0]
    proven = [name for name, row in defined.items() if row["verdict"] == BETTER]
    higher = [name for name, row in defined.items() if row["verdict"] == WORSE]
    found = (
        f"against equal weighting lower in {len(lower)} of {count_of(len(defined), 'finding')} "
        f"({len(proven)} beyond doubt), higher beyond doubt in {len(higher)}"
    )
    found += f" ({', '.join(higher)})" if higher else ""
    verdict = FAILS if higher else HOLDS if defined and len(proven) == len(defined) else OPEN
    return _claim("losses", text, found, verdict=verdict)


def _improvement(arms: Mapping[str, Scores]) -> Claim:
    text = "Put on top of another method, DeepChest improves it."
    pairs = [
        (label, label.removeprefix(ABOVE))
        for label in arms
        if label.startswith(ABOVE) and label.removeprefix(ABOVE) in arms
    ]
    if not pairs:
        return _missing("improvement", text, "a method X and deepchest+X")
    quantity = Quantity("macro_auroc", "", "auroc", mean_of_defined)
    each = {top: paired(quantity.of, arms[top], arms[below]).estimate for top, below in pairs}
    tops, belows = ([quantity.of(arms[pair[i]]) for pair in pairs] for i in (0, 1))
    one = difference(
        np.mean([a[0] - b[0] for a, b in zip(tops, belows, strict=True)], axis=0),
        np.mean([a[1] - b[1] for a, b in zip(tops, belows, strict=True)], axis=0),
    )
    low, high = one.interval() or (None, None)
    found = "macro AUROC " + ", ".join(f"{value:+.4f} ({top})" for top, value in each.items())
    verdict = OPEN
    if low is not None and high is not None:
        verdict = HOLDS if low > 0 else FAILS if high <= 0 else OPEN
    return _claim("improvement", text, found, (one.estimate, low, high), verdict)


def _missing(name: str, text: str, what: str) -> Claim:
    found = f"the comparison would have to hold finished runs of {what}"
    return _claim(name, text, found, verdict=UNMEASURED)
