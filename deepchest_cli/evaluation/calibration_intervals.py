"""Intervals of calibration metrics over patients, and the ECE of a perfectly calibrated model.

Slope and intercept have the cluster-robust ("sandwich") variance of Liang and Zeger 1986,
"Longitudinal data analysis using generalized linear models", Biometrika 73, over n - 1, with
Student's t on the effective patients with or without the finding, whichever are fewer.

The ECE is a mean of distances, which chance alone makes larger than 0 and which is larger still in
bootstrap replicates: their percentiles never cover the 0 of a calibrated model. Its interval has

- as upper end the expanded percentile of the replicates, which chance has raised twice;
- as lower end 2 ECE minus the upper end (the basic bootstrap), and 0 where the ECE is no larger
  than a calibrated model's is by chance, in 97.5 % of draws.

Bins of the ECE stay those of the scored images. Chance is estimated in two ways, of which the
larger one counts: labels drawn from the probabilities, which knows rare findings, and replicates
about what was observed, which know that images of a patient are alike.
"""

from typing import Any

import numpy as np
from scipy import special

from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    effective_patients,
    interval,
    ratios_with_intervals,
)
from deepchest_cli.evaluation.calibration import (
    BINS,
    Bin,
    bin_places,
    calibration_fits,
    calibration_metrics,
    reliability,
    reliability_places,
)
from deepchest_cli.evaluation.intervals import LEVEL
from deepchest_cli.evaluation.metrics import Floats, Labels
from deepchest_cli.evaluation.weighted import PatientIndex, Places
from deepchest_cli.model.logistic import sigmoid

DRAWS = 200  # of labels from the probabilities
SEED = 0
ENDS = {"low": np.nan, "high": np.nan}


def calibration_with_intervals(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> dict[str, Any]:
    """Return a finding's calibration with intervals and the ECE of a calibrated model.

    labels, probabilities: of some images, by their rows (n,). Intervals are not defined below two
    effective patients with and without the finding.
    """
    index = resampling.patient_index(images)
    patients = min(effective_patients(labels == value, index.rows) for value in (0, 1))
    metrics = calibration_metrics(labels, probabilities)
    by_chance = ece_if_calibrated(probabilities)
    ends = {name: dict(ENDS) for name in ("ece", "slope", "intercept")}
    if patients >= 2:
        fits = calibration_fits(labels, probabilities)
        for name, fit in zip(("slope", "intercept"), fits, strict=True):
            if fit is not None:
                ends[name] = _around(metrics[name], robust_error(*fit, labels, index), patients)
        drawn = bin_replicates(labels, probabilities, images, resampling)
        ends["ece"] = ece_interval(metrics["ece"], drawn, by_chance, patients)
    mean = float(by_chance.mean()) if len(by_chance) else np.nan
    bins = reliability_bins(labels, probabilities, images, resampling)
    return {**metrics, "ece_if_calibrated": mean, "intervals": ends, "bins": bins}


def reliability_bins(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> list[Bin]:
    """Return the bins of the reliability diagram with the ends of the interval of each share.

    Wilson's interval on the effective number of images, `evaluation.intervals`; NaN where a bin
    has fewer than two patients.
    """
    if not len(labels):
        return []
    places = reliability_places(labels, probabilities)
    belongs = (places[:, None] == np.unique(places)).astype(np.float64)  # (n, bins)
    rates = ratios_with_intervals(belongs * labels[:, None], belongs, images, resampling)
    bins = reliability(labels, places, probabilities)
    return [
        {**one, "low": rate["low"], "high": rate["high"]}
        for one, rate in zip(bins, rates, strict=True)
    ]


def _around(value: float, error: float, patients: float) -> dict[str, float]:
    scale = np.sqrt(patients / (patients - 1))
    half = float(special.stdtrit(patients - 1, 1 - LEVEL / 2) * scale * error)
    return {"low": value - half, "high": value + half} if error > 0 else dict(ENDS)


def robust_error(
    columns: Floats, offset: Floats, coefficients: Floats, labels: Labels, index: PatientIndex
) -> float:
    """Return the cluster-robust standard error of the first coefficient of a logistic regression.

    columns (n, k) and offset (n,) as in the fit: A^-1 (sum of s s') A^-1 with the information A
    and each patient's sum s of the images' scores. NaN where A is singular.
    """
    found = sigmoid(offset + columns @ coefficients)
    information = (columns * (found * (1 - found))[:, None]).T @ columns
    sums = index.table_sums(columns * (labels - found)[:, None])  # (P, k)
    try:
        first = np.linalg.solve(information, np.eye(len(coefficients))[0])
    except np.linalg.LinAlgError:
        return np.nan
    return float(np.linalg.norm(sums @ first))


def ece_if_calibrated(probabilities: Floats) -> Floats:
    """Return the ECE of labels drawn from the probabilities themselves (`DRAWS`,).

    Labels are drawn independently, with a fixed seed. Empty without an image.
    """
    if not len(probabilities):
        return np.empty(0)
    random, place = np.random.default_rng(SEED), bin_places(probabilities)
    order = np.argsort(place, kind="stable")
    scores, starts = probabilities[order], np.unique(place[order], return_index=True)[1]
    expected = np.add.reduceat(scores, starts)
    return np.array(
        [
            np.abs(np.add.reduceat(random.random(len(scores)) < scores, starts, dtype=np.int64)
                   - expected).sum() / len(scores)
            for _ in range(DRAWS)
        ]
    )  # fmt: skip


def bin_replicates(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> Floats:
    """Return predicted minus observed positives of each bin, over all images (1 + B, bins).

    First as they are, then in each replicate.
    """
    table = np.zeros((len(labels), BINS))
    table[np.arange(len(labels)), bin_places(probabilities)] = probabilities - labels
    drawn = resampling.ratios(images, table, np.ones_like(table))
    return np.concatenate([table.mean(axis=0, keepdims=True), drawn])


def ece_interval(
    ece: float, differences: Floats, by_chance: Floats, patients: float
) -> dict[str, float]:
    """Return the interval of the ECE.

    differences: of `bin_replicates`; by_chance: of `ece_if_calibrated`.
    """
    own, drawn = differences[:1], differences[1:]
    drawn = drawn[np.isfinite(drawn).all(axis=1)]  # without images, nothing is defined
    found = interval(np.abs(drawn).sum(axis=1), patients)
    if not np.isfinite(found.high):
        return dict(ENDS)
    noise = np.abs(drawn - own).sum(axis=1)
    most = max(float(np.quantile(one, 1 - LEVEL / 2)) for one in (by_chance, noise))
    high = max(found.high, ece)
    low = 0.0 if ece <= most else max(2 * ece - high, 0.0)
    # nothing varies where certain predictions are right without exception
    return {"low": low, "high": high} if low < high else dict(ENDS)
