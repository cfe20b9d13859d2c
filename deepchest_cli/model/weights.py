"""A trunk's initial weights: published ones, or those of a state dict or a checkpoint."""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deepchest_cli.config.flags import (
    AUTO_WEIGHTS,
    IMAGENET,
    NONE,
    PRETRAINED,
    is_own_backbone,
)
from deepchest_cli.config.synonyms import synonym
from deepchest_cli.data.image_checks import LFS_POINTER
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import sha256_of
from deepchest_cli.model.backbones.base import BackboneSource, BackboneSpec
from deepchest_cli.model.checkpoint_format import BEST, is_checkpoint, refuse_unusable
from deepchest_cli.model.fold_runs import refuse_folds
from deepchest_cli.model.pickled_module import read_module

SAFETENSORS = ".safetensors"
# what a folder of weights may hold, the best first
IN_FOLDERS = (BEST, f"model{SAFETENSORS}", "pytorch_model.bin")
ALONE = "Save the tensors alone: torch.save(model.state_dict(), PATH)."
SHOWN = 3  # names in an error
# what torch says of a file that holds more than tensors
CODE = re.compile(r"[Uu]nsupported (?:global|GLOBAL|class)\S* (?:GLOBAL )?(\S+)")
# names in files that older releases of torchvision wrote and that it still fetches
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
STATE_DICT_KEYS = (
    "state_dict_ema", "ema_state_dict", "model_ema", "ema", "state_dict", "model_state_dict",
    "model_state", "model", "net", "network", "weights", "params", "module", "teacher", "student",
)  # fmt: skip
DEEPEST = 3  # dictionaries in one another


@dataclass(frozen=True)
class InitialWeights:
    """Weights as they were read, before they are matched with a trunk."""

    name: str  # imagenet, pretrained, or the path of the file: what repeats the choice
    where: str  # URL or path, for people
    content: Any  # tensors by name, perhaps in dictionaries within one another
    sha256: str  # of the file, or of the names and values of published tensors
    checkpoint: Mapping[str, Any] | None = None  # where they are of a model of this program


def read_weights(spec: BackboneSpec, weights: str, source: BackboneSource) -> InitialWeights:
    """Return published weights, or those of a file.

    The path is that of a run, a checkpoint, a state dict (also as safetensors), or a file of
    another training program with one in it; its code is never run. Raises `UsageError` where
    there is none or a checkpoint is of another backbone, and `DeepChestError` where they cannot be
    fetched or read.
    """
    if weights in PRETRAINED:
        return _published(spec, weights, source)
    path = _file_of(Path(weights).expanduser())
    content = read_tensors(path)
    checkpoint = content if is_checkpoint(content) else None
    if checkpoint is not None:
        refuse_unusable(checkpoint, path)
        _refuse_other_backbone(checkpoint, path, spec.name)
        tensors = checkpoint["tensors"].items()
        content = {k.removeprefix("trunk."): v for k, v in tensors if k.startswith("trunk.")}
    return InitialWeights(str(path), str(path), content, sha256_of(path), checkpoint)


def _published(spec: BackboneSpec, weights: str, source: BackboneSource) -> InitialWeights:
    place = source.published(spec)
    if place is None:
        raise UsageError(
            f"{spec.name} has no published weights.",
            "Use --weights none or a file, or another --backbone, for instance resnet18.",
        )
    try:
        state = source.pretrained(spec)
    except DeepChestError:
        raise
    except Exception as error:  # libraries raise many types for a lost network and damaged files
        done, hint = (
            ("read", "Remove the damaged file, or f") if place.is_cached else ("fetched", "F")
        )
        raise DeepChestError(
            f"The pretrained weights of {spec.name} could not be {done}: "
            f"{str(error).partition(chr(10))[0]}.",
            f"{hint}etch {place.url} elsewhere and name the file: --weights PATH",
        ) from error
    return InitialWeights(weights, place.url, state, fingerprint(state))


def _refuse_other_backbone(checkpoint: Mapping[str, Any], path: Path, name: str) -> None:
    other = checkpoint["architecture"].get("backbone")
    # of one's own, which may lie elsewhere now, the tensors decide
    if other != name and not (is_own_backbone(str(other)) and is_own_backbone(name)):
        raise UsageError(
            f"The checkpoint {path} is of the backbone {other}, not of {name}.",
            f"Use --backbone {other}, or other --weights.",
        )


def load_weights(
    trunk: nn.Module, spec: BackboneSpec, weights: InitialWeights, source: BackboneSource
) -> None:
    """Fill a trunk with weights, under whatever prefix their names stand.

    Where a file has averaged weights beside others, those are taken. Raises `DeepChestError` for
    tensors that do not fit.
    """
    state = find_state(weights.content, trunk.state_dict())
    if not state:
        raise DeepChestError(f"{weights.where} holds no tensors by name.", ALONE)
    # of the classification layer, in whose place the trunk has nothing
    lost = tuple(f"{n}." for n, m in trunk.named_modules() if n and isinstance(m, nn.Identity))
    state = {k: v for k, v in state.items() if not k.startswith(lost)}
    state = source.adapt(trunk, state)
    refuse_other_keys(trunk.state_dict(), state, weights.where, spec.name)
    copy_state(trunk, state)


def _file_of(path: Path) -> Path:
    """Return the file of weights in a folder, of a run or of a downloaded model."""
    found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
    return found[0] if found else path


def read_tensors(path: Path) -> Any:
    """Return the tensors of a file, perhaps in dictionaries; of a pickled module its state dict.

    Code in the file is never run. Raises `UsageError` where there is no file, and
    `DeepChestError` for one that cannot be read.
    """
    if not path.is_file():
        meant = synonym(str(path), (NONE, IMAGENET))
        if path.is_dir():
            refuse_folds(path, "--weights")
            raise UsageError(
                f"The folder {path} holds no weights.",
                f"It should have one of: {', '.join(IN_FOLDERS)}.",
            )
        raise UsageError(
            f"There is no weights file {path}.{f' Did you mean {meant!r}?' if meant else ''}",
            f"--weights takes {AUTO_WEIGHTS}, none, imagenet, or the path of a run or a file.",
        )
    try:
        if _is_safetensors(path):
            return load_file(path)
        with warnings.catch_warnings():  # torch wants pickles of other protocols reported
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        reason = str(error) or type(error).__name__
        try:
            if CODE.search(reason):
                return read_module(path)
        except UnpicklingError as inner:
            reason = str(inner) if CODE.search(str(inner)) else reason
        raise _unreadable(path, reason) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        return path.suffix == SAFETENSORS or file.read(9)[8:] == b"{"


def _unreadable(path: Path, error: str) -> DeepChestError:
    """Return what is wrong with a file, from its first bytes and from torch's long words for it."""
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    code = CODE.search(error)
    if head.startswith(LFS_POINTER):
        return UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    if code:
        return DeepChestError(
            f"{path} holds more than tensors ({code[1]}), and loading that could run code: it is "
            "not loaded.",
            f"{ALONE} Where you trust the file, torch.load(FILE, weights_only=False) gives you "
            "what is in it.",
        )
    if "TorchScript" in error:
        return DeepChestError(f"{path} is a TorchScript archive, not a file of weights.", ALONE)
    reason = "" if "Weights only" in error else f": {error.splitlines()[0].rstrip('.')}"
    return DeepChestError(f"{path} is no file of weights, or is damaged{reason}.", ALONE)


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
    others = sorted(
        content,
        key=lambda k: STATE_DICT_KEYS.index(k) if k in STATE_DICT_KEYS else len(STATE_DICT_KEYS),
    )
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
