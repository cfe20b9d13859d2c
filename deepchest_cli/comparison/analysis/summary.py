"""The result of a comparison in sentences that its figures support."""

import math
from collections.abc import Mapping
from typing import Any

from deepchest_cli.comparison.analysis.claims import METHOD, OPEN, UNMEASURED
from deepchest_cli.comparison.analysis.tables import BETTER, WORSE
from deepchest_cli.data.text import count_of

LONGEST = 36  # signs of a weighter's name with its options where there is little room


def shortened(label: str) -> str:
    """Return a weighter's label, long options cut in the middle."""
    if len(label) <= LONGEST:
        return label
    half = (LONGEST - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def summarize(results: Mapping[str, Any]) -> list[str]:
    """Return what was found of DeepChest, or of the best weighter without it, and of the rest."""
    return [_first(results), _second(results), *_looks(results)]


def _looks(results: Mapping[str, Any]) -> list[str]:
    looks = len(results["design"]["looks"])
    if looks < 2:
        return []
    return [
        f"Seeds or weighters were added after results had been seen, "
        f"{count_of(looks - 1, 'time')}: the p-values take no account of that."
    ]


def _first(results: Mapping[str, Any]) -> str:
    data, seeds = results["data"], len(results["design"]["seeds"])
    kind = "synthetic " if data["synthetic"] else ""
    where = (
        f"On {count_of(data['tested_images'], f'{kind}test radiograph')} of "
        f"{count_of(data['tested_patients'], 'patient')}, with {count_of(seeds, 'seed')}, "
    )
    entries = {
        label: entry for label, entry in results["weighters"].items() if entry["differences"]
    }
    if not entries:
        return where + "nothing could be compared with equal weighting."
    label = METHOD if METHOD in entries else max(entries, key=lambda n: _estimate(entries[n]))
    row = entries[label]["differences"]["macro_auroc"]
    if not math.isfinite(row["estimate"]):
        return where + "no AUROC is defined: no finding has images with it and images without it."
    mine = entries[label]["quality"]["macro_auroc"]["mean"]
    return where + (
        f"{shortened(label)} reached a macro AUROC of {mine:.3f}, {row['estimate']:+.4f} against "
        f"equal weighting{_interval(row)}: {_judged(row)}."
    )


def _estimate(entry: Mapping[str, Any]) -> float:
    return float(entry["differences"]["macro_auroc"]["estimate"])


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return ""
    return f" (95 % interval {row['low']:+.4f} to {row['high']:+.4f})"


def _judged(row: Mapping[str, Any]) -> str:
    if row["verdict"] != OPEN:
        return f"it is {row['verdict']}"
    needed = row["seeds_needed"]
    if row["low"] is None:
        if needed is None:
            return "it could not be tested"
        return f"too few seeds for a test, which takes {needed} or more"
    if needed is None:
        return "no difference can be told, and more seeds alone would not tell one of this size"
    return f"no difference can be told; one of this size would take {needed} seeds"


def _second(results: Mapping[str, Any]) -> str:
    rows = {
        label: entry["differences"]["macro_auroc"]
        for label, entry in results["weighters"].items()
        if entry["differences"]
    }
    tested = [label for label, row in rows.items() if row["p"] is not None]
    better = [label for label, row in rows.items() if row["verdict"] == BETTER]
    worse = [label for label, row in rows.items() if row["verdict"] == WORSE]
    verdicts = [claim["verdict"] for claim in results["claims"]]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {words}"
        for verdict, words in (
            ("holds", "hold here"),
            ("does not hold", "do not"),
            (OPEN, "inconclusive"),
            (UNMEASURED, "were not measured"),
        )
        if verdict != UNMEASURED or UNMEASURED in verdicts
    )
    found = "No weighter could be tested"
    if tested:
        found = (
            f"Of {len(tested)} tested weighter{'s' if len(tested) > 1 else ''}, {_listed(better)} "
            f"better than equal weighting and {_listed(worse)} worse (Holm-corrected)"
        )
    return f"{found}; of the paper's five claims {counts}."


def _listed(labels: list[str]) -> str:
    return (
        f"{', '.join(map(shortened, labels))} {'is' if len(labels) == 1 else 'are'}"
        if labels
        else "none is"
    )
