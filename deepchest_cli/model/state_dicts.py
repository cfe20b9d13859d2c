"""Comparing and copying named tensors."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError

SHOWN = 3
# names in files that torchvision's older releases wrote, and still fetches
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
# what torch.compile, FSDP and activation checkpointing put into names, and DataParallel within them
WRAPPERS = (
    (re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_(?:fsdp|checkpoint)_wrapped_module)\."), ""),
    (re.compile(r"\.module\."), "."),
)
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 do not have it
# where training programs keep a state dict, the averaged weights that they evaluate first
PLACES = (
    "state_dict_ema", "ema_state_dict", "model_ema", "ema", "state_dict", "model_state_dict",
    "model_state", "model", "net", "network", "weights", "params", "module", "teacher", "student",
)  # fmt: skip
DEEPEST = 3  # dictionaries in one another


def find_state(content: Any, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in a file's content that have the most of the wanted names, by those.

    Names may stand behind any prefix (`module.`, `model.`, `backbone.`, `encoder_q.`, ...); what
    the file has outside of it is left out. Empty where the content holds no named tensors.
    """
    best: dict[str, Tensor] = {}
    most = (-1, 0)
    for table in _tables(content):
        named = current_names(table)
        for prefix in _prefixes(named, wanted):
            count = sum(prefix + name in named for name in wanted)
            rank = (count, 0 if count else len(named))  # the largest is shown where none fits
            if rank > most:
                most = rank
                best = {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}
    return best


def _tables(content: Any, depth: int = 0) -> Iterator[dict[str, Tensor]]:
    """Yield the named tensors of a dictionary, then those of dictionaries in it."""
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield tensors
    others = sorted(content, key=lambda k: PLACES.index(k) if k in PLACES else len(PLACES))
    for key in others:
        yield from _tables(content[key], depth + 1)


def _prefixes(named: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield what may stand before the wanted names, as the first and the last of them show."""
    yield ""
    names = list(wanted)
    for name in (names[0], names[-1]) if names else ():
        yield from (key.removesuffix(name) for key in named if key.endswith(f".{name}"))


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that today's networks use, without those of wrappers."""
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in (*WRAPPERS, *RENAMED):
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed


def refuse_other_keys(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: object, name: str
) -> None:
    """Raise `DeepChestError` for tensors of another network: how many fit, keys and shapes."""
    needed = [key for key in wanted if not key.endswith(COUNTER)]
    missing = [key for key in needed if key not in found]
    unknown = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {tuple(found[key].shape)} and not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    groups = (("missing", missing), ("unknown", unknown), ("other shape", shapes))
    details = [f"{what}: {_first(entries)}" for what, entries in groups if entries]
    if details:
        fitting = sum(key in found and found[key].shape == wanted[key].shape for key in needed)
        raise DeepChestError(
            f"The weights in {where} are not those of {name}: {fitting} of its "
            f"{count_of(len(needed), 'tensor fits', 'tensors fit')} ({'; '.join(details)}).",
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
