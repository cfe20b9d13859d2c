"""What a Hugging Face repository or a local folder says of its model; fetched by their library.

A folder is read as it is, without a network connection. Of a repository the files in the library's
cache come first, so that a machine without a connection can use what another time has fetched.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from deepchest_cli.config.synonyms import nearest
from deepchest_cli.data.augmentation import Normalization
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.model.pretrained import SECONDS, unreachable

PREFIX = "hf/"
CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
SAFE = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")  # read with weights_only=True
# where a misspelt name is looked up
WELL_KNOWN = (
    "microsoft/rad-dino",
    "microsoft/rad-dino-maira-2",
    "facebook/dinov2-base",
    "facebook/dinov2-with-registers-base",
    "facebook/dinov3-vits16-pretrain-lvd1689m",
    "facebook/dinov3-convnext-tiny-pretrain-lvd1689m",
    "facebook/convnextv2-tiny-22k-224",
    "google/siglip-base-patch16-224",
    "google/vit-base-patch16-224-in21k",
    "microsoft/beit-base-patch16-224-pt22k",
    "microsoft/swin-tiny-patch4-window7-224",
    "openai/clip-vit-base-patch32",
)
# a masked autoencoder's encoder is a ViT; its own class hides most patches at random
SAME_NETWORK = {"vit_mae": "vit"}
NOT_OF_A_TRUNK = ("auto_map", "id2label", "label2id")  # code of others, and names of classes


@dataclass(frozen=True)
class Place:
    """Where a model is: a folder of this machine, or a repository."""

    name: str  # of the backbone
    folder: Path | None
    repository: str = ""

    def __str__(self) -> str:
        return self.repository or str(self.folder)

    @property
    def url(self) -> str:
        """The page of the repository, or the folder."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repository}" if self.repository else str(self.folder)


def place_of(name: str) -> Place:
    """Return where hf/REPOSITORY or hf/FOLDER is; a folder that is there is preferred.

    Folders are written as paths are: absolute, or from the working directory on. Raises
    `UsageError` for a name that is neither, and where transformers is missing.
    """
    refuse_without_transformers()
    rest = name.removeprefix(PREFIX)
    path = Path(rest).expanduser()
    is_path = path.is_absolute() or rest.startswith((".", "~")) or "\\" in rest
    if is_path or rest.count("/") > 1 or (rest and path.is_dir()):
        return Place(f"{PREFIX}{path.resolve()}", path.resolve())
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", rest):
        raise UsageError(
            f"{name!r} names no model of Hugging Face.",
            f"Write {PREFIX}OWNER/NAME, for instance {PREFIX}{WELL_KNOWN[0]}, or {PREFIX}FOLDER "
            f"with a {CONFIG} in the folder.",
        )
    return Place(name, None, rest)


def refuse_without_transformers() -> None:
    """Raise `UsageError` without the packages of the extra `hf`."""
    try:
        import huggingface_hub  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"Backbones that begin with {PREFIX} need {error.name}.", install_hint("hf")
        ) from error


def read_configuration(place: Place) -> dict[str, Any]:
    """Return the configuration of a model of images, or of the image tower of one with text.

    Plain values only. Raises `UsageError` for a folder without one, an unknown or text model, and
    one whose repository would have to run code; see `fetch` for those that cannot be fetched.
    """
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    file = fetch(place, CONFIG)
    if file is None:
        raise UsageError(f"{place} holds no {CONFIG}.", _folder_hint())
    values = _read_json(file)
    kind = SAME_NETWORK.get(values.get("model_type", ""), values.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise _unknown_type(place, values)
    values["model_type"] = kind
    try:
        whole: Any = CONFIG_MAPPING[kind].from_dict(_without_code(values))
        tower = getattr(whole, "vision_config", None) or whole
        plain = tower.to_json_string(use_diff=False)
    except Exception as error:  # configurations check themselves by errors of their own
        raise UsageError(
            f"{file} is no configuration of {kind} that transformers reads: "
            f"{str(error).partition(chr(10))[0]}",
            "Compare it with the file in the model's repository.",
        ) from error
    if type(tower) not in MODEL_MAPPING:
        raise UsageError(
            f"transformers builds no model by itself of {place} ({tower.model_type}).",
            f"Name a vision model, for instance {PREFIX}{WELL_KNOWN[0]}.",
        )
    return _without_code(json.loads(plain))


def read_normalization(place: Place) -> Normalization:
    """Return mean and std of gray values as the image processor has them, else our own.

    Those of three colors are averaged: a radiograph has one.
    """
    for name in (PREPROCESSOR, PROCESSOR):
        file = fetch(place, name)
        values = {} if file is None else _read_json(file)
        values = values.get("image_processor", values)
        if "image_mean" in values and "image_std" in values:
            if values.get("do_normalize") is False:
                return Normalization(0.0, 1.0)
            return Normalization(_gray(values["image_mean"]), _gray(values["image_std"]))
    return Normalization()


def cached(place: Place, names: tuple[str, ...]) -> Path | None:
    """Return the first of some files that is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        if place.folder is not None:
            found: Any = str(place.folder / name) if (place.folder / name).is_file() else None
        else:
            found = try_to_load_from_cache(place.repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(place: Place, name: str) -> Path | None:
    """Return a file of a folder or a repository, which may be fetched; None: it has none.

    Raises `UsageError` for a folder or a repository that is not there or that asks for a consent,
    and `DeepChestError` where a file is not cached and cannot be fetched.
    """
    found = cached(place, (name,))
    if found is not None or place.folder is not None:
        if place.folder is not None and not place.folder.is_dir():
            raise UsageError(f"There is no folder {place.folder}.", _folder_hint())
        return found
    from huggingface_hub import constants, errors, hf_hub_download

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(place.url)
    if reason and "HTTP Error" not in reason:  # an answer: the library says more about it
        raise _not_cached(place, name, reason)
    try:
        return Path(hf_hub_download(place.repository, name, etag_timeout=SECONDS))
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{place.url} asks for a consent before its files may be fetched.",
            "Agree on that page, then log in on this machine: hf auth login",
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise _no_repository(place) from error
    except errors.RemoteEntryNotFoundError:
        return None
    except (OSError, errors.EntryNotFoundError) as error:
        raise _not_cached(place, name, str(error).partition("\n")[0]) from error


def _no_repository(place: Place) -> UsageError:
    meant = nearest(place.repository, WELL_KNOWN)
    return UsageError(
        f"There is no repository {place.url}, or it is private."
        + (f" Did you mean {PREFIX}{meant}?" if meant else ""),
        f"Known, among others: {', '.join(WELL_KNOWN)}. Private ones need: hf auth login",
    )


def _not_cached(place: Place, name: str, reason: str) -> DeepChestError:
    from huggingface_hub import constants

    return DeepChestError(
        f"{name} of {place} is not in the cache ({constants.HF_HUB_CACHE}) and cannot be fetched "
        f"({reason.rstrip('.')}).",
        f"Where there is a connection: hf download {place} --local-dir FOLDER. Copy the folder "
        f"here and use --backbone {PREFIX}FOLDER",
    )


def _unknown_type(place: Place, values: Mapping[str, Any]) -> UsageError:
    import transformers

    kind = values.get("model_type")
    if "auto_map" in values:
        return UsageError(
            f"{place} needs code from its own repository, which is never run.",
            "Write a function that builds the network, and name it: --backbone FILE.py:FUNCTION",
        )
    if kind is None:
        timm = "pretrained_cfg" in values or "num_features" in values
        return UsageError(
            f"{place} is no model of transformers: its {CONFIG} has no model_type.",
            f"It is one of timm's: --backbone timm/hf-hub:{place}" if timm else _folder_hint(),
        )
    return UsageError(
        f"transformers {transformers.__version__} has no model of the type {kind!r} of {place}.",
        "A newer one may: pip install --upgrade transformers",
    )


def _without_code(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in NOT_OF_A_TRUNK}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is no JSON file: {error}", "Fetch it anew.") from error
    if not isinstance(found, dict):
        raise UsageError(f"{file} holds no JSON object.", "Fetch it anew.")
    return found


def _gray(value: float | list[float]) -> float:
    return float(value) if isinstance(value, int | float) else fmean(value)


def _folder_hint() -> str:
    return (
        f"A folder as `hf download REPOSITORY --local-dir FOLDER` or save_pretrained(FOLDER) "
        f"writes it has a {CONFIG} and, for its weights, a {SAFE[0]}."
    )
