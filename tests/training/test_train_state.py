import pytest
import torch

from deepchest_cli.training.train_state import EpochMetrics
from deepchest_cli.weighting.losses import task_losses

CPU = torch.device("cpu")


def batch(seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 3, generator=random)
    labels = (torch.rand(8, 3, generator=random) < 0.4).float()
    return logits, labels, torch.rand(8, 3, generator=random) < 0.7


def recorded(seeds, weights):
    metrics = EpochMetrics((3,), CPU)
    for seed, own in zip(seeds, weights, strict=True):
        metrics.add(*batch(seed), own)
    return metrics


def same(one, other):
    pairs = [(one.performance()[name], other.performance()[name]) for name in ("loss", "accuracy")]
    pairs.append((one.mean_weights(), other.mean_weights()))
    return all(torch.equal(*pair) for pair in pairs)


WEIGHTS = [torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64) * n for n in (1, 2, 6)]


def test_losses_and_accuracy_are_those_of_all_known_labels():
    metrics = recorded(range(3), WEIGHTS)
    logits, labels, known = (torch.cat(one) for one in zip(*map(batch, range(3)), strict=True))
    losses = task_losses(logits, labels, known)
    assert torch.allclose(metrics.performance()["loss"], losses.values.double())
    right = (((logits > 0) == (labels > 0)) & known).sum(dim=0) / known.sum(dim=0)
    assert torch.allclose(metrics.performance()["accuracy"], right.double())
    assert metrics.mean_weights().tolist() == pytest.approx([0.3, 3.0, 9.0])


def test_losses_that_are_known_are_not_computed_again():
    given, own = EpochMetrics((3,), CPU), EpochMetrics((3,), CPU)
    given.add(*batch(0), None, task_losses(*batch(0)))
    own.add(*batch(0), None)
    assert torch.equal(given.performance()["loss"], own.performance()["loss"])
    assert given.mean_weights() is None


def test_weights_that_stay_are_their_own_mean():
    weights = torch.tensor([0.1, 1 / 3, 1e-7], dtype=torch.float64)
    assert torch.equal(recorded(range(7), [weights] * 7).mean_weights(), weights)


def test_a_record_goes_on_from_a_checkpoint_of_now_and_of_before():
    whole, begun = recorded(range(3), WEIGHTS), recorded(range(2), WEIGHTS[:2])
    state = begun.state_dict()
    before = {**state, "weight_count": torch.full((3,), 2.0, dtype=torch.float64)}
    for saved in (state, before):
        resumed = EpochMetrics((3,), CPU)
        resumed.load_state_dict(saved)
        resumed.add(*batch(2), WEIGHTS[2])
        assert same(resumed, whole)
