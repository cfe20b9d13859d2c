import math

import pytest

from deepchest_cli.evaluation.document import Extras, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.card import model_card
from deepchest_cli.evaluation.output.page import report_page
from deepchest_cli.evaluation.output.tables import tables
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.validation_fit import fit_on_validation
from deepchest_cli.files import to_json

DESCRIPTION = {
    "model": None, "models": [], "predictions": "a<b>|c.csv", "labels": "l.csv", "data": None,
    "data_sha256": None, "split": "test", "split_scheme": None, "label_version": "2020",
    "source": None, "synthetic": None, "labels_without_predictions": 7, "overlap": UNCHECKED,
}  # fmt: skip


@pytest.fixture
def material(make_scored_images):
    choices = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    return EvaluationInput(
        make_scored_images(), DESCRIPTION, choices, "", make_scored_images(seed=2)
    )


@pytest.fixture
def document(material):
    return build_document(material, Extras(bootstrap_replicates=20))


def test_what_comes_from_outside_is_escaped(document):
    page = report_page(document, {})
    assert "a&lt;b&gt;|c.csv" in page
    assert "a<b>" not in page


def test_the_caution_fits_the_data(document):
    assert "not recognized as a whole published test part" in report_page(document, {})
    official = {**document, "split_name": "official"}
    assert "all images of NIH&#x27;s official test list" in report_page(official, {})
    assert "nothing here says anything about patients" in model_card(
        {**document, "synthetic": True}, []
    )


def test_the_validation_part_that_is_shared_is_said(document):
    for text in (report_page(document, {}), model_card(document, [])):
        assert "all three rest on the same patients" in text


def test_without_thresholds_page_card_and_tables_still_stand(make_scored_images):
    material = EvaluationInput(make_scored_images(), DESCRIPTION, None, "No validation.", None)
    document = build_document(material, Extras(bootstrap_replicates=0))
    assert "No validation." in report_page(document, {})
    assert "No validation." in model_card(document, [])
    names = tables(document, material.scored).keys()
    assert "operating-points.csv" not in names
    assert "subgroups.csv" in names


def test_the_same_material_gives_the_same_document(material, document):
    assert to_json(build_document(material, Extras(bootstrap_replicates=20))) == to_json(document)


def test_intervals_are_around_the_figures(document):
    for values in document["findings"].values():
        for metric in ("auroc", "average_precision", "loss", "brier"):
            found = values["intervals"][metric]
            assert found["low"] <= values[metric] <= found["high"] or math.isnan(found["low"])
