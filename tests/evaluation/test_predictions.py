import numpy as np
import pytest
import torch

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.model.checkpoint import load_model
from deepchest_cli.model.classifier import Architecture, Classifier

CPU = torch.device("cpu")


@pytest.fixture
def model(trained):
    return load_model(trained, CPU).classifier


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


def test_order_and_neighbors_change_nothing_beyond_rounding(model, dataset):
    def probabilities(wanted):
        return predict_rows(model, ImageReader(dataset, CPU), wanted, 8).probabilities

    rows = np.arange(20)
    whole, order = probabilities(rows), np.random.default_rng(0).permutation(rows)
    assert np.array_equal(probabilities(rows), whole)
    # kernels for AVX2 add up another row of a batch in another order
    assert np.abs(probabilities(order) - whole[order]).max() < 1e-6
    assert np.abs(probabilities(rows[3:4]) - whole[3:4]).max() < 1e-6


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_sizes_agree(model, dataset, batch_size):
    rows = np.arange(20)
    one, other = (predict_rows(model, ImageReader(dataset, CPU), rows, b) for b in (16, batch_size))
    assert np.abs(one.probabilities - other.probabilities).max() < 1e-5


def test_findings_are_matched_by_name_and_not_by_position(dataset):
    findings = ("Hernia", "Mass")
    model = Classifier(Architecture("mobilenet_v2", "linear", findings, 32, 32))
    predictions = predict_rows(model, ImageReader(dataset, CPU), np.arange(80), 32)
    assert predictions.findings == findings
    for column, name in enumerate(findings):
        labels = dataset.labels[:, dataset.findings.index(name)]
        assert np.array_equal(predictions.labels[:, column], labels)


def test_findings_that_the_data_lack_are_named(dataset):
    model = Classifier(Architecture("mobilenet_v2", "linear", ("Mass", "Fracture"), 32, 32))
    with pytest.raises(UsageError, match="no labels for Fracture"):
        predict_rows(model, ImageReader(dataset, CPU), np.arange(2), 2)
