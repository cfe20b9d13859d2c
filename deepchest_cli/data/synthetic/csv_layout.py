"""The table of a site with a column for each finding: 1, 0, -1 (uncertain) or blank."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deepchest_cli.data.findings import NO_FINDING
from deepchest_cli.data.synthetic.population import Population
from deepchest_cli.data.synthetic.specification import (
    Chance,
    RadiographSpec,
    Shown,
    Stream,
    image_chance,
)

TABLE = "labels.csv"
_DEVICES = "Support Devices"
_SEXES = {"M": "Male", "F": "Female"}
# Half of the findings below this severity are reported as possible only.
_FAINT = 0.15
# Of the findings that an ill image lacks, reports mention most, and doubt a few.
_NOT_MENTIONED, _DOUBTED = 0.12, 0.03

Columns = Mapping[str, tuple[str, ...]]


def file_name(spec: RadiographSpec) -> str:
    """A patient's number and the visit, counted from 1."""
    return f"P{spec.patient}-{spec.follow_up + 1}.png"


def write_table(
    folder: Path, population: Population, shown: Sequence[Shown], columns: Columns
) -> None:
    """One row an image; half of the patients are for validation, which the site's own needs."""
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_rows(population, shown, columns))


def _rows(
    population: Population, shown: Sequence[Shown], columns: Columns
) -> Iterator[Sequence[object]]:
    person = ("Path", "Patient ID", "Sex", "Age", "Projection", "Split", "Study ID")
    yield (*person, NO_FINDING, *columns, _DEVICES)
    studies = study_names(population.radiographs)
    for spec, one, study in zip(population.radiographs, shown, studies, strict=True):
        split = "test" if spec.patient in population.test_patients else "validation"
        path = f"images/{file_name(spec)}"
        about = (path, f"P{spec.patient}", _SEXES[spec.sex], spec.age, spec.view, split, study)
        healthy = "" if spec.lesions else "1"
        yield (*about, healthy, *_cells(spec, columns), int(one.has_device))


def study_names(radiographs: Sequence[RadiographSpec]) -> list[str]:
    """Return the examination of each image: two that follow each other and show the same are one.

    Images are in the order of patients and visits; the same are age and findings.
    """
    names: list[str] = []
    for number, spec in enumerate(radiographs):
        before = radiographs[number - 1] if number else None
        second = number > 1 and names[-1] == names[-2]
        if before is not None and not second and _shown_together(before) == _shown_together(spec):
            names.append(names[-1])
        else:
            names.append(f"S{spec.patient}-{spec.follow_up + 1}")
    return names


def _shown_together(spec: RadiographSpec) -> tuple[int, int, set[str]]:
    return spec.patient, spec.age, {lesion.finding for lesion in spec.lesions}


def _cells(spec: RadiographSpec, columns: Columns) -> Iterator[str]:
    chance = image_chance(spec, Stream.REPORT)
    severity = {lesion.finding: lesion.severity for lesion in spec.lesions}
    for findings in columns.values():
        found = [severity[name] for name in findings if name in severity]
        yield _cell(max(found, default=None), bool(spec.lesions), chance)


def _cell(severity: float | None, is_ill: bool, chance: Chance) -> str:
    """What a report says of a finding; of a healthy image only that nothing was found."""
    draw = float(chance.uniform())
    if severity is not None:
        return "-1" if severity < _FAINT and draw < 0.5 else "1"
    if not is_ill or draw < _NOT_MENTIONED:
        return ""
    return "-1" if draw < _NOT_MENTIONED + _DOUBTED else "0"
