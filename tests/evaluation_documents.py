"""Documents of evaluations made by hand, for their pages."""

import numpy as np

from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.localization import IOBB_LEVELS, IOU_LEVELS
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.validation_fit import fit_on_validation

HOSTILE = '<script>alert("1")</script>'


def found(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


def one_set(name, values, drop):
    line = {"slope": found(1.0), "intercept": found(0.0)}
    point = {"threshold": 0.25, "sensitivity": found(0.8), "specificity": found(0.7)}
    return {
        "name": name, "data": name, "split": "test", "images": 1200, "patients": 900,
        "is_training_data_set": drop is None, "shares_images": drop is not None,
        "macro_auroc": found(0.7),
        "own_macro_auroc": {**found(0.7), "scored_findings": len(values)},
        "findings": {
            finding: {
                "known": 1200, "positives": 30, "positive_patients": 20, "prevalence": 0.025,
                "auroc": found(value), "operating_point": None if place else point,
                "calibration": {"before": line, "after": None if place else line},
            }
            for place, (finding, value) in enumerate(values.items())
        },
        "drop": drop,
    }  # fmt: skip


def external_validation(reference=HOSTILE, findings=("Mass", "Edema", "Hernia"), others=("b",)):
    """Return results on a data set of training and on others, which lack the last findings.

    Only the first finding has an AUROC everywhere, thresholds and a calibration.
    """
    first, second, *_ = *findings, ""
    drop = {"macro_auroc": found(0.05), "findings": {first: found(0.05), second: found(np.nan)}}
    values = dict(zip(findings, [0.75, 0.8, *[0.9] * len(findings)], strict=False))
    elsewhere = {name: value for name, value in ((first, 0.7), (second, np.nan)) if name}
    return {
        "reference": reference, "reference_operating_point": "youden",
        "findings": list(findings), "shared_findings": [first],
        "data_sets": [
            one_set(reference, values, None), *(one_set(name, elsewhere, drop) for name in others)
        ],
    }  # fmt: skip


def external_document(found):
    """Return the whole document of such results."""
    described = [{**DESCRIBED, "data": one["name"]} for one in found["data_sets"]]
    return {"deepchest": "1", "external_validation": found, "data_sets": described}


def evaluation_document(findings, images=300):
    """Return the document of made-up predictions with thresholds, calibration and subgroups."""
    test, validation, fitted = (_scored(findings, images, seed) for seed in range(3))
    choices = fit_on_validation(validation.predictions, "platt", "x")
    material = EvaluationInput(test, DESCRIPTION, choices, "", fitted)
    document = build_document(material, EvaluationOptions(bootstrap_replicates=20))
    difference = {
        "difference": 0.25, "low": -0.125, "high": 0.5, "p_holm": 1e-9, "verdict": "better",
        "not_tested": None,
    }  # fmt: skip
    pair = {"auroc": difference, "average_precision": {**difference, "verdict": "inconclusive"}}
    compared = {
        "other": "runs/another", "caution": "", "findings": dict.fromkeys(findings, pair),
        "macro": pair,
    }  # fmt: skip
    return {**document, "compared_to": compared, **_on_images(findings)}


def _on_images(findings):
    """Return what comes from boxes and from experts' labels."""
    share = found(0.5, 0.25)
    shares = {"boxes": 3, "pointing_game_accuracy": share}
    shares |= {f"iou_{level:g}": share for level in IOU_LEVELS}
    shares |= {f"iobb_{level:g}": share for level in IOBB_LEVELS}
    entry = {"all": shares, "findings": dict.fromkeys(findings, shares)}
    expert = {
        "images": 1200, "positives": 30, "auroc": share, "average_precision": share,
        "nih_ppv": share, "nih_sensitivity": share,
    }  # fmt: skip
    return {
        "localization": {
            "boxes": 3, "cells": [7, 7], "excluded": 1, "cam_unavailable_reason": "no map",
            "random_baseline": {"all": 0.125, "findings": dict.fromkeys(findings, 0.125)},
            "maps": dict.fromkeys(("grad_cam", "cam", "random"), entry),
        },
        "expert_labels": {"findings": dict.fromkeys(findings, expert)},
        "references": {"other_splits": "", "rows": [
            {"title": f"Published model {i}", "source": "x", "macro_auroc": 0.8, "findings": None}
            for i in range(6)
        ]},
    }  # fmt: skip


def _scored(findings, images, seed):
    chance, count = np.random.default_rng(seed), len(findings)
    labels = (chance.random((images, count)) < 0.2).astype(np.uint8)
    scores = 1 / (1 + np.exp(-chance.normal(labels - 1.0, 1)))
    patients = np.arange(images) // 2
    table = Predictions(tuple(findings), scores, labels, np.ones_like(labels), patients)
    return ScoredImages(
        table,
        image_index=np.array([f"{seed}-{i:08d}" for i in range(images)]),
        age=chance.uniform(0, 90, -(-images // 2)).repeat(2)[:images],
        sex=np.array(["F", "M"])[patients % 2],
        view=np.array(["AP", "PA"])[chance.integers(0, 2, images)],
    )


DESCRIPTION = {
    "model": None, "models": [], "predictions": "a<b>|c.csv", "labels": "l.csv", "data": None,
    "data_sha256": None, "split": "test", "split_scheme": None, "label_version": "2020",
    "source": None, "synthetic": None, "labels_without_predictions": 7, "overlap": UNCHECKED,
}  # fmt: skip
DESCRIBED = {
    "overlap": {"is_training_data_set": False, "pixel_hashes_compared": True,
                "split_changes": [], "patients_compared": True, "training_images": 0,
                "validation_images": 0, "same_name_and_patient": 0, "shared_patients": 0,
                "same_name_only": 0},
    "images": 1200, "unit": "image", "split": "test", "synthetic": None, "models": [],
    "split_name": None, "source": HOSTILE, "label_version": "unknown", "data": HOSTILE,
    "notes": [HOSTILE],
    "validation_fit": {"note": HOSTILE}, "calibration": {"findings": {}},
    "operating_points": {"findings": {}},
}  # fmt: skip
