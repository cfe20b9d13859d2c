from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.evaluation.score_checks import odd_scores


@pytest.fixture
def table(make_cases):
    return make_cases().predictions


def test_plain_scores_are_not_odd(table):
    assert odd_scores(table) == ()
    one = replace(table, probabilities=table.probabilities[:1], known=table.known[:1])
    assert odd_scores(one) == ()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (lambda t: np.full(len(t.labels), 0.3), "the same score for Edema"),
        (lambda t: t.labels[:, 1], "scores for Edema are the labels themselves"),
        (lambda t: t.probabilities[:, 1] > 0.5, "scores for Edema are 0 or 1: decisions"),
    ],
)
def test_odd_scores_are_said(table, column, said):
    odd = table.probabilities.copy()
    odd[:, 1] = column(table)
    (text,) = odd_scores(replace(table, probabilities=odd))
    assert said in text and "Mass" not in text


def test_unknown_labels_do_not_hide_a_copy(table):
    known = table.known.copy()
    known[::3] = 0
    copy = np.where(known == 1, table.labels, 1 - table.labels).astype(float)
    (text,) = odd_scores(replace(table, probabilities=copy, known=known))
    assert "scores for Mass, Edema are the labels themselves" in text
