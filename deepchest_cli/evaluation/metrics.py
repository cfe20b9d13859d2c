"""Metrics per finding and their macro means; an undefined metric is NaN, never 0."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from deepchest_cli.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]
WITHIN_FOLDS = ("auroc", "average_precision")  # metrics of rank
OF_POSITIVES = ("auroc", "average_precision", "f1")  # metrics that are undefined without positives
THRESHOLD = 0.5
SMALLEST = float(np.finfo(np.float64).eps)  # keeps logarithms finite, as scikit-learn does


def _both_classes(labels: Labels) -> bool:
    return bool(0 < labels.sum() < len(labels))


def auroc(labels: Labels, probabilities: Floats) -> float:
    """Return the area under the ROC curve; NaN unless both classes are there."""
    if not _both_classes(labels):
        return np.nan
    return float(share_above(probabilities[labels == 1], probabilities[labels == 0]).mean())


def share_above(scores: Floats, others: Floats) -> Floats:
    """Return the share of the others that each score is above; equal ones count half."""
    ordered = np.sort(others)
    places = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(places / (2 * len(others)))


def average_precision(labels: Labels, probabilities: Floats) -> float:
    """Return the average precision; NaN without a positive."""
    return float(average_precision_score(labels, probabilities)) if labels.any() else np.nan


def accuracy(labels: Labels, probabilities: Floats) -> float:
    """Return the share of images on the right side of 0.5; NaN without an image."""
    return float(np.mean((probabilities > THRESHOLD) == labels)) if len(labels) else np.nan


def accuracy_all_negative(labels: Labels, probabilities: Floats) -> float:
    """Return the accuracy of never predicting the finding, which a model has to beat."""
    return 1 - prevalence(labels, probabilities)


def balanced_accuracy(labels: Labels, probabilities: Floats) -> float:
    """Return the mean of sensitivity and specificity at 0.5; NaN unless both classes are there."""
    if not _both_classes(labels):
        return np.nan
    positive = probabilities > THRESHOLD
    return float((positive[labels == 1].mean() + (~positive)[labels == 0].mean()) / 2)


def prevalence(labels: Labels, probabilities: Floats) -> float:
    """Return the share of positives."""
    return float(labels.mean()) if len(labels) else np.nan


def loss(labels: Labels, probabilities: Floats) -> float:
    """Return the mean binary cross-entropy in nats."""
    if not len(labels):
        return np.nan
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return 0.0 - float(np.log(np.clip(right, SMALLEST, 1)).mean())  # never -0


def normalized_cross_entropy(labels: Labels, probabilities: Floats) -> float:
    """Return the loss over that of always giving the prevalence; NaN unless there are both classes.

    Below 1 the model is better than the prevalence alone, at any prevalence (He et al. 2014).
    """
    if not _both_classes(labels):
        return np.nan
    return loss(labels, probabilities) / prevalence_baseline_loss(labels, probabilities)


def ap_over_prevalence(labels: Labels, probabilities: Floats) -> float:
    """Return the average precision over the prevalence, which is what chance gives."""
    if not labels.any():
        return np.nan
    return average_precision(labels, probabilities) / prevalence(labels, probabilities)


def brier(labels: Labels, probabilities: Floats) -> float:
    """Return the Brier score, the mean squared error of the probabilities."""
    return float(np.mean((probabilities - labels) ** 2)) if len(labels) else np.nan


def brier_skill(labels: Labels, probabilities: Floats) -> float:
    """Return the reduction of the Brier score relative to that of always giving the prevalence.

    NaN unless there are both classes; at most 1, below 0 for a model worse than the prevalence.
    """
    if not _both_classes(labels):
        return np.nan
    share = prevalence(labels, probabilities)
    return 1 - brier(labels, probabilities) / (share * (1 - share))


def f1(labels: Labels, probabilities: Floats) -> float:
    """Return the F1 score of the finding being present at 0.5; NaN without a positive."""
    return _f1(labels, probabilities, "binary") if labels.any() else np.nan


def f1_class_mean(labels: Labels, probabilities: Floats) -> float:
    """Return the mean of the F1 scores of present and absent, as the authors report it."""
    return _f1(labels, probabilities, "macro") if _both_classes(labels) else np.nan


def f1_weighted(labels: Labels, probabilities: Floats) -> float:
    """Return the mean of both F1 scores weighted by how often each class occurs."""
    return _f1(labels, probabilities, "weighted") if _both_classes(labels) else np.nan


def f1_class_mean_all_negative(labels: Labels, probabilities: Floats) -> float:
    """Return the class-mean F1 score of never predicting the finding."""
    return f1_class_mean(labels, np.zeros(len(labels)))


def f1_weighted_all_negative(labels: Labels, probabilities: Floats) -> float:
    """Return the weighted F1 score of never predicting the finding."""
    return f1_weighted(labels, np.zeros(len(labels)))


def prevalence_baseline_loss(labels: Labels, probabilities: Floats) -> float:
    """Return the loss of always giving the prevalence; NaN without an image."""
    return loss(labels, np.full(len(labels), prevalence(labels, probabilities)))


def _f1(labels: Labels, probabilities: Floats, average: str) -> float:
    predicted = probabilities > THRESHOLD
    return float(f1_score(labels, predicted, average=average, zero_division=0))


METRICS: dict[str, Callable[[Labels, Floats], float]] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "accuracy": accuracy,
    "accuracy_all_negative": accuracy_all_negative,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "f1_class_mean": f1_class_mean,
    "f1_micro": accuracy,  # the micro F1 over present and absent is the accuracy
    "f1_class_mean_all_negative": f1_class_mean_all_negative,
    "f1_weighted": f1_weighted,
    "f1_weighted_all_negative": f1_weighted_all_negative,
    "loss": loss,
    "prevalence_baseline_loss": prevalence_baseline_loss,
    "normalized_cross_entropy": normalized_cross_entropy,
    "prevalence": prevalence,
    "ap_over_prevalence": ap_over_prevalence,
    "brier": brier,
    "brier_skill": brier_skill,
}


def per_finding(metric: str, predictions: Predictions) -> Floats:
    """Return a metric for each finding (T,) over its known labels; NaN where it is undefined."""
    values = []
    for column in range(len(predictions.findings)):
        rows, labels, probabilities = predictions.known_labels(column)
        fold = None if predictions.fold is None else predictions.fold[rows]
        values.append(value_of(metric, labels, probabilities, fold))
    return np.array(values, dtype=np.float64)


def value_of(
    metric: str, labels: Labels, probabilities: Floats, fold: NDArray[np.int64] | None
) -> float:
    """Return a metric of one finding; those of rank compare images of the same fold (n,) only.

    The AUROC is then the share of ordered pairs over all folds, and the average precision the mean
    over all positives: a fold without any counts for nothing.
    """
    if fold is None or metric not in (*WITHIN_FOLDS, "ap_over_prevalence"):
        return METRICS[metric](labels, probabilities)
    if metric == "ap_over_prevalence":
        mean = value_of("average_precision", labels, probabilities, fold)
        return mean / prevalence(labels, probabilities) if labels.any() else np.nan
    total = weights = 0.0
    for one in np.unique(fold):
        within, scores = labels[fold == one], probabilities[fold == one]
        positives = int(within.sum())
        weight = positives * (len(within) - positives) if metric == "auroc" else positives
        if weight:
            total += weight * METRICS[metric](within, scores)
            weights += weight
    return total / weights if weights else np.nan


def macro(values: Floats) -> float:
    """Return the mean over the findings whose value is defined; NaN when none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan
