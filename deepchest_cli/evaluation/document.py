"""The results of an evaluation in plain values, of which all outputs are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli import __version__
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.baseline import metadata_baseline
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.expert_labels import expert_label_results, read_expert_labels
from deepchest_cli.evaluation.fold_results import fold_results
from deepchest_cli.evaluation.localization import LocalizationScores, localization
from deepchest_cli.evaluation.overlap import overlap_warning
from deepchest_cli.evaluation.paired_comparison import compare
from deepchest_cli.evaluation.predictions import ScoredImages
from deepchest_cli.evaluation.references import SPLITS, WHY, is_whole, recognize, references_for
from deepchest_cli.evaluation.report import build_report
from deepchest_cli.evaluation.subgroups import subgroups
from deepchest_cli.evaluation.units import IMAGE
from deepchest_cli.evaluation.validation_fit import (
    calibration_results,
    operating_point_results,
)


@dataclass(frozen=True)
class EvaluationOptions:
    """What may be requested beside the metrics."""

    bootstrap_replicates: int = 1000
    seed: int = 0
    references: tuple[str, ...] = ()
    expert_labels: Path | None = None
    compared_to: ScoredImages | None = None  # the same images or units, scored by another model
    compared_name: str = ""
    compared_caution: str = ""  # which of the images the other model was made with
    localization: LocalizationScores | None = None
    localization_note: str = ""  # why there is none, or what limits it


def build_document(inputs: EvaluationInput, extras: EvaluationOptions) -> dict[str, Any]:
    """Return the document of an evaluation; equal inputs and seeds give equal documents.

    Raises `UsageError` for references on other images, and for expert labels or another model
    that share no image with what is scored.
    """
    scored, fit, units = inputs.scored, inputs.validation_fit, inputs.scored_units
    split_name = recognize(units.images, inputs.medmnist)
    table = scored.predictions
    references = references_for(split_name, extras.references)
    if not is_whole(table) or units.unit != IMAGE:  # published results are those of images
        references = []
    if extras.references and not references:
        raise UsageError(
            "--reference: published means are over NIH's fourteen findings, each with positives; "
            f"scored are {len(table.findings)}.",
            "Score all fourteen, or leave --reference out.",
        )
    replicates = extras.bootstrap_replicates
    resampling = resample_patients(table.patient_id, replicates, extras.seed, fold=table.fold)
    training, maps, expert = inputs.baseline_training, extras.localization, extras.expert_labels
    return {
        "deepchest": __version__,
        **inputs.description,
        "split_name": split_name,
        "split_title": None if split_name is None else SPLITS[split_name],
        "bootstrap_replicates": replicates,
        "seed": extras.seed,
        **build_report(table, resampling),
        **units.to_plain(),
        "folds": fold_results(inputs),
        "validation_fit": {
            "note": inputs.validation_fit_note,
            "images": None if fit is None else fit.images,
            "patients": None if fit is None else fit.patients,
            "caution": None if fit is None else fit.caution,
            "site": None if fit is None or fit.site is None else fit.site.to_plain(),
            "data_sets": [] if fit is None else list(fit.data_sets),
            "carried_over": [] if fit is None else list(fit.carried_over),
        },
        "operating_points": operating_point_results(table, fit, resampling),
        "calibration": calibration_results(table, fit, resampling),
        "subgroups": subgroups(scored, resampling, fit),
        "localization": None if maps is None else localization(maps, resampling),
        "localization_note": extras.localization_note,
        "baseline": None if training is None else metadata_baseline(training, scored, resampling),
        "references": {"rows": references, "other_splits": WHY},
        "expert_labels": expert
        and expert_label_results(read_expert_labels(expert), scored, resampling),
        "compared_to": None
        if extras.compared_to is None
        else {
            "other": extras.compared_name,
            "caution": extras.compared_caution,
            **compare(scored, extras.compared_to, resampling),
        },
        "notes": [*_other_warnings(inputs), *inputs.notes],
    }


def _other_warnings(inputs: EvaluationInput) -> list[str]:
    """Return the warnings but for that of an overlap, which has a place of its own."""
    described = inputs.description
    overlapping = overlap_warning(described["overlap"], len(inputs.images), described["split"])
    return [warning for warning in inputs.warnings if warning != overlapping]
