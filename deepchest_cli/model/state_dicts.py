"""Comparing and copying named tensors."""

import re
from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import Tensor, nn

from deepchest_cli.errors import DeepChestError

SHOWN = 3
# names in files that torchvision's older releases wrote, and still fetches
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 do not have it


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that today's networks use, without DataParallel's prefix."""
    renamed = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed


def refuse_other_keys(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: object, name: str
) -> None:
    """Raise `DeepChestError`, naming keys and shapes, for tensors of another network."""
    missing = [key for key in wanted if key not in found and not key.endswith(COUNTER)]
    unknown = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {tuple(found[key].shape)} and not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    groups = (("missing", missing), ("unknown", unknown), ("other shape", shapes))
    details = [f"{what}: {_first(entries)}" for what, entries in groups if entries]
    if details:
        raise DeepChestError(
            f"The weights in {where} are not those of {name} ({'; '.join(details)}).",
            "Name the backbone that they were saved from, with one input channel or three.",
        )


@torch.no_grad()
def copy_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy tensors into a network that has their names and shapes.

    Not `load_state_dict`: MNASNet's refuses tensors that come without their module's version.
    """
    for key, tensor in network.state_dict().items():
        if key in state:
            tensor.copy_(state[key])


def _first(entries: list[str]) -> str:
    return ", ".join(entries[:SHOWN]) + (" ..." if len(entries) > SHOWN else "")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict's names and values, wherever its tensors are."""
    digest = sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        # as bytes, which every type of number has
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
