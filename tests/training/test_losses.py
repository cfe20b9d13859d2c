import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.training.losses import (
    AsymmetricLoss,
    FocalLoss,
    PriorAwareLoss,
    build_loss,
    label_counts,
)
from deepchest_cli.weighting.losses import cross_entropy

LOGITS = torch.tensor([[-3.0, -0.5, 0.0, 0.5, 3.0]]).T
ONES, ZEROS = torch.ones(5, 1), torch.zeros(5, 1)


def test_focal_loss_by_hand():
    # p = 0.8, label 1: 0.2^2 ln(1 / 0.8); label 0: 0.8^2 ln(1 / 0.2)
    logit = torch.tensor([[math.log(4)]])
    # powers multiply what exponentials round
    found = [FocalLoss()(logit, labels).item() for labels in (torch.ones(1, 1), torch.zeros(1, 1))]
    assert found == pytest.approx([0.04 * math.log(1.25), 0.64 * math.log(5)], rel=1e-5)
    assert torch.equal(FocalLoss(0)(LOGITS, ONES), cross_entropy(LOGITS, ONES))


def test_asymmetric_loss_by_hand():
    # p = 0.8: positives as ever with gamma 0; negatives 0.75^4 ln(1 / 0.25)
    logit = torch.tensor([[math.log(4)]])
    loss = AsymmetricLoss()
    assert loss(logit, torch.ones(1, 1)).item() == pytest.approx(math.log(1.25))
    negative = loss(logit, torch.zeros(1, 1)).item()
    assert negative == pytest.approx(0.75**4 * math.log(4), rel=1e-5)  # powers multiply rounding
    # below the margin a negative is nothing
    assert loss(torch.tensor([[-4.0]]), torch.zeros(1, 1)).item() == pytest.approx(0, abs=1e-9)


def test_asymmetric_without_its_asymmetry_is_cross_entropy():
    loss = AsymmetricLoss(0, 0, 0)
    for labels in (ONES, ZEROS):
        assert torch.equal(loss(LOGITS, labels), cross_entropy(LOGITS, labels))


@pytest.mark.parametrize(
    "loss", [FocalLoss(), FocalLoss(0.5), AsymmetricLoss(), AsymmetricLoss(1, 2, 0)]
)
@pytest.mark.parametrize("labels", [ONES, ZEROS])
def test_gradients_stay_finite_however_sure_the_model_is(loss, labels):
    logits = torch.tensor([[-200.0, -20.0, 0.0, 20.0, 200.0]]).T.requires_grad_()
    value = loss(logits, labels)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (value >= 0).all()
    assert torch.isfinite(logits.grad).all()


def test_rare_positives_weigh_more_and_negatives_stay():
    loss = PriorAwareLoss(cross_entropy, torch.tensor([9.0]), torch.zeros(1))
    assert torch.equal(loss(LOGITS, ONES), 9 * cross_entropy(LOGITS, ONES))
    assert torch.equal(loss(LOGITS, ZEROS), cross_entropy(LOGITS, ZEROS))


def test_adjusted_logits_are_even_where_prevalence_is_all_that_is_known():
    """With nothing to see, the best adjusted logit is 0: an even chance."""
    prevalence = 0.1
    labels = (torch.arange(100) < 100 * prevalence).float()[:, None]
    odds = torch.tensor([math.log(prevalence / (1 - prevalence))])
    logit = torch.zeros(1, requires_grad=True)
    loss = PriorAwareLoss(cross_entropy, torch.ones(1), odds)
    loss(logit.expand(100, 1), labels).mean().backward()
    assert logit.grad.abs() < 1e-7


CPU = torch.device("cpu")
CONFIG = TrainConfig()
# 1 of 10; 5 of 10; never; unknown but for 4, of which 1
LABELS = np.zeros((10, 4), dtype=np.uint8)
LABELS[0, 0] = 1
LABELS[:5, 1] = 1
LABELS[[0, 9], 3] = 1
KNOWN = np.ones((10, 4), dtype=np.uint8)
KNOWN[4:, 3] = 0


def build(**changes):
    return build_loss(replace(CONFIG, **changes), *label_counts(LABELS, KNOWN, np.ones(10)), CPU)


def test_nothing_asked_is_plain_cross_entropy():
    assert build() is cross_entropy


def test_positive_weights_are_negatives_over_positives_to_the_power():
    assert build(pos_weight_power=1).pos_weight.tolist() == [9, 1, 1, 3]
    halfway = build(pos_weight_power=0.5)
    assert halfway.pos_weight.tolist() == pytest.approx([3, 1, 1, 3**0.5])
    assert halfway.log_odds.tolist() == [0, 0, 0, 0]


def test_logit_adjustment_is_the_log_odds_of_prevalence():
    adjusted = build(logit_adjustment=1)
    assert adjusted.log_odds.tolist() == pytest.approx([np.log(1 / 9), 0, 0, np.log(1 / 3)])
    assert adjusted.pos_weight.tolist() == [1, 1, 1, 1]
    assert build(logit_adjustment=2).log_odds[0] == 2 * adjusted.log_odds[0]


def test_losses_take_their_options_and_combine_with_priors():
    assert build(loss="focal", loss_option=("gamma=1",)) == FocalLoss(1)
    assert build(loss="asymmetric", loss_option=("gamma-negative=3", "margin=0")) == AsymmetricLoss(
        0, 3, 0
    )
    assert build(loss="focal", pos_weight_power=1).base == FocalLoss()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_option": ("gamma=1",)}, "'bce' has no options. Found 'gamma'"),
        ({"loss": "focal", "loss_option": ("gama=1",)}, "Did you mean 'gamma'"),
        ({"loss": "focal", "loss_option": ("gamma=two",)}, "'gamma' should be from 0 to 100"),
        ({"loss": "focal", "loss_option": ("gamma=nan",)}, "'gamma' should be from 0 to 100"),
        ({"loss": "asymmetric", "loss_option": ("margin=2",)}, "'margin' should be from 0 to 1"),
    ],
)
def test_wrong_options_are_named(change, message):
    with pytest.raises(UsageError, match=message):
        build(**change)


def test_an_image_counts_as_often_as_an_epoch_has_it():
    positives, negatives = label_counts(LABELS, KNOWN, np.arange(10) / 2)
    assert positives.tolist() == [0, 5, 0, 0]  # the last image's label of the last is unknown
    assert negatives.tolist() == [22.5, 17.5, 22.5, 3]
