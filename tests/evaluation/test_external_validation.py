from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from deepchest_cli.data.merging import folder_names
from deepchest_cli.evaluation.differences import group_difference
from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.external_validation import external_validation
from deepchest_cli.evaluation.intervals import auroc_interval
from deepchest_cli.evaluation.metrics import auroc
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.validation_fit import fit_on_validation

DESCRIPTION = {
    "model": None, "models": [], "predictions": None, "labels": None, "data_sha256": None,
    "split": "test", "split_scheme": None, "label_version": "2020", "source": None,
    "synthetic": None, "labels_without_predictions": 0, "overlap": UNCHECKED,
}  # fmt: skip


@pytest.fixture
def several(make_scored_images):
    """Two data sets: of the second, Edema has no positive, and its Mass is harder."""
    fit = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    first, second = make_scored_images(seed=2, signal=1.5), make_scored_images(seed=3, signal=0.5)
    table = second.predictions
    labels = table.labels * np.array([1, 0], dtype=np.uint8)
    second = replace(second, predictions=replace(table, labels=labels))
    inputs = [
        EvaluationInput(images, {**DESCRIPTION, "data": name}, fit, "Kept.", None)
        for images, name in ((first, "data/a"), (second, "data/b"))
    ]
    options = EvaluationOptions(bootstrap_replicates=200)
    return inputs, [build_document(one, options) for one in inputs]


def test_a_drop_is_over_what_all_data_sets_define(several):
    found = external_validation(*several)["external_validation"]
    assert found["shared_findings"] == ["Mass"]
    assert found["findings"] == ["Mass", "Edema"]
    first, second = found["data_sets"]
    drop = second["drop"]["macro_auroc"]
    assert drop["value"] == second["drop"]["findings"]["Mass"]["value"] > 0.1
    assert 0 < drop["low"] < drop["value"] < drop["high"]
    # the mean of one finding has that finding's interval
    assert first["macro_auroc"] == pytest.approx(first["findings"]["Mass"]["auroc"])
    assert np.isnan(second["drop"]["findings"]["Edema"]["value"])
    assert first["own_macro_auroc"]["scored_findings"] == 2
    thresholds = [
        one["findings"]["Mass"]["operating_point"]["threshold"] for one in found["data_sets"]
    ]
    assert thresholds[0] == thresholds[1]


def test_no_interval_where_images_are_shared(several):
    inputs, documents = several
    inputs = [inputs[0], replace(inputs[1], shares_images=True)]
    drop = external_validation(inputs, documents)["external_validation"]["data_sets"][1]["drop"]
    assert drop["macro_auroc"]["value"] > 0.1
    assert np.isnan([drop["macro_auroc"]["low"], drop["findings"]["Mass"]["high"]]).all()


def test_without_a_finding_of_all_data_sets_there_is_no_mean(several):
    inputs, documents = several
    documents[0]["findings"].pop("Mass")
    documents[0]["operating_points"]["findings"].pop("Mass")
    found = external_validation(inputs, documents)["external_validation"]
    assert found["shared_findings"] == []
    assert np.isnan(found["data_sets"][1]["drop"]["macro_auroc"]["value"])


def test_drops_between_independent_patients_have_their_coverage():
    """Two binormal samples of 150 patients, a tenth with the finding; 95 % within 3 SE."""
    chance, distances, covered, rounds = np.random.default_rng(0), (1.5, 0.8), 0, 400
    truth = np.subtract(*(norm.cdf(distance / np.sqrt(2)) for distance in distances))
    for _ in range(rounds):
        parts = []
        for distance in distances:
            labels = (np.arange(150) < 15).astype(np.uint8)
            scores = norm.cdf(chance.normal(distance * labels))
            low, high = auroc_interval(labels, scores, np.arange(150))
            parts.append({"value": auroc(labels, scores), "low": low, "high": high})
        found = group_difference(*parts)
        covered += found["low"] <= truth <= found["high"]
    assert 0.917 <= covered / rounds <= 0.983


def test_data_sets_are_called_by_what_tells_them_apart():
    assert folder_names(["data/nih", "/x/chexpert"]) == ["nih", "chexpert"]
    assert folder_names(["a/shards", "b/shards", "b/other"])[:2] == ["a/shards", "b/shards"]
