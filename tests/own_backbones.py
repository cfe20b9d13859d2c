"""Backbones of one's own, as users write them, for the tests."""

from pathlib import Path

GOOD = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, width=8):
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 12, 3, stride=2, padding=1),
        )

    def forward(self, x):
        return self.stages(x).mean(dim=(2, 3))


def build(channels, image_size):
    return Net(channels)
"""
RETURNED = "return self.stages(x).mean(dim=(2, 3))"
FUNCTION = "return Net(channels)"
# by the words of the error: what replaces the end of forward, or of the function
BROKEN_FORWARD = {
    r"in evaluation mode. Found a tensor of shape \(2, 12, 8, 8\)": "return self.stages(x)",
    r"Found a tensor of shape \(2, 64, 12\)": "return self.stages(x).flatten(2).transpose(1, 2)",
    "Found tuple": "return self.stages(x).mean(dim=(2, 3)), x",
    r"Found a tensor of shape \(1, 12\) for 2 images": "return self.stages(x).mean(dim=(2, 3))[:1]",
    r"Found values of type torch.int64": "return self.stages(x).mean(dim=(2, 3)).long()",
    "Found values that are not finite": "return self.stages(x).mean(dim=(2, 3)) / 0 * 0",
    "gives 12 features in training mode and 24 in evaluation mode": (
        "y = self.stages(x).mean(dim=(2, 3)); return y if self.training else y.repeat(1, 2)"
    ),
    r"training mode. Found a tensor of shape \(2, 12, 8, 8\)": (
        "y = self.stages(x); return y if self.training else y.mean(dim=(2, 3))"
    ),
    "depend on the other images": "y = self.stages(x).mean(dim=(2, 3)); return y - y.mean(dim=0)",
    "differ from one pass to the next": (
        "y = self.stages(x).mean(dim=(2, 3)); return nn.functional.dropout(y)"
    ),
    r"prints in its forward pass \('seen'\)": "print('seen'); " + RETURNED,
    r"failed on 2 x 1 x 32 x 32 values in evaluation mode: \S*, line 15: ZeroDivision": "1 / 0",
    "line 15: SystemExit: 0": "raise SystemExit(0)",
    "line 15: RuntimeError: view size is not compatible": "return self.stages(x).view(len(x), -1)",
}
BROKEN_FUNCTION = {
    "mine.py:build failed: .*mine.py, line 19: ValueError: no": "raise ValueError('no')",
    "mine.py:build failed: .*line 19: SystemExit": "raise SystemExit",
    "should return a torch.nn.Module. Found NoneType": "Net(channels)",
    "should return a torch.nn.Module. Found type": "return Net",
    "reads three channels, and radiographs have one": "return Net(3)",
    "keeps '_extra_state', which is no tensor": (
        "Net.get_extra_state = lambda self: {'a': 1}; return Net(channels)"
    ),
    "returned the same network before": (
        "global NET; NET = globals().get('NET') or Net(channels); return NET"
    ),
}


def write(path: Path, source: str = GOOD) -> Path:
    """Write a file with a backbone and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path
