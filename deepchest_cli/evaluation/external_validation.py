"""The same model on several data sets, and what it loses beside the first.

It is an external validation where the model was not trained on all of them. The first data set is
the reference, as a rule the test split of the model's own data. Thresholds and calibration are the
model's own: on a data set of training those of its validation split, on others those of all
validation splits (`model_fits`). A drop is the AUROC of the reference minus that
of another data set; its interval combines those of both, which are independent where they share no
patient (Newcombe 1998, Statistics in Medicine 17; Zou and Donner 2008, Statistics in Medicine 27).
Macro means are over the findings that are defined on all data sets: over other findings a mean is
another quantity.
"""

import math
from collections.abc import Sequence
from typing import Any

from deepchest_cli.data.merging import folder_names
from deepchest_cli.evaluation.bootstrap import (
    UNDEFINED,
    macro_with_interval,
    resample_patients,
    resampled,
)
from deepchest_cli.evaluation.differences import group_difference
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.schemas import versioned

Document = dict[str, Any]


def external_validation(inputs: Sequence[EvaluationInput], documents: list[Document]) -> Document:
    """Return the document of several data sets: their own, and what they have in common.

    documents: of `build_document`, the reference first.
    """
    names = folder_names([document["data"] for document in documents])
    shared = [
        finding
        for finding in documents[0]["findings"]
        if all(math.isfinite(_auroc(document, finding)["value"]) for document in documents)
    ]
    rows = [
        {
            "name": name,
            **{
                key: document[key]
                for key in ("data", "split", "unit", "units", "images", "patients")
            },
            "is_training_data_set": document["overlap"]["is_training_data_set"],
            "shares_images": one.shares_images,
            "macro_auroc": _shared_macro(one, document, shared),
            "own_macro_auroc": {
                **_with_ends(document["macro"], "auroc"),
                "scored_findings": document["macro"]["scored_findings"]["auroc"],
            },
            "findings": {f: _finding(document, f) for f in document["findings"]},
        }
        for name, one, document in zip(names, inputs, documents, strict=True)
    ]
    return {
        "deepchest": documents[0]["deepchest"],
        "external_validation": {
            "reference": names[0],
            "reference_operating_point": documents[0]["operating_points"][
                "reference_operating_point"
            ],
            "findings": list(dict.fromkeys(f for row in rows for f in row["findings"])),
            "shared_findings": shared,
            "data_sets": [
                {**row, "drop": None if row is rows[0] else _drop(rows[0], row)} for row in rows
            ],
        },
        "data_sets": [versioned(document) for document in documents],
    }


def _with_ends(values: Document, metric: str) -> dict[str, float]:
    ends = values["intervals"].get(metric, UNDEFINED)
    return {"value": values[metric], "low": ends["low"], "high": ends["high"]}


def _auroc(document: Document, finding: str) -> dict[str, float]:
    values = document["findings"].get(finding)
    return dict(UNDEFINED) if values is None else _with_ends(values, "auroc")


def _shared_macro(one: EvaluationInput, document: Document, shared: list[str]) -> Document:
    if not shared:
        return dict(UNDEFINED)
    table = one.scored.predictions.of_findings(tuple(shared))
    replicates, seed = document["bootstrap_replicates"], document["seed"]
    drawn = resampled("auroc", table, resample_patients(table.patient_id, replicates, seed))
    return macro_with_interval([_auroc(document, finding) for finding in shared], drawn)


def _finding(document: Document, finding: str) -> Document:
    """Return how the model does on a finding, at the threshold and calibration carried over."""
    values, points = document["findings"][finding], document["operating_points"]
    entry = points["findings"].get(finding, {}).get(points["reference_operating_point"])
    calibration = document["calibration"]["findings"][finding]
    return {
        **{key: values[key] for key in ("known", "positives", "positive_patients", "prevalence")},
        "auroc": _auroc(document, finding),
        "operating_point": entry
        and {key: entry[key] for key in ("threshold", "sensitivity", "specificity")},
        "calibration": {
            when: calibration[when]
            and {key: _with_ends(calibration[when], key) for key in ("slope", "intercept")}
            for when in ("before", "after")
        },
    }


def _drop(reference: Document, other: Document) -> Document:
    findings = [name for name in reference["findings"] if name in other["findings"]]
    pairs = {
        n: (reference["findings"][n]["auroc"], other["findings"][n]["auroc"]) for n in findings
    }

    def less(one: dict[str, float], two: dict[str, float]) -> dict[str, float]:
        found = group_difference(one, two)
        # images of one patient on both sides are correlated, by how much is not known here
        return {**UNDEFINED, "value": found["value"]} if other["shares_images"] else found

    return {
        "macro_auroc": less(reference["macro_auroc"], other["macro_auroc"]),
        "findings": {name: less(*pair) for name, pair in pairs.items()},
    }
