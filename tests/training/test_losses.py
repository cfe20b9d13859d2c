import pytest
import torch

from deepchest_cli.training.losses import task_losses


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
