from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics

from deepchest_cli.evaluation.output.plots import (
    TOLERANCE,
    defined_groups,
    distances,
    precision_recall_curve,
    precision_recall_figure,
    roc_curve,
    roc_figure,
    subgroups_figure,
    thinned,
)

CHANCE = np.random.default_rng(0)


def rare(count, positives, signal=1.0):
    labels = np.zeros(count, dtype=np.uint8)
    labels[CHANCE.choice(count, positives, replace=False)] = 1
    return labels, 1 / (1 + np.exp(-CHANCE.normal(signal * labels - 2, 1)))


def first(ranks, count=2000):
    """Return labels whose positives have these ranks; scores fall evenly."""
    labels = np.zeros(count, dtype=np.uint8)
    labels[list(ranks)] = 1
    return labels, np.linspace(0.99, 0.01, count)


CASES = {
    "NIH's test split, a rare finding": rare(25_596, 86),
    "NIH's test split, a frequent finding": rare(25_596, 6112),
    "no better than chance": rare(5000, 50, 0.0),
    "worse than chance": rare(3000, 300, -2.0),
    "all but perfect": rare(3000, 300, 9.0),
    "ties": (rare(3000, 300)[0], CHANCE.integers(0, 5, 3000) / 4),
    "one score": (rare(100, 10)[0], np.full(100, 0.5)),
    "one positive, first": first([0]),
    "one positive, last": first([1999]),
    "a lone positive far behind others": first([0, 1, 2, 1000, 1999]),
    "nothing among the first": first(range(600, 700)),
    "three images": first([1], 3),
}


def far(points, curve):
    """Return how far the furthest point is from a polyline."""
    away = np.full(len(points), np.inf)
    for start, end in pairwise(curve):
        away = np.minimum(away, distances(points, start, end))
    return float(away.max())


@pytest.mark.parametrize("name", CASES)
def test_a_drawn_curve_is_the_true_one(name):
    labels, scores = CASES[name]
    alarms, hits, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    there = recall[:-1] > 0  # the last is made up; before the first hit there is no precision
    for drawn, true, area, figure in (
        (
            roc_curve(labels, scores),
            np.stack([alarms, hits], axis=1),
            metrics.auc(alarms, hits),
            metrics.roc_auc_score(labels, scores),
        ),
        (
            precision_recall_curve(labels, scores),
            np.stack([recall, precision], axis=1)[:-1][there],
            None,
            metrics.average_precision_score(labels, scores),
        ),
    ):
        assert far(true, drawn) <= TOLERANCE + 1e-12  # no threshold is left out
        found = float(metrics.auc(drawn[:, 0], drawn[:, 1]))
        assert found == pytest.approx(figure, abs=2 * TOLERANCE)  # and nothing is added
        assert area is None or found == pytest.approx(area, abs=2 * TOLERANCE)
        assert len(drawn) <= 1500  # what a page can carry fourteen times


def test_a_precision_recall_curve_is_read_as_it_is_drawn():
    """Rank by rank, the first hits would be joined by a line over precisions that none has."""
    labels, scores = first([0, 1, 2, 1000, 1999])
    drawn = precision_recall_curve(labels, scores)
    for recall, precision in ((0.3, 1.0), (0.7, 4 / 1001), (0.9, 5 / 2000)):
        at = np.flatnonzero((drawn[:-1, 0] <= recall) & (drawn[1:, 0] > recall))
        heights = drawn[[at[-1], at[-1] + 1], 1]
        assert heights == pytest.approx([precision] * 2, abs=TOLERANCE)


def test_a_curve_does_not_rise_from_the_origin():
    labels, scores = first([3, 5])
    assert precision_recall_curve(labels, scores)[0].tolist() == [0.0, 0.25]


def test_thinning_keeps_both_ends_and_stays_near():
    curve = np.cumsum(CHANCE.normal(0, 0.01, (800, 2)), axis=0)
    for tolerance in (0.0, 0.001, 0.05):
        found = thinned(curve, tolerance)
        assert np.array_equal(found[[0, -1]], curve[[0, -1]])
        assert far(curve, found) <= tolerance + 1e-12
    assert len(found) < 100
    still = np.zeros((5, 2))
    assert len(thinned(still)) == 2


def test_the_figures_draw_these_curves(make_scored_images):
    cases = make_scored_images(images=4000)
    table = cases.predictions
    document = {
        "findings": {f: {"auroc": 0.5, "average_precision": 0.5} for f in table.findings},
        "operating_points": {"findings": {}, "reference_operating_point": "youden"},
    }
    for draw, curve in ((roc_figure, roc_curve), (precision_recall_figure, precision_recall_curve)):
        panels = draw(document, table).axes
        for column, axes in enumerate(panels[: len(table.findings)]):
            drawn = max((line.get_xydata() for line in axes.lines), key=len)
            expected = curve(table.labels[:, column], table.probabilities[:, column])
            assert np.array_equal(drawn, expected)


def group(name, macro_auroc, underdiagnosis, suppressed=False):
    metrics = {"macro_auroc": macro_auroc, "underdiagnosis": underdiagnosis}
    return {
        "attribute": "sex", "group": name, "images": 30, "units": 30, "scored_findings": 2,
        "suppressed": suppressed,
        **{k: {"value": v, "low": v - 0.1, "high": v + 0.1} for k, v in metrics.items()},
    }  # fmt: skip


def test_subgroups_are_drawn_where_they_have_a_metric():
    groups = [
        group("both", 0.8, 0.1), group("one", np.nan, 0.2), group("neither", np.nan, np.nan),
        group("few", np.nan, np.nan, suppressed=True),
    ]  # fmt: skip
    document = {"unit": "image", "macro": {"auroc": 0.75}, "subgroups": {"groups": groups}}
    assert [g["group"] for g in defined_groups(document)] == ["both", "one"]
    panels = subgroups_figure(document).axes
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["both  (30 images, 2)", "one  (30 images, 2)"]
    assert len(panels) == 2
    document["subgroups"]["groups"] = groups[1:]
    assert len(subgroups_figure(document).axes) == 1  # no macro AUROC at all
    document["subgroups"]["groups"] = groups[2:]
    assert defined_groups(document) == []
