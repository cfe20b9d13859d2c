"""The preset for rare findings against its formula on plain lists."""

import math

import pytest
import torch

from deepchest_cli.weighting import WEIGHTERS, build_weighter
from deepchest_cli.weighting.base import Performance
from deepchest_cli.weighting.deepchest_rare import rare_deepchest

TASKS = ["common", "middling", "rare"]


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def epoch(seed):
    """Return an epoch's logits and labels; the rare finding is in one image of twenty."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.zeros(40, 3)
    labels[:16, 0], labels[:6, 1], labels[:2, 2] = 1, 1, 1
    strength = torch.tensor([1.0, 3.0, 0.2])
    return strength * (labels - 0.5) + torch.randn(40, 3, generator=chance), labels


def test_it_is_the_formula_of_its_docstring():
    weighter, weights = rare_deepchest(TASKS), [1.0, 1.0, 1.0]
    for number in range(12):
        logits, labels = epoch(number)
        weighter.observe(logits, labels, torch.ones(40, 3))
        weighter.end_epoch(Performance())
        ratios = []
        for i in range(3):
            signs = [1 if label else -1 for label in labels[:, i].tolist()]
            pairs = zip(signs, logits[:, i].tolist(), strict=True)
            loss = sum(math.log1p(math.exp(-s * z)) for s, z in pairs) / 40
            ratios.append(loss / entropy(labels[:, i].mean().item()))
        mean = sum(ratios) / 3
        moved = [
            min(1.1 * w, 1.5) if r > mean else max(w / 1.05, 0.5)
            for w, r in zip(weights, ratios, strict=True)
        ]
        weights = [3 * w / sum(moved) for w in moved]
        assert weighter.weights.tolist() == pytest.approx(weights)
    assert weights[2] > weights[1]  # the rare one is hardly learned, the middling one well


def test_it_has_the_options_of_deepchest_with_other_defaults():
    mine, plain = WEIGHTERS["deepchest-rare"].options, WEIGHTERS["deepchest"].options
    assert mine.keys() == plain.keys()
    changed = {name: value for name, value in mine.items() if value != plain[name]}
    assert changed == {"signal": "normalized-cross-entropy", "floor": 0.5, "renormalize": True}
    weighter = build_weighter("deepchest-rare", TASKS, {"floor": "0.7"})
    assert (weighter.rule.floor, weighter.source.signal) == (0.7, "normalized-cross-entropy")
