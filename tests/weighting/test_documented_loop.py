"""The training loop of docs/library.md, run as it stands there."""

import re
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def test_the_documented_loop_trains_and_moves_the_weights():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "weighter" in block]
    torch.manual_seed(0)
    radiographs = torch.randn(64, 4)
    # one task follows the first number, the other nothing at all
    labels = torch.stack([radiographs[:, 0] > 0, torch.rand(64) > 0.5], dim=1).float()
    model = nn.Linear(4, 2)
    names = {
        "torch": torch,
        "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=1.0),
        "loader": [(radiographs[:32], labels[:32]), (radiographs[32:], labels[32:])],
        "epochs": 5,
    }
    exec(code, names)
    easy, hard = names["weighter"].weights.tolist()
    assert easy < 1 < hard <= 1.5
    right = ((model(radiographs) > 0) == (labels > 0)).float().mean(dim=0)
    assert right[0] > 0.9
