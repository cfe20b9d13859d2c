"""The metadata baseline: age, sex and view alone, which any model of radiographs has to beat."""

import warnings
from typing import Any

import numpy as np

from deepchest_cli.evaluation.bootstrap import (
    UNDEFINED,
    Resampling,
    auroc_with_interval,
    macro_with_interval,
    rarer_class_patients,
    resampled,
)
from deepchest_cli.evaluation.differences import macro_carriers, paired_difference
from deepchest_cli.evaluation.metrics import Floats, per_finding
from deepchest_cli.evaluation.predictions import ScoredImages
from deepchest_cli.evaluation.statistics import Carriers, mean_of_defined

MIN_POSITIVES = 10  # in the training data, and as many negatives
MAX_ITERATIONS = 200


def metadata_features(scored: ScoredImages) -> Floats:
    """Return age and its square, sex and view of each image, and which are unknown: (N, 6)."""
    known = np.isfinite(scored.age)
    decades = np.where(known, (scored.age - 50) / 10, 0)  # of the size of the other columns
    columns = (
        decades,
        decades**2 / 10,
        ~known,
        scored.sex == "M",
        scored.view == "AP",
        (scored.view != "AP") & (scored.view != "PA"),
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def metadata_probabilities(training: ScoredImages, scored: ScoredImages) -> Floats:
    """Return the probabilities (N, T) of a logistic regression on the metadata; NaN without one.

    training: images of other patients, with the same findings. A finding with too few positives or
    negatives among them has no model.
    """
    from sklearn.linear_model import LogisticRegression

    table = training.predictions
    inputs, here = metadata_features(training), metadata_features(scored)
    columns = []
    for column in range(len(table.findings)):
        known, labels, _ = table.known_labels(column)
        if min(labels.sum(), len(labels) - labels.sum()) < MIN_POSITIVES:
            columns.append(np.full(len(scored), np.nan))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constant columns, which the penalty handles
            model = LogisticRegression(solver="newton-cholesky", max_iter=MAX_ITERATIONS)
            model.fit(inputs[known], labels)
        columns.append(model.predict_proba(here)[:, 1])
    return np.stack(columns, axis=1)


def metadata_baseline(
    training: ScoredImages, scored: ScoredImages, resampling: Resampling
) -> dict[str, Any]:
    """Return the baseline's AUROC by finding and over all, on the same images, with intervals.

    Also what the model of the scored images has more than the baseline, over the same findings.
    """
    found = metadata_probabilities(training, scored)
    fitted = np.asarray(np.isfinite(found).all(axis=0))
    table = scored.with_probabilities(np.where(fitted, found, 0.5)).predictions
    replicates = np.where(fitted, resampled("auroc", table, resampling), np.nan)
    gain_replicates = resampled("auroc", scored.predictions, resampling) - replicates
    aurocs = []
    for column in range(len(table.findings)):
        rows, labels, scores = table.known_labels(column)
        one = auroc_with_interval(labels, scores, rows, resampling)
        aurocs.append(one if fitted[column] else dict(UNDEFINED))
    values = np.array([one["value"] for one in aurocs])
    gains = per_finding("auroc", scored.predictions) - values
    patients = np.array([rarer_class_patients(table, i) for i in range(len(table.findings))])
    return {
        "images": len(training),
        "patients": len(np.unique(training.predictions.patient_id)),
        "scored_findings": int(np.isfinite(gains).sum()),
        "macro_auroc": macro_with_interval(aurocs, replicates),
        "macro_difference": _difference(
            float(mean_of_defined(gains)),
            mean_of_defined(gain_replicates),
            macro_carriers(gain_replicates, patients),
        ),
        "findings": dict(zip(table.findings, aurocs, strict=True)),
        "differences": {
            name: _difference(
                gains[column], gain_replicates[:, column], Carriers.of(patients[column])
            )
            for column, name in enumerate(table.findings)
        },
    }


def _difference(value: float, replicates: Floats, carriers: Carriers) -> dict[str, float]:
    found = paired_difference(float(value), replicates, carriers)
    return {"value": found.value, "low": found.low, "high": found.high}
