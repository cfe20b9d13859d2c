from dataclasses import replace

import numpy as np
import pytest
import torch

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.training.long_tail import balanced_chances, build_loss, counts_of
from deepchest_cli.training.losses import AsymmetricLoss, FocalLoss, cross_entropy

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
    return build_loss(replace(CONFIG, **changes), *counts_of(LABELS, KNOWN), CPU)


def test_nothing_asked_is_plain_cross_entropy():
    assert build() is cross_entropy


def test_positive_weights_are_negatives_over_positives_to_the_power():
    assert build(pos_weight_power=1).pos_weight_power.tolist() == [9, 1, 1, 3]
    halfway = build(pos_weight_power=0.5)
    assert halfway.pos_weight_power.tolist() == pytest.approx([3, 1, 1, 3**0.5])
    assert halfway.log_odds.tolist() == [0, 0, 0, 0]


def test_logit_adjustment_is_the_log_odds_of_prevalence():
    adjusted = build(logit_adjustment=1)
    assert adjusted.log_odds.tolist() == pytest.approx([np.log(1 / 9), 0, 0, np.log(1 / 3)])
    assert adjusted.pos_weight_power.tolist() == [1, 1, 1, 1]
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


def test_balanced_sampling_gives_every_finding_and_none_the_same_share():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 0], [0, 0]], dtype=np.uint8)
    chances = balanced_chances(labels, np.ones_like(labels))
    assert chances.sum() == pytest.approx(1)
    assert chances[0] == pytest.approx(chances[1:4].sum()) == pytest.approx(chances[4:].sum())


def test_an_image_with_two_findings_is_drawn_for_both():
    labels = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.uint8)
    assert balanced_chances(labels, np.ones_like(labels)) == pytest.approx([0.5, 0.25, 0.25])


def test_an_unknown_positive_counts_as_none():
    labels, known = np.array([[1], [1]], dtype=np.uint8), np.array([[1], [0]], dtype=np.uint8)
    assert balanced_chances(labels, known) == pytest.approx([0.5, 0.5])
    assert balanced_chances(labels[1:], known[1:]) == pytest.approx([1])


def test_counts_under_balanced_sampling_are_those_of_an_epoch():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 0], [0, 0]], dtype=np.uint8)
    known = np.ones_like(labels)
    positives, negatives = counts_of(labels, known, balanced_chances(labels, known))
    assert positives == pytest.approx([2, 2])  # a third of six draws each
    assert negatives == pytest.approx([4, 4])
