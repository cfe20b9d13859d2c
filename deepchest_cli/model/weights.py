"""A trunk's initial weights: as drawn, ImageNet's, or from a state dict or a checkpoint."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from deepchest_cli.config.synonyms import synonym
from deepchest_cli.data.augmentation import Normalization
from deepchest_cli.data.image_checks import LFS_POINTER
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.checkpoint_format import is_checkpoint, refuse_unusable

ALONE = "Save the tensors alone: torch.save(model.state_dict(), PATH)."
NONE, IMAGENET = "none", "imagenet"
WITHOUT_IMAGENET = ("small_cnn",)
AUXILIARY_KEYS = ("AuxLogits.", "aux1.", "aux2.")
POSITIONS = "encoder.pos_embedding"
# their ImageNet weights take (gray - 0.5) / 0.5; the other inputs have about the std of ours
STEM_SCALE = dict.fromkeys(("googlenet", "inception_v3"), Normalization.std / 0.5)
SHOWN = 3  # names in an error
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


def refuse_absent_weights(name: str, weights: str) -> None:
    """Raise `UsageError` for ImageNet weights of a backbone that has none."""
    if weights == IMAGENET and name in WITHOUT_IMAGENET:
        raise UsageError(
            f"{name} has no ImageNet weights.",
            "Use --weights none, or another --backbone, for instance resnet18.",
        )


def load_weights(trunk: nn.Module, name: str, weights: str, classifier: str | None) -> None:
    """Fill a one-channel trunk with `weights`: none (left as drawn), imagenet, or a path.

    `classifier` is the name of the layer that the trunk has lost, whose tensors are not wanted.
    The path is that of a checkpoint, a state dict, or a file of another training program with one
    in it, under whatever prefix; where it has averaged weights beside others, those are taken.
    Raises `UsageError` for a missing file or the checkpoint of another backbone and
    `DeepChestError` for tensors that do not fit.
    """
    if weights == NONE:
        return
    content, where = _fetch(name) if weights == IMAGENET else (_read(Path(weights), name), weights)
    lost = AUXILIARY_KEYS if classifier is None else (*AUXILIARY_KEYS, f"{classifier}.")
    state = find_state(content, trunk.state_dict())
    if not state:
        raise DeepChestError(f"{where} holds no tensors by name.", ALONE)
    state = {k: v for k, v in state.items() if not k.startswith(lost)}
    scale = STEM_SCALE.get(name, 1.0) if weights == IMAGENET else 1.0
    state = _fit_positions(trunk, _fit_stem(trunk, state, scale))
    refuse_other_keys(trunk.state_dict(), state, where, name)
    copy_state(trunk, state)


def _fetch(name: str) -> tuple[Mapping[str, Tensor], str]:
    best = torchvision.models.get_model_weights(name).DEFAULT
    try:
        return best.get_state_dict(progress=False, check_hash=True), best.url
    except (OSError, RuntimeError) as error:  # the latter for a file with another hash
        raise DeepChestError(
            f"The ImageNet weights of {name} could not be fetched: {error}.",
            f"Fetch {best.url} elsewhere and name the file: --weights PATH",
        ) from error


def _read(path: Path, name: str) -> Any:
    """Return the content of a weights file, of a checkpoint its trunk; its code is never run."""
    content = _load(path)
    if not is_checkpoint(content):
        return content
    refuse_unusable(content, path)
    other = content["architecture"].get("backbone")
    if other != name:
        raise UsageError(
            f"The checkpoint {path} is of the backbone {other}, not of {name}.",
            f"Use --backbone {other}, or other --weights.",
        )
    tensors = content["tensors"].items()
    return {k.removeprefix("trunk."): v for k, v in tensors if k.startswith("trunk.")}


def _load(path: Path) -> Any:
    if not path.is_file():
        meant = synonym(str(path), (NONE, IMAGENET))
        raise UsageError(
            f"There is no weights file {path}.{f' Did you mean {meant!r}?' if meant else ''}",
            "--weights takes none, imagenet, or the path of a file (of a run: its best.pt).",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        raise _unreadable(path, str(error) or type(error).__name__) from error


def _unreadable(path: Path, error: str) -> DeepChestError:
    """Return what is wrong with a file, from its first bytes and from torch's long words for it."""
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    code = re.search(r"Unsupported (?:global|class)\S* (?:GLOBAL )?(\S+)", error)
    if head.startswith(LFS_POINTER):
        return UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return UsageError(
            f"{path} is a safetensors file, which this torch ({torch.__version__}) cannot read "
            "as it is installed.",
            "pip install safetensors, with torch 2.14 or newer. Or save it as a state dict: "
            "torch.save(safetensors.torch.load_file(FILE), PATH)",
        )
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


def _fit_stem(trunk: nn.Module, state: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Sum filters of three colors; whatever else does not fit is left to be refused."""
    key, gray = next((n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d))
    key = f"{key}.weight"
    outputs, _, *kernel = gray.weight.shape
    if key in state and state[key].shape == (outputs, 3, *kernel):
        state[key] = scale * state[key].float().sum(dim=1, keepdim=True)
    return state


def _fit_positions(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Resample a ViT's position embeddings from the image size that they were trained at."""
    if not isinstance(trunk, VisionTransformer) or POSITIONS not in state:
        return state
    try:
        return dict(interpolate_embeddings(trunk.image_size, trunk.patch_size, OrderedDict(state)))
    except ValueError:  # no square of patches: the comparison that follows names the shapes
        return state


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
