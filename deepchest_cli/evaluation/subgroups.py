"""Subgroup analysis by sex, age band, view and their intersections.

All groups share the operating point. Underdiagnosis is the share of images with a finding that are
predicted negative for all findings (Seyyed-Kalantari et al. 2021, Nature Medicine 27).

Differences are to the group of the attribute with the most patients: a group against all others, or
the best against the worst, would be chosen by the results or overlap with what it is compared to.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.bootstrap import (
    UNDEFINED,
    Resampling,
    auroc_with_interval,
    macro_with_interval,
    patients_with,
    ratios_with_intervals,
    resampled_metric,
)
from deepchest_cli.evaluation.differences import group_difference
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.operating_points import REFERENCE_RULE
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.statistics import mean_of_defined
from deepchest_cli.evaluation.validation_fit import ValidationFit

MIN_PATIENTS = 10
RULE = (
    f"Suppressed are groups of fewer than {MIN_PATIENTS} patients, AUROC where fewer than "
    f"{MIN_PATIENTS} patients have the finding or have not, and rates where fewer than "
    f"{MIN_PATIENTS} patients are in their denominator."
)
AGE_BANDS = (("0–19", 0), ("20–39", 20), ("40–59", 40), ("60–79", 60), ("80+", 80))  # years


@dataclass(frozen=True)
class Group:
    """Images or units of one value of an attribute, or of a pair of values."""

    attribute: str
    name: str
    rows: NDArray[np.int64]
    images: int  # that the rows are made of


def _bands(age: NDArray[np.float64]) -> NDArray[np.str_]:
    names = np.array(["", *(name for name, _ in AGE_BANDS)])
    starts = [start for _, start in AGE_BANDS]
    return np.asarray(names[np.where(np.isnan(age), 0, np.searchsorted(starts, age, "right"))])


def subgroups_of(scored: ScoredImages) -> Iterator[Group]:
    """Yield the groups by each attribute and by each pair; images without a value are in none."""
    attributes = {"sex": scored.sex, "age": _bands(scored.age), "view": scored.view}
    for name, values in attributes.items():
        for value in _present(values):
            rows = np.flatnonzero(values == value)
            yield Group(name, value, rows, scored.count_images(rows))
    for (one, firsts), (other, seconds) in combinations(attributes.items(), 2):
        for first in _present(firsts):
            for second in _present(seconds):
                rows = np.flatnonzero((firsts == first) & (seconds == second))
                if len(rows):
                    images = scored.count_images(rows)
                    yield Group(f"{one} and {other}", f"{first}, {second}", rows, images)


def _present(values: NDArray[np.str_]) -> list[str]:
    return [value for value in np.unique(values).tolist() if value]


@dataclass(frozen=True)
class Decisions:
    """What is predicted positive at the reference operating point."""

    positive: NDArray[np.bool_]  # (N, T)
    possible: NDArray[np.bool_]  # (T,), whether the finding has a threshold at all


def decisions(table: Predictions, fit: ValidationFit) -> Decisions:
    """Return what is predicted positive at the reference operating point."""
    limits = [fit.limits(table, name, REFERENCE_RULE) for name in table.findings]
    reached = table.probabilities >= np.stack(limits, axis=1)  # never where there is none
    possible = [np.isfinite(fit.threshold(name, REFERENCE_RULE)) for name in table.findings]
    return Decisions(reached, np.array(possible))


@dataclass(frozen=True)
class _Scored:
    """A group's entry with what differences to another group are made of."""

    entry: dict[str, Any]
    aurocs: list[dict[str, float]]  # of each finding
    replicates: Floats  # (B, T), of the AUROC
    rates: Floats | None  # (B, 1 + 2 T): underdiagnosis, FNR and FPR of each finding in turn

    def scored(self) -> set[int]:
        """The columns of the findings that have an AUROC."""
        return {i for i, found in enumerate(self.aurocs) if math.isfinite(found["value"])}


def subgroups(
    scored: ScoredImages, resampling: Resampling, fit: ValidationFit | None
) -> dict[str, Any]:
    """Return every group's metrics with intervals; without a `fit` there are no rates.

    Each group is compared with the reference group of its attribute, on the same replicates.
    """
    table = scored.predictions
    decided = None if fit is None else decisions(table, fit)
    found = [_group(group, table, decided, resampling) for group in subgroups_of(scored)]
    references = _references(found)
    for one in found:
        reference = references.get(one.entry["attribute"])
        if reference is not None and one is not reference and not one.entry["suppressed"]:
            _add_differences(one, reference)
    return {
        "rule": RULE,
        "operating_point": None if fit is None else REFERENCE_RULE,
        "groups": [one.entry for one in found],
    }


def _references(groups: list[_Scored]) -> dict[str, _Scored]:
    """Return the group of most patients of each attribute, the first among equals."""
    largest: dict[str, _Scored] = {}
    for one in groups:
        other = largest.get(one.entry["attribute"])
        if not one.entry["suppressed"] and (
            other is None or one.entry["patients"] > other.entry["patients"]
        ):
            largest[one.entry["attribute"]] = one
    return largest


def _add_differences(one: _Scored, two: _Scored) -> None:
    """Add what a group has more than its reference group, macro means over shared findings."""
    shared = sorted(one.scored() & two.scored())

    def macro(group: _Scored) -> tuple[dict[str, float], Floats]:
        replicates = group.replicates[:, shared]
        found = macro_with_interval([group.aurocs[i] for i in shared], replicates)
        return found, mean_of_defined(replicates)

    own, other = macro(one), macro(two)
    one.entry["reference"] = two.entry["group"]
    one.entry["differences"] = {
        "scored_findings": len(shared),
        "macro_auroc": group_difference(own[0], other[0], (own[1], other[1])),
        "underdiagnosis": _rate_difference(one, two, 0, "underdiagnosis"),
    }
    for column, name in enumerate(one.entry["findings"]):
        pair = one.entry["findings"][name], two.entry["findings"][name]
        drawn = one.replicates[:, column], two.replicates[:, column]
        pair[0]["differences"] = {
            "auroc": group_difference(pair[0]["auroc"], pair[1]["auroc"], drawn),
            "fnr": _rate_difference(one, two, 2 * column + 1, "fnr", name),
            "fpr": _rate_difference(one, two, 2 * column + 2, "fpr", name),
        }


def _rate_difference(
    one: _Scored, two: _Scored, place: int, rate: str, finding: str | None = None
) -> dict[str, float]:
    if one.rates is None or two.rates is None:
        return dict(UNDEFINED)
    first, second = (
        group.entry[rate] if finding is None else group.entry["findings"][finding][rate]
        for group in (one, two)
    )
    return group_difference(first, second, (one.rates[:, place], two.rates[:, place]))


def _group(
    group: Group, table: Predictions, decided: Decisions | None, resampling: Resampling
) -> _Scored:
    patients = len(np.unique(table.patient_id[group.rows]))
    entry: dict[str, Any] = {
        "attribute": group.attribute,
        "group": group.name,
        "images": group.images,
        "units": len(group.rows),
        "patients": patients,
        "suppressed": patients < MIN_PATIENTS,
        "macro_auroc": dict(UNDEFINED),
        "scored_findings": 0,
        "underdiagnosis": dict(UNDEFINED),
        "reference": None,
        "differences": None,
        "findings": {},
    }
    if entry["suppressed"]:
        return _Scored(entry, [], np.empty((0, 0)), None)
    ranked = _aurocs(group, table, resampling)
    aurocs = [found for found, _ in ranked]
    replicates = np.stack([column for _, column in ranked], axis=1)
    entry["macro_auroc"] = macro_with_interval(aurocs, replicates)
    entry["scored_findings"] = sum(math.isfinite(found["value"]) for found in aurocs)
    rates, entry["underdiagnosis"], rate_replicates = _rates(group, table, decided, resampling)
    for column, finding in enumerate(table.findings):
        present, absent, _ = _sides(group, table, column)
        entry["findings"][finding] = {
            "positives": int(present.sum()),
            "negatives": int(absent.sum()),
            "auroc": aurocs[column],
            **rates[column],
            "differences": None,
        }
    return _Scored(entry, aurocs, replicates, rate_replicates)


def _sides(
    group: Group, table: Predictions, column: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[int, int]]:
    """Return which images have a finding and which have not, and how many patients do."""
    labels, known = table.labels[group.rows, column], table.known[group.rows, column] == 1
    patients = table.patient_id[group.rows]
    present, absent = known & (labels == 1), known & (labels == 0)
    return present, absent, (patients_with(present, patients), patients_with(absent, patients))


def _aurocs(
    group: Group, table: Predictions, resampling: Resampling
) -> list[tuple[dict[str, float], Floats]]:
    """Return each finding's AUROC with its interval, and its replicates (B,)."""
    found = []
    for column in range(len(table.findings)):
        _, _, counts = _sides(group, table, column)
        if min(counts) < MIN_PATIENTS:
            found.append((dict(UNDEFINED), np.full(len(resampling.counts), np.nan)))
            continue
        rows = group.rows[table.known[group.rows, column] == 1]
        labels, scores = table.labels[rows, column], table.probabilities[rows, column]
        replicates = resampled_metric("auroc", labels, scores, rows, resampling)
        found.append((auroc_with_interval(labels, scores, rows, resampling), replicates))
    return found


def _rates(
    group: Group, table: Predictions, decided: Decisions | None, resampling: Resampling
) -> tuple[list[dict[str, Any]], dict[str, float], Floats | None]:
    """Return false negative and false positive rates by finding, and the underdiagnosis.

    Last their replicates, as in `_Scored`.
    """
    count = len(table.findings)
    rates = [{"fnr": dict(UNDEFINED), "fpr": dict(UNDEFINED)} for _ in range(count)]
    if decided is None:
        return rates, dict(UNDEFINED), None
    positive = decided.positive[group.rows]
    sides = [_sides(group, table, column) for column in range(count)]
    # a finding without a threshold is never predicted, which is no underdiagnosis either
    some = np.stack(
        [present & can for (present, _, _), can in zip(sides, decided.possible, strict=True)]
    ).any(axis=0)
    numerators = [some & ~positive.any(axis=1)]
    denominators = [some]
    for column, (present, absent, _) in enumerate(sides):
        numerators += [present & ~positive[:, column], absent & positive[:, column]]
        denominators += [present, absent]
    counted, among = (
        np.stack(side, axis=1).astype(np.float64) for side in (numerators, denominators)
    )
    found = ratios_with_intervals(counted, among, group.rows, resampling)
    patients = len(np.unique(table.patient_id[group.rows][some]))
    for column, (_, _, counts) in enumerate(sides):
        for name, place, count_of in zip(("fnr", "fpr"), (1, 2), counts, strict=True):
            if count_of >= MIN_PATIENTS and decided.possible[column]:
                rates[column][name] = found[2 * column + place]
    underdiagnosis = found[0] if patients >= MIN_PATIENTS else dict(UNDEFINED)
    return rates, underdiagnosis, resampling.ratios(group.rows, counted, among)
