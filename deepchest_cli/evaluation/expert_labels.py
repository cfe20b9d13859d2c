"""Expert labels by radiologists: Google's for NIH ChestX-ray14.

Majkowska et al. 2020, Radiology 294: 4,376 images read by several radiologists for four findings.
Two of them have a counterpart among NIH's; airspace opacity and fracture have none.
"""

from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.data.findings import plain_name
from deepchest_cli.data.tabular.cells import ABSENT, BLANK, PRESENT, each_text, label_state
from deepchest_cli.data.tabular.columns import image_column, image_keys
from deepchest_cli.data.tabular.tables import read_table, row_number
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    auroc_with_interval,
    metric_with_interval,
    rarer_class_patients,
    ratios_with_intervals,
    resampled,
)
from deepchest_cli.evaluation.metrics import per_finding
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages

# the radiologists' finding: those of NIH's that it covers, whose highest probability counts
NIH_FINDINGS = {"Pneumothorax": ("Pneumothorax",), "Nodule or mass": ("Nodule", "Mass")}


def read_expert_labels(path: Path) -> dict[str, dict[str, int]]:
    """Return the labels by finding and image; raises `UsageError` for another file."""
    table = read_table(path)
    images = image_keys(table[image_column(table, path)], path).tolist()
    columns = {plain_name(str(column)): str(column) for column in table.columns}
    missing = [name for name in NIH_FINDINGS if plain_name(name) not in columns]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r}.",
            "Give Google's file of labels for NIH's test images, with YES and NO.",
        )
    found = {}
    for name in NIH_FINDINGS:
        cells = table[columns[plain_name(name)]]
        states = each_text(cells, label_state)
        wrong = np.flatnonzero(~states.isin((PRESENT, ABSENT, BLANK)))
        if len(wrong):
            raise UsageError(
                f"{path}, row {row_number(cells, wrong[0])}, column {cells.name!r}: should be YES "
                f"or NO. Found {cells.iloc[wrong[0]]!r}."
            )
        found[name] = {
            image: int(state) for image, state in zip(images, states, strict=True) if state != BLANK
        }
    return found


def expert_label_results(
    expert_labels: dict[str, dict[str, int]], scored: ScoredImages, resampling: Resampling
) -> dict[str, Any]:
    """Return the agreement of the model and of NIH's labels with the radiologists.

    Raises `UsageError` where no scored image has an expert label.
    """
    names = scored.image_names
    findings = {}
    for name, nih_findings in NIH_FINDINGS.items():
        if set(nih_findings) <= set(scored.predictions.findings):
            expert = expert_labels[name]
            rows = np.array([i for i, image in enumerate(names) if image in expert], dtype=np.int64)
            if len(rows):
                labels = np.array([expert[names[row]] for row in rows], dtype=np.uint8)
                findings[name] = _finding(scored, nih_findings, rows, labels, resampling)
    if not findings:
        raise UsageError(
            "None of the scored images has an expert label for a finding that is predicted.",
            "Leave --expert-labels out, or score the images that it is about.",
        )
    return {"findings": findings}


def _finding(
    scored: ScoredImages,
    nih_findings: tuple[str, ...],
    rows: Any,
    labels: Any,
    resampling: Resampling,
) -> dict[str, Any]:
    table = scored.predictions
    columns = [table.findings.index(name) for name in nih_findings]
    # images without an expert label are kept as unknown, so that rows and patients stay the same
    clean, known = (np.zeros((len(scored), 1), np.uint8) for _ in range(2))
    clean[rows, 0], known[rows, 0] = labels, 1
    scores = table.probabilities[:, columns].max(axis=1, keepdims=True)
    agreement = Predictions((nih_findings[0],), scores, clean, known, table.patient_id)
    nih = table.labels[rows][:, columns].any(axis=1)
    numerators = np.stack([nih & (labels == 1)] * 2, axis=1).astype(np.float64)
    denominators = np.stack([nih, labels == 1], axis=1).astype(np.float64)
    ppv, sensitivity = ratios_with_intervals(numerators, denominators, rows, resampling)
    return {
        "nih_findings": list(nih_findings),
        "images": len(rows),
        "positives": int(labels.sum()),
        "nih_positives": int(nih.sum()),
        "auroc": auroc_with_interval(labels, scores[rows, 0], rows, resampling),
        "average_precision": metric_with_interval(
            float(per_finding("average_precision", agreement)[0]),
            resampled("average_precision", agreement, resampling)[:, 0],
            rarer_class_patients(agreement, 0),
        ),
        "nih_ppv": ppv,
        "nih_sensitivity": sensitivity,
    }
