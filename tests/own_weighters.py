"""Weighters of one's own, as users write them, for the tests."""

from pathlib import Path

GOOD = '''\
from deepchest_cli.weighting import PerStepWeighter


class MyWeighter(PerStepWeighter):
    """The larger a loss, the higher its weight."""

    def __init__(self, tasks, alpha=1.0):
        super().__init__(tasks)
        self.alpha = alpha

    def forward(self, losses):
        shares = losses.softmax(self.alpha * losses.values.detach())
        return losses.weighted_by(self.record(len(self.tasks) * shares))
'''
# the mean of the present tasks' gradients
GRADIENT = """\
from deepchest_cli.weighting import GradientWeighter


class Mean(GradientWeighter):
    last = None

    @property
    def weights(self):
        return self.last

    def forward(self, losses, jacobian):
        present = losses.present.to(jacobian.dtype)
        self.last = present / present.sum().clamp(min=1)
        return self.last @ jacobian
"""
# by the property that each breaks: the body of a class, MyWeighter
BROKEN = {
    "forms": """\
        def forward(self, losses):
            return losses.values
    """,
    "finite values": """\
        def forward(self, losses):
            return losses.weighted_by(self.record(1 / losses.values.detach()))
    """,
    "recovery": """\
        factor = 1.0
        saved = ("factor",)

        def forward(self, losses):
            weights = self.record(torch.full((len(self.tasks),), self.factor))
            first = losses.values.detach()[0]
            self.factor = float(self.factor * first / first)
            return losses.weighted_by(weights)
    """,
    "weights": """\
        def forward(self, losses):
            self.record(torch.ones(len(self.tasks)))
            return losses.weighted_by(losses.values.detach())
    """,
    "absent task": """\
        def forward(self, losses):
            weights = self.record(torch.ones(len(self.tasks)))
            return (weights * losses.values).sum()
    """,
    "empty batch": """\
        def forward(self, losses):
            weights = self.record(losses.present / losses.known.max())
            return losses.weighted_by(weights) / losses.known.sum().sign() * losses.known.max()
    """,
    "saved state": """\
        steps = 0

        def forward(self, losses):
            self.steps += 1
            weights = torch.full((len(self.tasks),), 1.0 / self.steps)
            return losses.weighted_by(self.record(weights))
    """,
    "copies": """\
        shared = []

        def forward(self, losses):
            self.shared.append(1.0)
            weights = torch.ones(len(self.tasks))
            return losses.weighted_by(self.record(weights))

        @property
        def weights(self):
            return None if self.last_weights is None else self.last_weights * len(self.shared)
    """,
    "given objects": """\
        def forward(self, losses):
            losses.known.add_(0).mul_(1)
            weights = self.record(torch.ones(len(self.tasks)))
            objective = losses.weighted_by(weights)
            losses.values.data.mul_(0.5)
            return objective
    """,
    "random state": """\
        def forward(self, losses):
            return losses.weighted_by(self.record(torch.rand(len(self.tasks))))
    """,
    "repeatability": """\
        import itertools
        counter = itertools.count(1)

        def forward(self, losses):
            weights = torch.full((len(self.tasks),), float(next(self.counter)))
            return losses.weighted_by(self.record(weights))
    """,
    "precision": """\
        def forward(self, losses):
            weights = self.record(losses.present.float())
            return weights @ losses.values
    """,
    "additivity": """\
        additive = True

        def forward(self, losses):
            self.record(losses.values)
            return losses.values.square().sum() / 2
    """,
}


def write(path: Path, source: str = GOOD) -> Path:
    """Write a file with a weighter and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def broken(path: Path, name: str) -> Path:
    """Write a weighter that breaks a property."""
    head = "import torch\nfrom deepchest_cli.weighting import PerStepWeighter\n\n\n"
    body = "\n".join(line.removeprefix("    ") for line in BROKEN[name].splitlines())
    return write(path, f"{head}class MyWeighter(PerStepWeighter):\n{body}\n")
