"""The five claims of the paper's abstract (Mohamed et al. 2025), and what was measured of each."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.evidence import COMBINED, DEEPCHEST, Evidence
from deepchest_cli.comparison.analysis.judging import (
    DOES_NOT_HOLD,
    HOLDS,
    Measured,
    Reading,
    Row,
    judge,
    over_all,
)
from deepchest_cli.comparison.analysis.metrics import (
    MACRO_ACCURACY,
    MACRO_AUROC,
    finding_difference,
    paired,
)
from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.statistics import INCONCLUSIVE, NOT_MEASURED, difference
from deepchest_cli.reporting.numbers import signed

CLAIMED_POINTS, CLAIMED_RATIO, CLAIMED_SPEEDUP = 0.07, 1.07, 3.0
# Relative difference below which two peaks of memory are equal. The peak of a process includes
# libraries, data and memory that the allocator keeps, and so varies more than that of GPU tensors.
SAME_GPU_MEMORY, SAME_PROCESS_MEMORY = 0.01, 0.1


@dataclass(frozen=True)
class Outcome:
    """What was found of a claim."""

    verdict: str
    result: str
    readings: Sequence[Reading] = ()


@dataclass(frozen=True)
class Claim:
    """A claim of the paper's abstract."""

    quote: str  # the abstract's own words
    claim: str  # what is judged
    needs: str  # runs without which it is not measured
    judge: Callable[[Evidence], Outcome | None]


def claims(evidence: Evidence) -> list[dict[str, Any]]:
    """Return each claim with the paper's words, its readings row by row, and the verdict."""
    found = []
    for name, claim in CLAIMS.items():
        missing = Outcome(NOT_MEASURED, f"Not measured: it needs finished runs of {claim.needs}.")
        outcome = asdict(claim.judge(evidence) or missing)
        found.append({"name": name, "quote": claim.quote, "claim": claim.claim, **outcome})
    return found


def _accuracy(evidence: Evidence) -> Outcome | None:
    scores = evidence.scores
    rivals = [arm.label for arm in evidence.rivals if arm.label in scores]
    if DEEPCHEST not in scores or not rivals:
        return None
    own = MACRO_ACCURACY.of(scores[DEEPCHEST])
    patients = MACRO_ACCURACY.carriers(scores[DEEPCHEST])
    points, ratios = [], []
    for label in rivals:
        other = MACRO_ACCURACY.of(scores[label])
        accuracy = float(other[0].mean())
        why = evidence.excluded(DEEPCHEST, label)
        points.append(Measured(label, paired(own, other, patients), why, 1 - accuracy))
        with np.errstate(divide="ignore", invalid="ignore"):  # an accuracy of 0 has no ratio
            mine, theirs = ((np.log(values), np.log(drawn)) for values, drawn in (own, other))
        ratio = paired(mine, theirs, patients)
        ratios.append(Measured(label, ratio, why, 1 / accuracy if accuracy else None))
    readings = (
        judge("more accurate at all", points, 0),
        judge("7 points more accurate", points, CLAIMED_POINTS),
        judge("1.07 times as accurate", ratios, CLAIMED_RATIO, ratios=True),
    )
    # the abstract does not say which of the two sizes it means: the claim fails where both do
    sizes = [reading.verdict for reading in readings[1:]]
    verdict = sizes[0] if sizes[0] == sizes[1] else HOLDS if HOLDS in sizes else INCONCLUSIVE
    if verdict == NOT_MEASURED:
        return Outcome(verdict, readings[0].not_measured, readings)
    result = _best_rival(float(own[0].mean()), *readings) + " Against each of them: "
    result += "; ".join(f"{reading.reading}: {reading.verdict}" for reading in readings)
    result += f".{readings[0].untested}{evidence.unfinished}{evidence.partly_unmoved}"
    return Outcome(verdict, result, readings)


def _best_rival(accuracy: float, superiority: Reading, points: Reading, ratios: Reading) -> str:
    """Return DeepChest's accuracy relative to that of the rival with the highest, as sentences."""
    compared = min(superiority.counted, key=lambda row: row.estimate)
    ratio = next(row for row in ratios.rows if row.subject == compared.subject)
    largest = 100 * (compared.largest or 0)
    reach = ", fewer than claimed" if largest < 100 * points.holds_above else ""
    return (
        f"Accuracy {accuracy:.3f}, against {accuracy - compared.estimate:.3f} of "
        f"{compared.subject}, on these test data the best of "
        f"{count_of(len(superiority.counted), 'published method')}: "
        f"{100 * compared.estimate:+.2f} points{compared.within(2, 100, sign=True)}, "
        f"{ratio.estimate:.3f} times{ratio.within()}. At most {largest:+.1f} points were possible"
        f"{reach}."
    )


def _speed(evidence: Evidence) -> Outcome | None:
    costs, rivals = evidence.costs, evidence.gradient_rivals
    if DEEPCHEST not in costs or not rivals:
        return None
    own, measured = np.log(costs[DEEPCHEST]["step_seconds_by_round"]), []
    for label in rivals:
        # of steps back to back, which training pays
        slower = np.log(costs[label]["step_seconds_by_round"]) - own
        # rounds take the place of seeds, and there are no patients
        one = difference(slower, np.zeros((len(slower), 2)))
        measured.append(Measured(label, one, evidence.cost_excluded))
    reading = judge("3 times as fast", measured, CLAIMED_SPEEDUP, ratios=True, unit="round")
    times = ", ".join(f"{r.subject} {r.estimate:.2f}{r.within(2)}" for r in reading.rows)
    result = f"Back to back, a step takes this many times as long as one of deepchest: {times}."
    return Outcome(reading.verdict, f"{reading.not_measured} {result}".strip(), [reading])


def _memory(evidence: Evidence) -> Outcome | None:
    peaks = {n: np.array(c["peak_memory_by_round"], float) for n, c in evidence.costs.items()}
    rivals = [label for label in evidence.gradient_rivals if len(peaks[label])]
    if not rivals or not len(peaks.get(DEEPCHEST, ())):
        return None
    process = evidence.costs[DEEPCHEST]["device"] == "cpu"
    bound = 1 + (SAME_PROCESS_MEMORY if process else SAME_GPU_MEMORY)
    why, rows = evidence.cost_excluded, []
    for label in rivals:
        ratios = peaks[label] / peaks[DEEPCHEST]
        low, high = float(ratios.min()), float(ratios.max())  # counted bytes, no sample: no test
        verdict = HOLDS if low > bound else DOES_NOT_HOLD if high < bound else INCONCLUSIVE
        if process and verdict == DOES_NOT_HOLD:  # its peak says too little
            verdict = INCONCLUSIVE
        verdict = NOT_MEASURED if why else verdict
        mean = float(np.exp(np.log(ratios).mean()))
        rows.append(Row(label, mean, low, high, None, None, None, verdict, why))
    verdict = over_all([row.verdict for row in rows])
    reading = Reading("less memory", bound, bound, verdict, tuple(rows))
    ratios = ", ".join(f"{r.subject} {r.estimate:.3f}" for r in rows)
    of = "the process" if process else "tensors"
    result = f"The peak memory of {of} is this many times that with deepchest: {ratios}."
    return Outcome(verdict, f"{reading.not_measured} {result}".strip(), [reading])


def _losses(evidence: Evidence) -> Outcome | None:
    scores = evidence.scores
    if DEEPCHEST not in scores or BASELINE not in scores:
        return None
    why = evidence.excluded(DEEPCHEST, BASELINE)
    # equal weighting first: positive is a reduction
    equal, deepchest = scores[BASELINE], scores[DEEPCHEST]
    measured = [
        Measured(finding, finding_difference(equal, deepchest, "loss", i), why)
        for i, finding in enumerate(evidence.findings)
    ]
    reading = judge("a lower loss", measured, 0)
    if reading.verdict == NOT_MEASURED:
        return Outcome(NOT_MEASURED, reading.not_measured, [reading])
    rows = reading.counted
    higher = [row.subject for row in rows if row.verdict == DOES_NOT_HOLD]
    result = (
        f"Relative to equal weighting the loss is lower in {sum(r.estimate > 0 for r in rows)} of "
        f"{count_of(len(rows), 'finding')} (significantly in "
        f"{sum(r.verdict == HOLDS for r in rows)}, each tested alone), and significantly higher in "
        f"{len(higher)} after Holm correction"
    )
    result += f" ({', '.join(higher)})." if higher else "."
    result += reading.untested + evidence.partly_unmoved
    return Outcome(reading.verdict, result, [reading])


def _improvement(evidence: Evidence) -> Outcome | None:
    scores = evidence.scores
    methods = [arm.label for arm in evidence.rivals if arm.label in scores]
    pairs = [(COMBINED + method, method) for method in methods if COMBINED + method in scores]
    if not pairs:
        return None
    measured = []
    for top, method in pairs:
        why = evidence.excluded(top, method)
        above, below = MACRO_AUROC.of(scores[top]), MACRO_AUROC.of(scores[method])
        gain = paired(above, below, MACRO_AUROC.carriers(scores[method]))
        measured.append(Measured(top, gain, why))
    reading = judge("a higher macro AUROC", measured, 0, fails_below=evidence.margin)
    if reading.verdict == NOT_MEASURED:
        return Outcome(NOT_MEASURED, reading.not_measured, [reading])
    result = f"Macro AUROC relative to the method alone (margin {evidence.margin:g}): " + (
        "; ".join(
            f"{row.subject} {signed(row.estimate, 4)}{row.within(4, sign=True)}, {row.verdict}"
            + (", by less than the margin" if _is_small(row) else "")
            for row in reading.counted
        )
    )
    if {HOLDS, DOES_NOT_HOLD} <= {row.verdict for row in reading.rows}:
        result += ". Mixed: some methods are improved, others are not"
    result += f".{reading.untested}{evidence.unfinished}{evidence.unfinished_pairs}"
    return Outcome(reading.verdict, result, [reading])


def _is_small(row: Row) -> bool:
    """Return whether a gain is significant, and smaller than what matters."""
    return row.verdict == DOES_NOT_HOLD and row.low is not None and row.low > 0


CLAIMS = {
    "accuracy": Claim(
        "outperforms state-of-the-art MTL methods by 7% in overall accuracy",
        "DeepChest's accuracy is 7 points above, or 1.07 times, that of every published method.",
        "deepchest and a published method of others",
        _accuracy,
    ),
    "speed": Claim(
        "achieving a threefold increase in training speed",
        "A training step of DeepChest takes a third of the time of every gradient-based method.",
        "deepchest and a gradient-based method",
        _speed,
    ),
    "memory": Claim(
        "significantly reducing memory usage",
        "DeepChest needs less memory than every gradient-based method.",
        "deepchest and a gradient-based method, on a system that counts memory",
        _memory,
    ),
    "losses": Claim(
        "yields substantial reductions in individual task losses",
        "DeepChest lowers the loss of every finding, relative to equal weighting.",
        "deepchest and equal",
        _losses,
    ),
    "improvement": Claim(
        "can be easily applied to improve various state-of-the-art methods",
        "DeepChest on top of a published method improves it, whichever it is.",
        "a published method X and deepchest+X",
        _improvement,
    ),
}
