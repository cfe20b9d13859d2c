"""Whole evaluations of hardly any data: no warning, no failure and no interval of zero width."""

from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.commands.evaluate_display import render
from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.card import model_card
from deepchest_cli.evaluation.output.page import report_page
from deepchest_cli.evaluation.output.tables import tables
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.validation_fit import fit_on_validation
from deepchest_cli.files import to_json
from deepchest_cli.terminal import Terminal

DESCRIPTION = {
    "model": None, "models": [], "predictions": "a.csv", "labels": "l.csv", "data": None,
    "data_sha256": None, "split": "test", "split_scheme": None, "label_version": "2020",
    "source": None, "synthetic": None, "labels_without_predictions": 0, "overlap": UNCHECKED,
}  # fmt: skip


def with_table(scored, **changes):
    return replace(scored, predictions=replace(scored.predictions, **changes))


def one_positive_patient(scored):
    labels = scored.predictions.labels.copy()
    labels[:, 1] = np.arange(len(labels)) < 2
    return with_table(scored, labels=labels)


def a_group_of_three(scored):
    return replace(scored, sex=np.array(["F"] * 6 + ["M"] * (len(scored) - 6)))


def equal_scores(scored):
    return with_table(scored, probabilities=np.full(scored.predictions.probabilities.shape, 0.3))


def all_negative(scored):
    return with_table(scored, labels=np.zeros_like(scored.predictions.labels))


def all_positive(scored):
    return with_table(scored, labels=np.ones_like(scored.predictions.labels))


def one_patient(scored):
    return with_table(scored, patient_id=np.zeros_like(scored.predictions.patient_id))


def perfect(scored):
    return with_table(scored, probabilities=scored.predictions.labels.astype(np.float64))


def unknown(scored):
    return with_table(scored, known=np.zeros_like(scored.predictions.known))


KINDS = [
    one_positive_patient, a_group_of_three, equal_scores, all_negative, all_positive, one_patient,
    perfect, unknown,
]  # fmt: skip


def intervals(value, path=()):
    """Yield each interval of a document by its keys."""
    if isinstance(value, dict):
        if {"low", "high"} <= value.keys():
            yield path, value["low"], value["high"]
        for key, entry in value.items():
            yield from intervals(entry, (*path, key))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from intervals(entry, (*path, place))


def enough(scored):
    return scored


CASES = [(kind, enough, replicates) for kind in KINDS for replicates in (0, 1, 40)]
CASES += [(enough, kind, 40) for kind in KINDS]


@pytest.mark.parametrize(
    ("kind", "of_validation", "replicates"),
    CASES,
    ids=[f"{one.__name__}-{other.__name__}-{count}" for one, other, count in CASES],
)
def test_hardly_any_data(make_scored_images, capsys, kind, of_validation, replicates):
    images = kind(make_scored_images())
    fit = fit_on_validation(of_validation(make_scored_images(seed=1)).predictions, "platt", "x")
    material = EvaluationInput(images, DESCRIPTION, fit, "", make_scored_images(seed=2))
    other = with_table(images, probabilities=make_scored_images(seed=3).predictions.probabilities)
    options = EvaluationOptions(bootstrap_replicates=replicates, compared_to=other)
    with np.errstate(divide="raise", invalid="raise"):
        document = build_document(material, options)
    for part in ("calibration", "compared_to"):
        for path, low, high in intervals(document[part]):
            assert np.isnan(low) == np.isnan(high), (part, path)
            assert np.isnan(low) or low < high, (part, path)
    for found in document["compared_to"]["findings"].values():
        for one in found.values():
            assert (one["p"] is None) == (one["not_tested"] is not None)
    for entry in document["operating_points"]["findings"].values():
        for rule, reason in entry["unavailable"].items():
            assert entry[rule] is None and reason
    to_json(document)
    tables(document)
    render(document, "table", Terminal())
    for text in (report_page(document, {}), model_card(document, []), capsys.readouterr().out):
        assert " nan" not in text and "None" not in text
