"""AUROC fold by fold, beside that of all out-of-fold predictions together."""

from typing import Any

import numpy as np

from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.metrics import Floats, macro, per_finding


def fold_results(inputs: EvaluationInput) -> dict[str, Any] | None:
    """Return images, patients and AUROC of each fold, with mean and spread; None without folds."""
    table = inputs.scored.predictions
    numbers = inputs.folds_of(table)
    if numbers is None:
        return None
    folds = [table.of_rows(numbers == number) for number in sorted(set(inputs.fold_numbers))]
    each = np.stack([per_finding("auroc", fold) for fold in folds])  # (K, T)
    return {
        "run": str(inputs.run),
        "number": len(folds),
        "units": [len(fold.labels) for fold in folds],
        "patients": [len(np.unique(fold.patient_id)) for fold in folds],
        "macro": _spread(np.array([macro(values) for values in each])),
        "findings": {name: _spread(each[:, i]) for i, name in enumerate(table.findings)},
    }


def _spread(values: Floats) -> dict[str, Any]:
    """Return the AUROC of each fold, with mean and standard deviation over those defined."""
    defined = values[np.isfinite(values)]
    return {
        "auroc": values.tolist(),
        "mean": float(defined.mean()) if len(defined) else np.nan,
        "sd": float(defined.std(ddof=1)) if len(defined) > 1 else np.nan,
    }
