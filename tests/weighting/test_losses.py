import pytest
import torch

from deepchest_cli.weighting import TaskLosses, across_processes, task_losses

NAN = float("nan")


def test_mean_over_known_labels():
    logits = torch.tensor([[0.0, 2.0], [0.0, -1.0]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    known = torch.tensor([[True, True], [True, False]])
    losses = task_losses(logits, labels, known)
    # ln 2 twice; ln(1 + e^-2)
    assert losses.values.tolist() == pytest.approx([0.693147, 0.126928], abs=1e-6)
    assert losses.known.tolist() == [2, 1]
    assert losses.present.tolist() == [True, True]


def test_an_unknown_label_has_neither_value_nor_gradient():
    logits = torch.tensor([[5.0, float("nan")]], requires_grad=True)
    losses = task_losses(logits, torch.zeros(1, 2), torch.tensor([[True, False]]))
    losses.values.sum().backward()
    assert losses.values[1] == 0
    assert losses.present.tolist() == [True, False]
    assert logits.grad[0, 0] > 0
    assert logits.grad[0, 1] == 0


def test_half_precision_logits_are_scored_in_single():
    losses = task_losses(
        torch.tensor([[3.0]], dtype=torch.bfloat16), torch.ones(1, 1), torch.ones(1, 1).bool()
    )
    assert losses.values.dtype == torch.float32


def test_the_losses_of_micro_batches_add_up_to_those_of_the_batch():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, generator=random)
    labels = (torch.rand(8, 3, generator=random) < 0.4).float()
    known = torch.rand(8, 3, generator=random) < 0.7
    whole = task_losses(logits, labels, known)
    micro_batches = [
        task_losses(logits[s], labels[s], known[s], known_counts=whole.known).values
        for s in (slice(3), slice(3, 8))
    ]
    assert torch.allclose(sum(micro_batches), whole.values)


def test_without_a_mask_a_label_that_is_nan_is_unknown():
    logits = torch.tensor([[0.5, 2.0], [-1.0, 1.0]], requires_grad=True)
    losses = task_losses(logits, torch.tensor([[1.0, NAN], [0.0, NAN]]))
    losses.values.sum().backward()
    mask = torch.tensor([[True, False], [True, False]])
    masked = task_losses(logits, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), mask)
    assert torch.equal(losses.values, masked.values)
    assert losses.known.tolist() == [2, 0]
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[:, 1].any()
    whole = task_losses(logits, torch.tensor([[1, 0], [0, 1]]))  # integers too
    assert whole.known.tolist() == [2, 2]


def test_one_process_has_its_own_losses():
    losses = TaskLosses(torch.ones(2), torch.tensor([3, 4]))
    assert across_processes(losses) is losses
