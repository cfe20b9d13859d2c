"""The five claims of the paper (Mohamed et al. 2025), with what the comparison measured of each."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.metrics import MACRO_ACCURACY, MACRO_AUROC, Scores
from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.statistics import (
    BETTER,
    INCONCLUSIVE,
    NOT_MEASURED,
    WORSE,
    difference,
    half_width,
)

HOLDS, DOES_NOT_HOLD = "holds", "does not hold"
DEEPCHEST, COMBINED = "deepchest", "deepchest+"
# of the paper: a gain of 7 points, and a third of the time
CLAIMED_GAIN, CLAIMED_SPEEDUP = 0.07, 3.0
# Relative difference below which two peaks of memory are equal. The peak of a process includes
# libraries, data and memory that the allocator keeps, and so varies more than that of GPU tensors.
SAME_GPU_MEMORY, SAME_PROCESS_MEMORY = 0.01, 0.1

Costs = Mapping[str, Mapping[str, Any]]
# each claim, and the runs without which it is not measured
CLAIMS = {
    "accuracy": (
        "DeepChest's accuracy is 7 points above that of other multi-task methods.",
        "deepchest and other methods",
    ),
    "speed": (
        "DeepChest trains three times as fast as gradient-based weighting.",
        "deepchest and a gradient-based weighter",
    ),
    "memory": (
        "DeepChest needs less memory than gradient-based weighting.",
        "deepchest and a gradient-based weighter",
    ),
    "losses": ("DeepChest lowers the loss of every task.", "deepchest and equal"),
    "improvement": (
        "DeepChest on top of another method improves it.",
        "a method X and deepchest+X",
    ),
}


@dataclass(frozen=True)
class Measurement:
    """What was measured of a claim, with its interval where there is one."""

    result: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = INCONCLUSIVE


def claims(
    scores: Mapping[str, Scores],
    losses: Mapping[str, Mapping[str, Any]] | None,
    costs: Costs,
    gradient_arms: Sequence[str],
    gradient_level: str,
) -> list[dict[str, Any]]:
    """Return the claims with the measured result, its interval and the verdict.

    losses: DeepChest's differences in loss to equal weighting by finding, corrected over the
    findings. gradient_arms: the arms that need task gradients, taken at `gradient_level`.
    """
    level = f"gradients at the {gradient_level}"
    if gradient_level != "parameters":
        level += ", not at the parameters as in the paper"
    measured = {
        "accuracy": _accuracy(scores),
        "speed": _speed(costs, gradient_arms, level),
        "memory": _memory(costs, gradient_arms, level),
        "losses": None if losses is None else _losses(losses),
        "improvement": _improvement(scores),
    }
    rows = []
    for name, (text, needed) in CLAIMS.items():
        missing = Measurement(f"needs finished runs of {needed}", verdict=NOT_MEASURED)
        rows.append({"name": name, "claim": text, **asdict(measured[name] or missing)})
    return rows


def _at_least(threshold: float, low: float | None, high: float | None) -> str:
    """Return the verdict on the claim that a value with this interval reaches the threshold."""
    if low is None or high is None:
        return INCONCLUSIVE
    return HOLDS if low >= threshold else DOES_NOT_HOLD if high < threshold else INCONCLUSIVE


def _accuracy(scores: Mapping[str, Scores]) -> Measurement | None:
    others = [label for label in scores if label != BASELINE and not label.startswith(DEEPCHEST)]
    if DEEPCHEST not in scores or not others:
        return None
    by_seed, by_replicate = MACRO_ACCURACY.of(scores[DEEPCHEST])
    samples = [MACRO_ACCURACY.of(scores[label]) for label in others]
    gain = difference(
        by_seed - np.mean([seeds for seeds, _ in samples], axis=0),
        by_replicate - np.mean([replicates for _, replicates in samples], axis=0),
    )
    low, high = gain.interval() or (None, None)
    result = (
        f"{100 * gain.estimate:+.2f} points relative to the mean of {', '.join(others)}, over all "
        "findings"
    )
    return Measurement(result, gain.estimate, low, high, _at_least(CLAIMED_GAIN, low, high))


def _speed(costs: Costs, gradient_arms: Sequence[str], level: str) -> Measurement | None:
    rivals = [label for label in gradient_arms if label in costs]
    if DEEPCHEST not in costs or not rivals:
        return None
    ratio, low, high = _mean_ratio(costs, rivals, "step_seconds_by_round")
    result = f"a step of {', '.join(rivals)} takes {ratio:.2f} times as long ({level})"
    return Measurement(result, ratio, low, high, _at_least(CLAIMED_SPEEDUP, low, high))


def _memory(costs: Costs, gradient_arms: Sequence[str], level: str) -> Measurement | None:
    measured = [label for label, cost in costs.items() if cost["peak_memory_by_round"]]
    rivals = [label for label in gradient_arms if label in measured]
    if DEEPCHEST not in measured or not rivals:
        return None
    ratio, low, high = _mean_ratio(costs, rivals, "peak_memory_by_round")
    process = costs[DEEPCHEST]["device"] == "cpu"
    result = (
        f"the peak memory of {'the process' if process else 'tensors'} is {ratio:.3f} times as "
        f"high with {', '.join(rivals)} ({level})"
    )
    verdict = _at_least(1 + (SAME_PROCESS_MEMORY if process else SAME_GPU_MEMORY), low, high)
    if process and verdict == DOES_NOT_HOLD:  # its peak says too little
        verdict = INCONCLUSIVE
    return Measurement(result, ratio, low, high, verdict)


def _mean_ratio(costs: Costs, rivals: Sequence[str], key: str) -> tuple[float, float, float]:
    """Return the geometric mean of the rivals' cost relative to DeepChest's, with its interval."""
    own = costs[DEEPCHEST][key]
    logs = [
        statistics.mean(math.log(costs[rival][key][i] / own[i]) for rival in rivals)
        for i in range(len(own))
    ]
    mean, half = statistics.mean(logs), half_width(logs)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _losses(losses: Mapping[str, Mapping[str, Any]]) -> Measurement:
    defined = {name: row for name, row in losses.items() if math.isfinite(row["estimate"])}
    lower = [name for name, row in defined.items() if row["estimate"] < 0]
    better = [name for name, row in defined.items() if row["verdict"] == BETTER]
    worse = [name for name, row in defined.items() if row["verdict"] == WORSE]
    result = (
        f"relative to equal weighting lower in {len(lower)} of {count_of(len(defined), 'finding')} "
        f"({len(better)} significant after Holm correction), significantly higher in {len(worse)}"
    )
    result += f" ({', '.join(worse)})" if worse else ""
    verdict = INCONCLUSIVE
    if worse:
        verdict = DOES_NOT_HOLD
    elif defined and len(better) == len(defined):
        verdict = HOLDS
    return Measurement(result, verdict=verdict)


def _improvement(scores: Mapping[str, Scores]) -> Measurement | None:
    pairs = [
        (MACRO_AUROC.of(scores[label]), MACRO_AUROC.of(scores[label.removeprefix(COMBINED)]), label)
        for label in scores
        if label.startswith(COMBINED) and label.removeprefix(COMBINED) in scores
    ]
    if not pairs:
        return None
    gain = difference(
        np.mean([top[0] - below[0] for top, below, _ in pairs], axis=0),
        np.mean([top[1] - below[1] for top, below, _ in pairs], axis=0),
    )
    low, high = gain.interval() or (None, None)
    result = "macro AUROC " + ", ".join(
        f"{np.mean(top[0] - below[0]):+.4f} ({label})" for top, below, label in pairs
    )
    verdict = INCONCLUSIVE
    if low is not None and high is not None:
        verdict = HOLDS if low > 0 else DOES_NOT_HOLD if high <= 0 else INCONCLUSIVE
    return Measurement(result, gain.estimate, low, high, verdict)
