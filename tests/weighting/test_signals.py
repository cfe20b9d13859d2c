"""Signals against scikit-learn, and against values worked by hand where it has none."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Performance
from deepchest_cli.weighting.signals import SIGNALS, SignalSource, measure

NAN = math.nan


def probability(logits):
    return 1 / (1 + np.exp(-logits))


def loss(labels, logits):
    return log_loss(labels, probability(logits), labels=[0, 1])


def normalized_cross_entropy(labels, logits):
    p = labels.mean()
    return loss(labels, logits) / loss(labels, np.full(len(labels), math.log(p / (1 - p))))


ORACLES = {
    "accuracy": lambda labels, logits: accuracy_score(labels, logits > 0),
    "balanced-accuracy": lambda labels, logits: balanced_accuracy_score(labels, logits > 0),
    "f1": lambda labels, logits: f1_score(labels, logits > 0, zero_division=0),
    "auroc": roc_auc_score,
    "average-precision": average_precision_score,
    "loss": loss,
    "normalized-cross-entropy": normalized_cross_entropy,
}


def material(seed, examples=200, tasks=5):
    """Logits with many ties, labels from rare to common, one in five unknown."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, tasks, generator=generator).mul(4).round() / 4
    chances = torch.linspace(0.03, 0.7, tasks)
    labels = (torch.rand(examples, tasks, generator=generator) < chances).float()
    labels[:2] = torch.tensor([[0.0], [1.0]])  # both classes in every task
    known = torch.rand(examples, tasks, generator=generator) < 0.8
    known[:2] = True
    return logits, labels, known


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("signal", ORACLES)
def test_the_values_are_those_of_scikit_learn(signal, seed):
    logits, labels, known = material(seed)
    expected = [
        ORACLES[signal](labels[seen, task].numpy(), logits[seen, task].double().numpy())
        for task, seen in enumerate(known.T)
    ]
    found = measure(signal, logits, labels, known)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_every_signal_has_an_oracle():
    assert ORACLES.keys() == SIGNALS.keys()


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        # tasks: a single tie; only negatives; only positives; nothing known
        ("accuracy", [0.5, 0.5, 0.5, NAN]),
        ("balanced-accuracy", [0.5, NAN, NAN, NAN]),
        ("f1", [2 / 3, NAN, 2 / 3, NAN]),
        ("auroc", [0.5, NAN, NAN, NAN]),
        ("average-precision", [0.5, NAN, 1.0, NAN]),
        (
            "normalized-cross-entropy",
            [(math.log1p(math.exp(-1)) + 0.5) / math.log(2), NAN, NAN, NAN],
        ),
    ],
)
def test_what_is_undefined_is_nan(signal, expected):
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, -1.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    known = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    found = measure(signal, logits, labels, known)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("signal", SIGNALS)
def test_without_a_row_all_is_undefined(signal):
    nothing = torch.zeros(0, 3)
    assert measure(signal, nothing, nothing, nothing).isnan().tolist() == [True] * 3


def test_a_misspelled_signal_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'auroc'"):
        measure("aurok", *material(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("signal", SIGNALS)
def test_the_values_are_the_same_on_a_cuda_device(signal):
    here = material(0)
    there = measure(signal, *(tensor.cuda() for tensor in here))
    assert there.tolist() == pytest.approx(measure(signal, *here).tolist(), rel=1e-12)


def collected(*seeds, chunks=1):
    """A source that has observed the tables of each seed, in so many chunks."""
    source = SignalSource("auroc", "train", every=0, trend_epochs=1)
    for seed in seeds:
        for chunk in zip(*(table.chunk(chunks) for table in material(seed)), strict=True):
            source.observe(*chunk)
    return source


def test_observed_steps_are_measured_as_one_table_and_forgotten():
    source = collected(0, chunks=4)
    expected = measure("auroc", *material(0))
    assert torch.equal(source.end_epoch(Performance()), expected)
    with pytest.raises(UsageError, match="No step has been observed"):
        source.end_epoch(Performance())


def test_observed_steps_are_copies():
    logits, labels, known = material(0)
    source = SignalSource("auroc", "train", every=0, trend_epochs=1)
    source.observe(logits.requires_grad_(), labels, known)
    for tensor in (logits.data, labels, known):
        tensor.zero_()
    assert not source.observed[0][0].requires_grad
    assert all(tensor.any() for tensor in source.observed[0])


def test_observed_steps_survive_a_save_and_a_load(tmp_path):
    source, empty = collected(0, 1), collected()
    torch.save([source.state_dict(), empty.state_dict()], tmp_path / "state.pt")
    full, nothing = torch.load(tmp_path / "state.pt", weights_only=True)
    fresh = collected()
    fresh.load_state_dict(full)
    assert torch.equal(fresh.end_epoch(Performance()), source.end_epoch(Performance()))
    fresh = collected(0)
    fresh.load_state_dict(nothing)
    assert fresh.observed == []
