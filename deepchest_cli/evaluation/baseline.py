"""What age, sex and view alone say: the floor under any model that looks at radiographs."""

import warnings
from typing import Any

import numpy as np

from deepchest_cli.evaluation.bootstrap import Resampling, carriers, effective_patients, resampled
from deepchest_cli.evaluation.cases import Cases
from deepchest_cli.evaluation.figures import figure
from deepchest_cli.evaluation.metrics import Floats, per_finding
from deepchest_cli.evaluation.statistics import mean_of_defined

FEWEST_POSITIVES = 10  # among those that it learns from, and as many negatives
STEPS = 200


def describe(cases: Cases) -> Floats:
    """Return age and its square, sex and view of each image, and which are unknown: (N, 6)."""
    known = np.isfinite(cases.age)
    decades = np.where(known, (cases.age - 50) / 10, 0)  # of the size of the other columns
    columns = (
        decades,
        decades**2 / 10,
        ~known,
        cases.sex == "M",
        cases.view == "AP",
        (cases.view != "AP") & (cases.view != "PA"),
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def metadata_probabilities(learned: Cases, cases: Cases) -> Floats:
    """Return the probabilities (N, T) of a logistic regression on the metadata; NaN without one.

    learned: images of other patients, with the same findings. A finding with too few positives or
    negatives among them has no model.
    """
    from sklearn.linear_model import LogisticRegression

    table = learned.predictions
    inputs, here = describe(learned), describe(cases)
    columns = []
    for column in range(len(table.findings)):
        known = table.known[:, column] == 1
        labels = table.labels[known, column]
        if min(labels.sum(), len(labels) - labels.sum()) < FEWEST_POSITIVES:
            columns.append(np.full(len(cases), np.nan))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of columns that never vary, which the penalty holds
            model = LogisticRegression(solver="newton-cholesky", max_iter=STEPS)
            model.fit(inputs[known], labels)
        columns.append(model.predict_proba(here)[:, 1])
    return np.stack(columns, axis=1)


def metadata_baseline(learned: Cases, cases: Cases, resampling: Resampling) -> dict[str, Any]:
    """Return the baseline's AUROC by finding and over all, on the same images, with intervals."""
    found = metadata_probabilities(learned, cases)
    modeled = np.isfinite(found).all(axis=0)
    table = cases.with_probabilities(np.where(modeled, found, 0.5)).predictions
    values = np.where(modeled, per_finding("auroc", table), np.nan)
    replicates = np.where(modeled, resampled("auroc", table, resampling), np.nan)
    return {
        "images": len(learned),
        "patients": len(np.unique(learned.predictions.patient_id)),
        "macro_auroc": figure(
            float(mean_of_defined(values)),
            mean_of_defined(replicates),
            effective_patients(np.ones(len(table.patient_id)), table.patient_id),
        ),
        "findings": {
            name: figure(values[column], replicates[:, column], carriers(table, column))
            for column, name in enumerate(table.findings)
        },
    }
