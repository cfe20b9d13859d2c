"""The metrics of an epoch, collected step by step."""

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import EpochResults, build_weighter, measure
from deepchest_cli.weighting.signals import SIGNALS

TASKS = ["a", "b"]


def tables(seed, images=20):
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 2, generator=chance)
    labels = (torch.rand(images, 2, generator=chance) < 0.4).float()
    return logits, labels, torch.rand(images, 2, generator=chance) < 0.8


def test_the_metrics_are_those_of_the_whole_epoch():
    results, steps = EpochResults(), [tables(seed) for seed in range(3)]
    for step in steps:
        results.add(*step)
    validation = tables(9, images=50)
    results.add(*validation, split="validation")
    found = results.performance()
    whole = [torch.cat(column) for column in zip(*steps, strict=True)]
    assert set(found.training) == {name.replace("-", "_") for name in SIGNALS}
    for name in SIGNALS:
        key = name.replace("-", "_")
        assert torch.equal(found.training[key], measure(name, *whole))
        assert torch.equal(found.validation[key], measure(name, *validation))
    _, labels, known = validation
    counts = found.patients["validation"]  # each radiograph is of another patient
    assert counts.positive.tolist() == (labels * known).sum(dim=0).tolist()
    assert torch.equal(counts.positive + counts.negative, known.sum(dim=0))


def test_an_epoch_begins_empty():
    results = EpochResults()
    results.add(*tables(0))
    assert results.performance().training
    after = results.performance()
    assert (after.training, after.validation, after.patients) == ({}, {}, {})
    with pytest.raises(UsageError, match="Given: nothing"):
        build_weighter("dtp", TASKS).end_epoch(after)


def test_a_patient_counts_once_also_over_batches():
    results, (logits, labels, known) = EpochResults(), tables(0)
    patients = torch.arange(20) % 7
    for half in (slice(0, 10), slice(10, 20)):
        results.add(logits[half], labels[half], known[half], patients=patients[half])
    counts = results.performance().patients["train"]
    for task in range(2):
        assert counts.known[task] == len(set(patients[known[:, task]].tolist()))
        ill = known[:, task] & (labels[:, task] > 0)
        assert counts.positive[task] == len(set(patients[ill].tolist()))


def test_without_a_mask_a_label_that_is_nan_is_unknown():
    logits, labels, known = tables(0)
    masked, plain = EpochResults(), EpochResults()
    masked.add(logits, labels, known)
    plain.add(logits, labels.masked_fill(~known, float("nan")))
    for one, other in zip(
        *(each.performance().training.values() for each in (masked, plain)), strict=True
    ):
        assert torch.equal(one, other)


def test_what_is_added_is_kept_as_it_was():
    logits, labels, known = tables(0)
    results, expected = EpochResults(), measure("accuracy", logits, labels, known)
    results.add(logits.requires_grad_(), labels, known)
    with torch.no_grad():
        for table in (logits, labels, known):
            table.zero_()
    assert torch.equal(results.performance().training["accuracy"], expected)


def test_bad_input_is_refused():
    logits, labels, known = tables(0)
    with pytest.raises(UsageError, match="Unknown split 'val'"):
        EpochResults().add(logits, labels, known, split="val")
    with pytest.raises(UsageError, match=r"should be \(B, T\) each. Found \(20, 2\), \(20, 1\)"):
        EpochResults().add(logits, labels[:, :1], known[:, :1])
    with pytest.raises(UsageError, match=r"should be \(20,\), one a row. Found \(3,\)"):
        EpochResults().add(logits, labels, known, patients=torch.arange(3))
    results = EpochResults()
    results.add(logits, labels, known)
    with pytest.raises(UsageError, match="Only some batches of the split train have patients"):
        results.add(logits, labels, known, patients=torch.arange(20))
