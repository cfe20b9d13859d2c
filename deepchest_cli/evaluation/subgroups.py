"""For whom a model fails: sex, age band, view and their crossings.

All groups share the operating point. Underdiagnosis is the share of images with a finding that the
model calls free of all of them (Seyyed-Kalantari et al. 2021, Nature Medicine 27).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.bootstrap import Resampling, effective_patients, patients_with
from deepchest_cli.evaluation.cases import Cases
from deepchest_cli.evaluation.choices import Choices
from deepchest_cli.evaluation.figures import NOTHING, auroc_replicates, figure, ratio_figures
from deepchest_cli.evaluation.metrics import Floats, auroc
from deepchest_cli.evaluation.operating_points import SHARED_RULE
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import mean_of_defined

FEWEST_PATIENTS = 10
RULE = (
    f"Suppressed are groups of fewer than {FEWEST_PATIENTS} patients, AUROC where fewer than "
    f"{FEWEST_PATIENTS} patients have the finding or have not, and rates where fewer than "
    f"{FEWEST_PATIENTS} patients are in their denominator."
)
AGE_BANDS = (("0–19", 0), ("20–39", 20), ("40–59", 40), ("60–79", 60), ("80+", 80))  # years


@dataclass(frozen=True)
class Group:
    """Images that have something in common."""

    attribute: str
    name: str
    rows: NDArray[np.int64]


def _bands(age: NDArray[np.float64]) -> NDArray[np.str_]:
    names = np.array(["", *(name for name, _ in AGE_BANDS)])
    starts = [start for _, start in AGE_BANDS]
    return np.asarray(names[np.where(np.isnan(age), 0, np.searchsorted(starts, age, "right"))])


def groups_of(cases: Cases) -> Iterator[Group]:
    """Yield the groups by each attribute and by each pair; images without a value are in none."""
    attributes = {"sex": cases.sex, "age": _bands(cases.age), "view": cases.view}
    for name, values in attributes.items():
        for value in _present(values):
            yield Group(name, value, np.flatnonzero(values == value))
    for (one, firsts), (other, seconds) in combinations(attributes.items(), 2):
        for first in _present(firsts):
            for second in _present(seconds):
                rows = np.flatnonzero((firsts == first) & (seconds == second))
                if len(rows):
                    yield Group(f"{one} and {other}", f"{first}, {second}", rows)


def _present(values: NDArray[np.str_]) -> list[str]:
    return [value for value in np.unique(values).tolist() if value]


def subgroups(cases: Cases, resampling: Resampling, choices: Choices | None) -> dict[str, Any]:
    """Return every group's figures with intervals; without `choices` there are no rates."""
    table = cases.predictions
    called = None if choices is None else calls(table, choices)
    return {
        "rule": RULE,
        "operating_point": None if choices is None else SHARED_RULE,
        "groups": [_group(group, table, called, resampling) for group in groups_of(cases)],
    }


@dataclass(frozen=True)
class Calls:
    """What is called at the shared operating point."""

    positive: NDArray[np.bool_]  # (N, T)
    possible: NDArray[np.bool_]  # (T,), whether the finding has a threshold at all


def calls(table: Predictions, choices: Choices) -> Calls:
    """Return which findings are called at the shared operating point."""
    limits = np.array([choices.threshold(name, SHARED_RULE) for name in table.findings])
    possible = np.isfinite(limits)
    return Calls(table.probabilities >= np.where(possible, limits, np.inf), possible)


def _group(
    group: Group, table: Predictions, called: Calls | None, resampling: Resampling
) -> dict[str, Any]:
    patients = len(np.unique(table.patient_id[group.rows]))
    entry: dict[str, Any] = {
        "attribute": group.attribute,
        "group": group.name,
        "images": len(group.rows),
        "patients": patients,
        "suppressed": patients < FEWEST_PATIENTS,
        "macro_auroc": dict(NOTHING),
        "scored_findings": 0,
        "underdiagnosis": dict(NOTHING),
        "findings": {},
    }
    if entry["suppressed"]:
        return entry
    ranked = _aurocs(group, table, resampling)
    values = np.array([value for value, _ in ranked])
    replicates = np.stack([column for _, column in ranked], axis=1)
    means = mean_of_defined(replicates)
    owners = table.patient_id[group.rows]
    everybody = effective_patients(np.ones(len(owners)), owners)
    entry["macro_auroc"] = figure(float(mean_of_defined(values)), means, everybody)
    entry["scored_findings"] = int(np.isfinite(values).sum())
    rates, entry["underdiagnosis"] = _rates(group, table, called, resampling)
    for column, finding in enumerate(table.findings):
        ill, well, _ = _sides(group, table, column)
        carrying = min(effective_patients(side, owners) for side in (ill, well))
        entry["findings"][finding] = {
            "positives": int(ill.sum()),
            "negatives": int(well.sum()),
            "auroc": figure(values[column], replicates[:, column], carrying),
            **rates[column],
        }
    return entry


def _sides(
    group: Group, table: Predictions, column: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[int, int]]:
    """Return which images have a finding and which have not, and how many patients do."""
    labels, known = table.labels[group.rows, column], table.known[group.rows, column] == 1
    patients = table.patient_id[group.rows]
    ill, well = known & (labels == 1), known & (labels == 0)
    return ill, well, (patients_with(ill, patients), patients_with(well, patients))


def _aurocs(group: Group, table: Predictions, resampling: Resampling) -> list[tuple[float, Floats]]:
    found = []
    for column in range(len(table.findings)):
        _, _, counts = _sides(group, table, column)
        if min(counts) < FEWEST_PATIENTS:
            found.append((np.nan, np.full(len(resampling.counts), np.nan)))
            continue
        rows = group.rows[table.known[group.rows, column] == 1]
        labels, scores = table.labels[rows, column], table.probabilities[rows, column]
        found.append((auroc(labels, scores), auroc_replicates(labels, scores, rows, resampling)))
    return found


def _rates(
    group: Group, table: Predictions, called: Calls | None, resampling: Resampling
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return false negative and false positive rates by finding, and the underdiagnosis."""
    count = len(table.findings)
    nothing = [{"fnr": dict(NOTHING), "fpr": dict(NOTHING)} for _ in range(count)]
    if called is None:
        return nothing, dict(NOTHING)
    mine = called.positive[group.rows]
    sides = [_sides(group, table, column) for column in range(count)]
    # a finding without a threshold is never called: it can be no underdiagnosis either
    some = np.stack(
        [ill & can for (ill, _, _), can in zip(sides, called.possible, strict=True)]
    ).any(axis=0)
    parts = [some & ~mine.any(axis=1)]
    wholes = [some]
    for column, (ill, well, _) in enumerate(sides):
        parts += [ill & ~mine[:, column], well & mine[:, column]]
        wholes += [ill, well]
    counted, among = (np.stack(side, axis=1).astype(np.float64) for side in (parts, wholes))
    found = ratio_figures(counted, among, group.rows, resampling)
    patients = len(np.unique(table.patient_id[group.rows][some]))
    for column, (_, _, counts) in enumerate(sides):
        for name, place, count_of in zip(("fnr", "fpr"), (1, 2), counts, strict=True):
            if count_of >= FEWEST_PATIENTS and called.possible[column]:
                nothing[column][name] = found[2 * column + place]
    return nothing, found[0] if patients >= FEWEST_PATIENTS else dict(NOTHING)
