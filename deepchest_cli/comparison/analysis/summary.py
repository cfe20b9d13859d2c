"""The result of a comparison in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deepchest_cli.comparison.analysis.evidence import DEEPCHEST
from deepchest_cli.comparison.analysis.judging import DOES_NOT_HOLD, HOLDS
from deepchest_cli.comparison.analysis.power_analysis import evidence_sentences
from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    NOT_MEASURED,
    WORSE,
)
from deepchest_cli.reporting.numbers import number

MAX_LABEL_LENGTH = 36  # characters of a weighter's label in tables, plots and sentences
NOT_TESTED = "not tested"  # inconclusive because no test was possible


def shortened(label: str, length: int = MAX_LABEL_LENGTH) -> str:
    """Return a weighter's label, one of more than `length` characters cut in the middle."""
    if len(label) <= length:
        return label
    half = (length - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def summarize(results: Mapping[str, Any]) -> list[str]:
    """Return the result of DeepChest, or of the best weighter without it, and of all weighters.

    Then what inconclusive weighters need, and what else is to be known.
    """
    rows = {
        label: entry["differences"]["macro_auroc"]
        for label, entry in results["weighters"].items()
        if entry["differences"]
    }
    sentences = [_primary_result(results, rows), _all_verdicts(results["claims"], rows)]
    needed = evidence_sentences(
        [(shortened(label), row) for label, row in rows.items()],
        results["design"]["margin"],
        results["data"]["test_patients"],
    )
    sentences += filter(None, [needed])
    if len(results["data"]["data_sets"]) > 1:
        sentences.append(_by_data_set(results))
    sentences += [_outlying(run, rows) for run in results["outlying_runs"]]
    added = len(results["design"]["interim_analyses"]) - 1
    if added:
        sentences.append(
            "Seeds, weighters or the margin were changed after an interim analysis, "
            f"{count_of(added, 'time')}: the p-values are not corrected for that."
        )
    return sentences


def _primary_result(results: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    data, seeds = results["data"], len(results["design"]["seeds"])
    margin = results["design"]["margin"]
    kind = "synthetic " if data["synthetic"] else ""
    where = (
        f"On {count_of(data['test_images'], f'{kind}test radiograph')} of "
        f"{count_of(data['test_patients'], 'patient')}, with {count_of(seeds, 'seed')}, "
    )
    if not rows:
        return where + "no weighter could be compared with equal weighting."
    label = DEEPCHEST if DEEPCHEST in rows else max(rows, key=lambda n: rows[n]["estimate"])
    row = rows[label]
    if not math.isfinite(row["estimate"]):
        return where + "the AUROC is undefined: no finding has both positive and negative images."
    mean = number(results["weighters"][label]["metrics"]["macro_auroc"]["mean"])
    if len(data["data_sets"]) > 1:
        mean += f" in the mean over {count_of(len(data['data_sets']), 'data set')}"
    interval = ""
    if row["low"] is not None:
        interval = f" (simultaneous 95 % interval {row['low']:+.4f} to {row['high']:+.4f})"
    return where + (
        f"{shortened(label)} reached a macro AUROC of {mean}, {row['estimate']:+.4f} relative "
        f"to equal weighting{interval}: {_conclusion(row, margin)}."
    )


def _by_data_set(results: Mapping[str, Any]) -> str:
    """Return the verdicts in each of several data sets."""
    found: dict[str, list[str]] = {}
    for label, entry in results["weighters"].items():
        for name, one in entry["data_sets"].items():
            if one["differences"]:
                row = one["differences"]["macro_auroc"]
                found.setdefault(shown_verdict(row), []).append(f"{shortened(label)} on {name}")
    parts = [
        f"{', '.join(found[verdict])} {'is' if len(found[verdict]) == 1 else 'are'} {verdict}"
        for verdict in (BETTER, WORSE, EQUIVALENT)
        if verdict in found
    ]
    parts += [
        f"{len(found[verdict])} {'is' if len(found[verdict]) == 1 else 'are'} {verdict}"
        for verdict in (INCONCLUSIVE, NOT_TESTED, NOT_MEASURED)
        if verdict in found
    ]
    differences = count_of(sum(map(len, found.values())), "difference")
    verdicts = "; ".join(parts) or "none could be compared with equal weighting"
    return f"In single data sets, of {differences} (Holm correction over all): {verdicts}."


def shown_verdict(row: Mapping[str, Any]) -> str:
    """Return the verdict on a difference for people, who read apart what was not tested."""
    is_untested = row["verdict"] == INCONCLUSIVE and row["p"] is None
    return NOT_TESTED if is_untested else str(row["verdict"])


def _conclusion(row: Mapping[str, Any], margin: float) -> str:
    if row["verdict"] == EQUIVALENT:
        return (
            "it is equivalent: two one-sided tests at 5 % show the difference to be smaller than "
            f"the margin of {margin:g}"
        )
    if row["verdict"] != INCONCLUSIVE:
        return f"it is {row['verdict']}"
    if row["low"] is None:
        return f"not tested, because {row['untested']}"
    return "inconclusive"


def _outlying(run: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is to be known of a run that is far from the other seeds of its weighter."""
    distance = run["macro_auroc"] - run["median"]
    label = run["weighter"]
    text = (
        f"Seed {run['seed']} of {shortened(label)} is outlying: its macro AUROC of "
        f"{run['macro_auroc']:.3f} is {abs(distance):.3f} "
        f"{'below' if distance < 0 else 'above'} the median of its seeds"
    )
    verdicts = []
    for name, row in rows.items():
        other = row["without_outlying_seeds"]
        if other is not None and label in (name, BASELINE):
            found = other["verdict"] if other["p"] is not None else "not tested"
            rests = "" if found == row["verdict"] else ", and so rests on it"
            verdicts.append(
                f"{shortened(name)} is {row['verdict']} with it, {found} without{rests}"
            )
    return f"{text}. Verdicts: {'; '.join(verdicts)}." if verdicts else f"{text}."


def _all_verdicts(
    claims: Sequence[Mapping[str, Any]], rows: Mapping[str, Mapping[str, Any]]
) -> str:
    tested = [label for label, row in rows.items() if row["p"] is not None]
    result = "No weighter was tested"
    if tested:
        better, worse, equivalent = (
            _listed([label for label, row in rows.items() if row["verdict"] == verdict])
            for verdict in (BETTER, WORSE, EQUIVALENT)
        )
        result = (
            f"Of {count_of(len(tested), 'tested weighter')}, {better} better than equal weighting, "
            f"{worse} worse, and {equivalent} equivalent (after Holm correction)"
        )
    verdicts = [claim["verdict"] for claim in claims]
    words = {
        HOLDS: ("holds", "hold"),
        DOES_NOT_HOLD: ("does not hold", "do not hold"),
        INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
        NOT_MEASURED: ("was not measured", "were not measured"),
    }
    counts = [
        f"{verdicts.count(verdict)} {singular if verdicts.count(verdict) == 1 else plural}"
        for verdict, (singular, plural) in words.items()
        if verdict in verdicts
    ]
    return f"{result}. Of the paper's five claims, {', '.join(counts)}."


def _listed(labels: list[str]) -> str:
    if not labels:
        return "none is"
    return f"{', '.join(map(shortened, labels))} {'is' if len(labels) == 1 else 'are'}"
