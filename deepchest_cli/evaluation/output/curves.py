"""The curves of a plot: their corners, and as few of them as show the same.

A curve of 25,000 thresholds is thinned by distance, never by rank: where few thresholds cover much
of an axis, every one of them counts (Douglas and Peucker 1973, "Algorithms for the reduction of the
number of points required to represent a digitized line").
"""

import numpy as np

from deepchest_cli.evaluation.metrics import Floats, Labels

TOLERANCE = 0.002  # of an axis from 0 to 1; a plot's pixel is larger


def roc_curve(labels: Labels, scores: Floats) -> Floats:
    """Return 1 - specificity and sensitivity (K, 2) at every threshold, from the origin.

    Straight lines between them have the area AUROC. Both classes have to be there.
    """
    hits, alarms = _counts(labels, scores)
    rates = np.stack([alarms / alarms[-1], hits / hits[-1]], axis=1)
    return thinned(np.concatenate([[[0.0, 0.0]], rates]))


def precision_recall_curve(labels: Labels, scores: Floats) -> Floats:
    """Return recall and precision (K, 2) as steps, whose area is the average precision.

    Between two thresholds a line would promise a precision that none has. The curve begins at the
    first threshold with a positive: without one there is no precision to speak of.
    """
    hits, alarms = _counts(labels, scores)
    some = hits > 0
    recall, precision = hits[some] / hits[-1], hits[some] / (hits + alarms)[some]
    before = np.concatenate([[0.0], recall[:-1]])
    corners = np.stack([before, precision, recall, precision], axis=1)  # up or down, then across
    return thinned(corners.reshape(-1, 2))


def _counts(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """Return true and false positives (K,) at each threshold that occurs, the highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    hits = np.cumsum(labels[order], dtype=np.float64)[last]
    return hits, last + 1 - hits


def thinned(curve: Floats, tolerance: float = TOLERANCE) -> Floats:
    """Return the corners (K, 2) without which a curve (N, 2) would move by more than `tolerance`.

    No point of either curve is further than that from the other.
    """
    kept = np.zeros(len(curve), dtype=bool)
    kept[[0, -1]] = True
    spans = [(0, len(curve) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = distances(curve[first + 1 : last], curve[first], curve[last])
        furthest = int(np.argmax(away))
        if away[furthest] > tolerance:
            middle = first + 1 + furthest
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return curve[kept]


def distances(points: Floats, start: Floats, end: Floats) -> Floats:
    """Return how far points (N, 2) are from the line between two others."""
    along = end - start
    length = float(along @ along)
    place = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    nearest = start + place[:, None] * along
    return np.asarray(np.hypot(*(points - nearest).T))
