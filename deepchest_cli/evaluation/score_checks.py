"""What scores look like when something went wrong before they were scored."""

from collections.abc import Sequence

import numpy as np

from deepchest_cli.data.text import few
from deepchest_cli.evaluation.predictions import Predictions


def odd_scores(table: Predictions) -> tuple[str, ...]:
    """Return what is odd about the scores of findings: constant, decisions, the labels themselves.

    All of them give figures that look like any others.
    """
    constant: list[str] = []
    decided: list[str] = []
    copied: list[str] = []
    for column, finding in enumerate(table.findings):
        scores, known = table.probabilities[:, column], table.known[:, column] == 1
        if len(scores) < 2:
            continue
        if scores.min() == scores.max():
            constant.append(finding)
        elif np.isin(scores, (0, 1)).all():
            same = known.any() and bool((scores == table.labels[:, column])[known].all())
            (copied if same else decided).append(finding)
    return (
        *_said(
            "All images have the same score for {}: ranking metrics say nothing there.", constant
        ),
        *_said("The scores for {} are the labels themselves.", copied),
        *_said(
            "The scores for {} are 0 or 1: decisions, of which AUROC and average precision see a "
            "single threshold.",
            decided,
        ),
    )


def _said(text: str, findings: Sequence[str]) -> tuple[str, ...]:
    return (text.format(few(findings)),) if findings else ()
