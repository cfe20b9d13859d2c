"""How many seeds or test patients would detect a difference as large as the margin."""

from collections.abc import Mapping, Sequence
from typing import Any

from deepchest_cli.data.text import count_of, few
from deepchest_cli.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    MAX_PATIENTS_FACTOR,
    MAX_SEEDS,
    POWER,
    WORSE,
)
from deepchest_cli.reporting.numbers import UNDEFINED

DECIDED = (BETTER, EQUIVALENT, WORSE)
Row = Mapping[str, Any]  # a difference in macro AUROC, as in the results document


def evidence_needed(row: Row | None, margin: float) -> str:
    """Return what would detect a difference as large as the margin, for a cell of a table.

    A dash where the verdict is known, or where nothing can be said without a margin.
    """
    if row is None or row["verdict"] != INCONCLUSIVE:
        return UNDEFINED
    if row["p"] is None:
        return f"not tested: {row['untested']}"
    if not margin:
        return UNDEFINED
    if _is_enough(row):
        return f"{row['seeds']:,} seeds are enough"
    options = []
    if row["seeds_needed"] is not None:
        options.append(f"{row['seeds_needed']:,} seeds")
    if row["patients_factor_needed"] is not None:
        options.append(f"{row['patients_factor_needed']:g} × the patients")
    return " or ".join(options) or "more seeds and more patients"


def evidence_sentences(rows: Sequence[tuple[str, Row]], margin: float, patients: int) -> str:
    """Return in sentences what the inconclusive weighters need; empty without differences.

    rows: the weighters' names, as they are to be shown, and their differences in macro AUROC.
    patients: how many were tested.
    """
    still_open = [(name, row) for name, row in rows if row["verdict"] == INCONCLUSIVE]
    tested = [(name, row) for name, row in still_open if row["p"] is not None]
    untested = [(name, row["untested"]) for name, row in still_open if row["p"] is None]
    sentences = []
    if tested and not margin:
        sentences.append(
            "Without a margin, the number of seeds or test patients needed is undefined."
        )
    elif tested:
        enough = [one for one in tested if _is_enough(one[1])]
        too_few = [one for one in tested if not _is_enough(one[1])]
        if too_few:
            sentences.append(_too_few(too_few, margin, patients))
        if enough:
            sentences.append(_enough(enough, margin))
    if untested:
        reasons = [(reason, name) for name, reason in untested]
        sentences += [
            f"Not tested: {few(n for r, n in reasons if r == reason)} ({reason})."
            for reason in dict.fromkeys(reason for reason, _ in reasons)
        ]
    if rows and all(row["verdict"] in DECIDED for _, row in rows):
        sentences.append("No weighter is inconclusive: this margin needs no more runs.")
    return " ".join(sentences)


def _is_enough(row: Row) -> bool:
    """Whether the seeds that were run detect a difference of the margin already."""
    return row["seeds_needed"] is not None and row["seeds_needed"] <= row["seeds"]


def _too_few(pairs: Sequence[tuple[str, Row]], margin: float, patients: int) -> str:
    """Return how many seeds, or test patients, a difference of the margin takes."""
    rows = [row for _, row in pairs]
    seeds = [row["seeds_needed"] for row in rows if row["seeds_needed"] is not None]
    factors = [row["patients_factor_needed"] for row in rows]
    tested = [round(factor * patients) for factor in factors if factor is not None]
    options = []
    if seeds:
        run = rows[0]["seeds"]
        options.append(f"{_span(seeds)} seeds instead of {run:,}{_share(seeds, rows)}")
    if tested:
        text = f"{_span(tested)} test patients instead of {patients:,}{_share(tested, rows)}"
        options.append(f"about {text}")
    if not options:
        options.append("more seeds and more test patients")
    if not seeds:
        options[-1] += f"; up to {MAX_SEEDS:,} seeds alone would not do"
    if not tested:
        options[-1] += f"; up to {MAX_PATIENTS_FACTOR} times the test patients alone would not do"
    return (
        f"{_are(pairs)} inconclusive: detecting a difference as large as the margin of {margin:g} "
        f"with a power of {100 * POWER:.0f} % takes {' or '.join(options)}."
    )


def _enough(pairs: Sequence[tuple[str, Row]], margin: float) -> str:
    return (
        f"{_are(pairs)} inconclusive although {count_of(pairs[0][1]['seeds'], 'seed')} would "
        f"detect a difference of {margin:g} with a power of {100 * POWER:.0f} %: a smaller one "
        "takes more seeds or test patients."
    )


def _are(pairs: Sequence[tuple[str, Row]]) -> str:
    return f"{few(name for name, _ in pairs)} {'are' if len(pairs) > 1 else 'is'}"


def _share(found: Sequence[int], rows: Sequence[Row]) -> str:
    """Return for how many of the weighters there is a number, where not for all."""
    return "" if len(found) == len(rows) else f" (for {len(found)} of {len(rows)})"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
