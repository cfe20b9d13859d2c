"""Everything that an evaluation finds out, in plain values: what all outputs are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli import __version__
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.baseline import metadata_baseline
from deepchest_cli.evaluation.bootstrap import Resampling, resample_patients
from deepchest_cli.evaluation.cases import Cases
from deepchest_cli.evaluation.expert_labels import clean_labels, read_expert_labels
from deepchest_cli.evaluation.localization import Located, localization
from deepchest_cli.evaluation.material.material import Material
from deepchest_cli.evaluation.overlap_text import statement
from deepchest_cli.evaluation.paired_comparison import compare
from deepchest_cli.evaluation.references import (
    SPLITS,
    WHY,
    is_whole,
    recognize,
    references_for,
)
from deepchest_cli.evaluation.report import build_report
from deepchest_cli.evaluation.sections import SHARED_VALIDATION, calibration, operating_points
from deepchest_cli.evaluation.subgroups import subgroups


@dataclass(frozen=True)
class Extras:
    """What may be asked for beside the figures themselves."""

    replicates: int = 1000
    seed: int = 0
    references: tuple[str, ...] = ()
    expert_labels: Path | None = None
    against: Cases | None = None  # on the same images
    against_name: str = ""
    against_caution: str = ""  # which of the images it was made with
    located: Located | None = None
    localization_note: str = ""  # why there is none


def build_document(material: Material, extras: Extras) -> dict[str, Any]:
    """Return the document of an evaluation; the same material and seed give the same.

    Raises `UsageError` for references on other images, and for second labels or another model
    that have nothing in common with what is scored.
    """
    cases, choices = material.cases, material.choices
    split_name = recognize(cases, material.medmnist)
    table = cases.predictions
    references = references_for(split_name, extras.references)
    if not is_whole(table):
        references = []
    if extras.references and not references:
        raise UsageError(
            "--reference: published means are over NIH's fourteen findings, each with positives; "
            f"scored are {len(table.findings)}.",
            "Score all fourteen, or leave --reference out.",
        )
    resampling = resample_patients(table.patient_id, extras.replicates, extras.seed)
    return {
        "deepchest": __version__,
        **material.description,
        "split_name": split_name,
        "split_title": None if split_name is None else SPLITS[split_name],
        "bootstrap_replicates": extras.replicates,
        "seed": extras.seed,
        **build_report(table, resampling),
        "choices": {
            "note": material.choices_note,
            "images": None if choices is None else choices.images,
            "patients": None if choices is None else choices.patients,
            "caution": None if choices is None else SHARED_VALIDATION,
        },
        "operating_points": operating_points(table, choices, resampling),
        "calibration": calibration(table, choices),
        "subgroups": subgroups(cases, resampling, choices),
        "localization": None
        if extras.located is None
        else localization(extras.located, resampling),
        "localization_note": extras.localization_note,
        "baseline": _baseline(material, resampling),
        "references": {"rows": references, "other_splits": WHY},
        "expert_labels": None
        if extras.expert_labels is None
        else clean_labels(read_expert_labels(extras.expert_labels), cases, resampling),
        "compared_to": None
        if extras.against is None
        else {
            "other": extras.against_name,
            "caution": extras.against_caution,
            **compare(cases, extras.against, resampling),
        },
        "notes": [*_warnings(material), *material.notes],
    }


def _warnings(material: Material) -> list[str]:
    """Return the warnings but for that of an overlap, which has a place of its own."""
    described = material.description
    said = statement(described["overlap"], len(material.cases), described["split"])
    return [warning for warning in material.warnings if warning != said]


def _baseline(material: Material, resampling: Resampling) -> dict[str, Any] | None:
    if material.learned is None:
        return None
    return metadata_baseline(material.learned, material.cases, resampling)
