from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.evaluation.evaluation_input import score_warnings


@pytest.fixture
def table(make_scored_images):
    return make_scored_images().predictions


def test_usual_scores_have_no_warning(table):
    assert score_warnings(table) == ()
    one = replace(table, probabilities=table.probabilities[:1], known=table.known[:1])
    assert score_warnings(one) == ()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (lambda t: np.full(len(t.labels), 0.3), "the same score for Edema"),
        (lambda t: t.labels[:, 1], "scores for Edema are the labels themselves"),
        (lambda t: t.probabilities[:, 1] > 0.5, "scores for Edema are 0 or 1: decisions"),
    ],
)
def test_unusual_scores_are_warned_of(table, column, said):
    odd = table.probabilities.copy()
    odd[:, 1] = column(table)
    (text,) = score_warnings(replace(table, probabilities=odd))
    assert said in text and "Mass" not in text


def test_unknown_labels_do_not_hide_a_copy(table):
    known = table.known.copy()
    known[::3] = 0
    copy = np.where(known == 1, table.labels, 1 - table.labels).astype(float)
    (text,) = score_warnings(replace(table, probabilities=copy, known=known))
    assert "scores for Mass, Edema are the labels themselves" in text
