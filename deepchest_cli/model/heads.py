"""From the trunk's features to one logit for each finding."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepchest_cli.data.findings import match_findings
from deepchest_cli.errors import unknown_name

MLP_UNITS = 512  # the authors' head
BRANCH_UNITS = 128
OPERATING_POINTS = "linear-operating-points"
KEPT = 0.9  # of a branch's own activations, at the start


class BranchLinear(nn.Module):
    """One linear layer for each of T branches, all in one product: (T, B, in) to (T, B, out)."""

    def __init__(self, branches: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as nn.Linear draws both
        self.weight = nn.Parameter(torch.empty(branches, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(branches, outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return each branch's own layer of its own inputs."""
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.mT)


class CrossStitchUnit(nn.Module):
    """Mixes the activations of T branches: output t = sum over s of alpha[t, s] * input s.

    alpha (T, T) is learned; its rows begin near the identity and sum to one (Misra et al. 2016,
    equation 1, for any number of tasks).
    """

    def __init__(self, branches: int) -> None:
        super().__init__()
        own = KEPT if branches > 1 else 1.0
        alpha = torch.full((branches, branches), (1 - own) / max(branches - 1, 1))
        self.alpha = nn.Parameter(alpha.fill_diagonal_(own))

    def forward(self, activations: Tensor) -> Tensor:
        """Return the mixed activations, (T, B, units) as they came."""
        return torch.einsum("ts,sbu->tbu", self.alpha, activations)


class CrossStitchHead(nn.Module):
    """One branch of two hidden layers for each finding, with a cross-stitch unit after each.

    Maps features (B, D) to logits (B, T). Misra et al. 2016, "Cross-stitch networks for multi-task
    learning", CVPR; here the branches begin at the features of a shared trunk.
    """

    def __init__(self, features: int, findings: int) -> None:
        super().__init__()
        self.findings = findings
        widths = (features, BRANCH_UNITS)
        self.hidden = nn.ModuleList(BranchLinear(findings, w, BRANCH_UNITS) for w in widths)
        self.stitches = nn.ModuleList(CrossStitchUnit(findings) for _ in widths)
        self.logits = BranchLinear(findings, BRANCH_UNITS, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (B, T)."""
        activations = features.expand(self.findings, -1, -1)  # (T, B, D)
        for layer, stitch in zip(self.hidden, self.stitches, strict=True):
            activations = stitch(layer(activations).relu())  # (T, B, units)
        return cast(Tensor, self.logits(activations)).squeeze(-1).T


class OperatingPointLinear(nn.Linear):
    """A linear layer whose logits are 0 at an operating point of each finding.

    A probability p = sigmoid(logit) below the operating point t becomes p / 2t, and one above it
    1 - (1 - p) / 2(1 - t): torchxrayvision's `op_norm` (Cohen et al. 2022, MIDL).
    """

    op_threshs: Tensor  # (T,) t, from 0 to 1

    def __init__(self, features: int, findings: int) -> None:
        super().__init__(features, findings)
        self.register_buffer("op_threshs", torch.full((findings,), 0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (B, T)."""
        logits, t = super().forward(features), self.op_threshs
        p, q = logits.sigmoid(), (-logits).sigmoid()
        # what is not taken of the two stays finite, and with it its gradient
        below = F.logsigmoid(logits) - (2 * t - p.minimum(t)).log()
        above = (2 * (1 - t) - q.minimum(1 - t)).log() - F.logsigmoid(-logits)
        return torch.where(p < t, below, above)


def _mlp(features: int, findings: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, MLP_UNITS), nn.ReLU(), nn.Linear(MLP_UNITS, findings))


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": nn.Linear,
    "mlp": _mlp,
    "cross-stitch": CrossStitchHead,
    OPERATING_POINTS: OperatingPointLinear,  # of published models; not for training
}


def build_head(name: str, features: int, findings_count: int) -> nn.Module:
    """Return a module that maps features (B, D) to logits (B, T).

    Raises `UsageError` for an unknown name.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name](features, findings_count)


@torch.no_grad()
def take_over_head(
    head: nn.Module,
    findings: Sequence[str],
    saved: Mapping[str, Tensor],
    saved_findings: Sequence[str],
) -> tuple[str, ...]:
    """Copy the parts of a saved head that belong to the same findings; return these.

    What all findings share is copied as well. Nothing is, and none returned, where the saved head
    is of another kind or width, or where no finding is the same.
    """
    pairs = match_findings(findings, saved_findings).shared
    new = torch.tensor([list(findings).index(ours) for ours, _ in pairs], dtype=torch.long)
    old = torch.tensor([list(saved_findings).index(theirs) for _, theirs in pairs])
    state = head.state_dict()
    counts = len(findings), len(saved_findings)
    if not pairs or not _is_alike(head, state, saved, counts):
        return ()
    for key, tensor in state.items():
        source = saved[key].to(tensor.dtype)
        dimensions = _finding_dimensions(head, key)
        if dimensions == 2:
            tensor[new[:, None], new] = source[old[:, None], old]
        elif dimensions == 1:
            tensor[new] = source[old]
        else:
            tensor.copy_(source)
    return tuple(ours for ours, _ in pairs)


def _finding_dimensions(head: nn.Module, key: str) -> int:
    """Return how many of the first dimensions of a tensor run over the findings."""
    if isinstance(head, nn.Sequential):
        return int(key.startswith(f"{len(head) - 1}."))  # all layers but the last are shared
    return 2 if key.endswith(".alpha") else 1


def _is_alike(
    head: nn.Module,
    state: Mapping[str, Tensor],
    saved: Mapping[str, Tensor],
    counts: tuple[int, int],
) -> bool:
    """Whether two heads differ in the number of their findings at most."""
    if state.keys() != saved.keys():
        return False
    for key, tensor in state.items():
        dimensions = _finding_dimensions(head, key)
        shapes = [tuple(tensor.shape), tuple(saved[key].shape)]
        wanted = [(count,) * dimensions + shapes[0][dimensions:] for count in counts]
        if shapes != wanted:
            return False
    return True
