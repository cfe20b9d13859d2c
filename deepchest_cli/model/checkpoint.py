"""One file of tensors and plain values that holds all that prediction needs."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from deepchest_cli.config.renamed import with_current_keys
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import atomic_write, new_file, sha256_of, sweep
from deepchest_cli.model.checkpoint_format import (
    BEST,
    FORMAT,
    FORMAT_VERSION,
    LAST,
    is_checkpoint,
    is_published,
    refuse_unusable,
)
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.fold_runs import refuse_folds
from deepchest_cli.model.published import read_published


@dataclass(frozen=True)
class LoadedModel:
    """A classifier ready for prediction, in evaluation mode, and where it came from."""

    classifier: Classifier
    # weighter, epoch and step, source and settings of the data, configuration, how the run ended
    origin: dict[str, Any]
    path: Path
    sha256: str  # of the file that was loaded
    validation_fit: dict[str, Any] | None = None  # thresholds and calibration, once evaluated
    reference: dict[str, Any] | None = None  # distribution of its training images' features
    # hashes of its training and validation images, of each data set
    training_images: list[dict[str, Any]] | None = None

    @property
    def data_sets(self) -> list[dict[str, Any]]:
        """What the model was trained on: name, folder, hash, source and settings of each."""
        found: list[dict[str, Any]] = self.origin["data_sets"]
        return found

    @property
    def identity(self) -> dict[str, Any]:
        """What a prediction says about its model."""
        architecture = self.classifier.architecture
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "backbone": architecture.backbone,
            "weighter": self.origin["weighter"],
            "epoch": self.origin["epoch"],
            "image_size": architecture.image_size,
            "findings": list(architecture.findings),
            "split_scheme": self._joined("settings", "split_scheme"),
            "label_version": self._joined("source", "label_version"),
            "synthetic": any(one["source"]["synthetic"] for one in self.data_sets),
        }

    def _joined(self, section: str, key: str) -> str | None:
        """Return what is said of the data sets, each different value once; None: nothing."""
        values = [one[section][key] for one in self.data_sets if one[section][key] is not None]
        return ", ".join(dict.fromkeys(values)) or None


def save_checkpoint(
    path: Path,
    classifier: Classifier,
    origin: dict[str, Any],
    training: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all; `training` is what a run needs to go on."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": classifier.architecture.to_plain(),
        "origin": origin,
        "tensors": classifier.state_dict(),
        "training": training,
    }
    _write(path, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    # into an open file: given a path, torch loses the error of a full disk
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(_interned(content), file)


def _interned(value: Any) -> Any:
    """Return plain values in which equal strings are one object, as pickle distinguishes them.

    Equal checkpoints are then equal files, wherever their values come from.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:  # not the subclass that torch keeps tensors in
        return {_interned(key): _interned(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_interned, value))
    return value


def store_validation_fit(model: LoadedModel, fit: dict[str, Any]) -> LoadedModel | None:
    """Write thresholds and calibration into a model's checkpoint; return the model as it is now.

    None where the file has changed since it was loaded, by a training that goes on. Raises
    `OSError` where it cannot be written.
    """
    if not _add(model, {"validation_fit": fit}):
        return None
    return replace(model, validation_fit=fit, sha256=sha256_of(model.path))


def copy_with_fit(model: LoadedModel, fit: dict[str, Any], path: Path) -> str:
    """Write a copy of a model's checkpoint with another validation fit; return its SHA-256.

    A copy is for prediction: the state that a run resumes from stays behind. Raises
    `DeepChestError` where the checkpoint has changed since it was loaded, and `OSError` where the
    copy cannot be written; then nothing is left of it.
    """
    content, file_hash = _read(model.path)
    if file_hash != model.sha256:
        raise DeepChestError(
            f"{model.path} was written anew meanwhile.", "Run the command again when it is final."
        )
    fitted = {"format_version": FORMAT_VERSION, "training": None, "validation_fit": fit}
    with new_file(path):
        _write(path, {**content, **fitted})
    return sha256_of(path)


def store_reference(
    model: LoadedModel,
    reference: dict[str, Any],
    images: list[dict[str, Any]],
    run: dict[str, Any],
) -> bool:
    """Write the reference and hashes of a model's training images, and how its run ended.

    run: `epochs` and `steps` that were trained, whether it `stopped_early`, and of a linear probe
    the `learning_rate`; it goes into the origin. Arrays become tensors, which load safely. False
    where the file has changed since it was loaded.
    """
    sections = {
        "reference": _tensors(reference),
        "training_images": [_tensors(one) for one in images],
    }
    return _add(model, {**sections, "origin": {**model.origin, "run": run}})


def _tensors(section: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in section.items()}


def _add(model: LoadedModel, sections: dict[str, Any]) -> bool:
    """Write a checkpoint again with more sections; not where the file has changed."""
    content, file_hash = _read(model.path)
    if file_hash != model.sha256:
        return False
    sweep(model.path.parent, [model.path.name])
    _write(model.path, {**content, "format_version": FORMAT_VERSION, **sections})
    return True


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint by today's keys; code inside the file is never run.

    `format_version` stays that of the file: 1 for version 0.1. Raises `UsageError` when there is
    none and `DeepChestError` when it is damaged, unsafe or of another format version.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a checkpoint and the SHA-256 of the very bytes it came from."""
    if is_published(path):
        return read_published(path)
    if not path.is_file():
        raise UsageError(f"There is no checkpoint {path}.", "Train one: deepchest train")
    try:
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
            file.seek(0)
            file_hash = hashlib.file_digest(file, "sha256").hexdigest()
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        with path.open("rb") as file:
            pickled = file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
        unsafe = pickled and ("weights_only" in str(error) or "Unsupported" in str(error))
        reason = (
            "holds code, which is not run"
            if unsafe
            else "is no checkpoint, or is damaged or cut short"
        )
        raise DeepChestError(
            f"{path} {reason}.", "Use a checkpoint that deepchest train wrote, or train again."
        ) from error
    if not is_checkpoint(content):
        raise DeepChestError(f"{path} is no checkpoint of deepchest.", "Name a run folder.")
    refuse_unusable(content, path)
    content = with_current_keys(content) if content["format_version"] == 1 else content
    return _with_data_sets(content), file_hash


def _with_data_sets(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint in today's form, where it knew one data set only."""
    origin, images = content.get("origin", {}), content.get("training_images")
    if isinstance(images, dict):
        content = {**content, "training_images": [images]}
    if "data_sets" in origin or "source" not in origin:
        return content
    folder = origin.get("config", {}).get("data")
    one = {
        "name": None if folder is None else Path(folder).name,
        "data": folder,
        "sha256": origin.get("data_sha256"),
        **{key: origin.get(key, {}) for key in ("source", "settings")},
    }
    rest = {k: v for k, v in origin.items() if k not in ("source", "settings", "data_sha256")}
    return {**content, "origin": {**rest, "data_sets": [one]}}


def find_checkpoint(model: Path) -> Path:
    """Return the checkpoint that a run folder or a file stands for, or a published model's name."""
    if is_published(model):
        return model
    refuse_folds(model)
    if model.is_dir() and not (model / BEST).is_file():
        begun = (model / LAST).is_file()
        raise UsageError(
            f"There is no checkpoint {model / BEST}"
            + (": no epoch of the run has ended yet." if begun else "."),
            (f"Resume with: deepchest train --resume {quote(str(model))}\n" if begun else "")
            + _other_model(model),
        )
    if not model.exists():
        gone = f": it is a link to {model.readlink()}, which is gone" if model.is_symlink() else ""
        raise UsageError(f"There is no model {model}{gone}.", _other_model(model))
    return model / BEST if model.is_dir() else model


def _other_model(model: Path) -> str:
    """Say which model to take where there is none: the newest beside it, if there is any."""
    others = sorted(model.parent.glob(f"*/{BEST}"), key=lambda path: path.stat().st_mtime)
    if not others:
        return "Train one (deepchest train), or name a run folder or checkpoint with --model."
    return f"Name another run or checkpoint: --model {quote(str(others[-1].parent))}"


def load_model(model: Path, device: torch.device) -> LoadedModel:
    """Return the model of a run folder or checkpoint, or a published one, in evaluation mode."""
    path = find_checkpoint(model)
    content, file_hash = _read(path)
    try:
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn first are replaced
            classifier = Classifier(Architecture.from_plain(content["architecture"]))
        classifier.load_state_dict(content["tensors"])
    except UsageError as error:  # of a backbone whose code or package is not at hand
        raise UsageError(f"{path}: {error.message}", error.hint) from error
    except (KeyError, TypeError, RuntimeError) as error:
        raise DeepChestError(f"The checkpoint {path} is damaged: {error}.") from error
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    reference, images = content.get("reference"), content.get("training_images")
    return LoadedModel(
        classifier=classifier.eval(),
        origin=content["origin"],
        path=path,
        sha256=file_hash,
        validation_fit=content.get("validation_fit"),
        reference=reference and _arrays(reference),
        training_images=images and [_arrays(one) for one in images],
    )


def _arrays(section: dict[str, Any]) -> dict[str, Any]:
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in section.items()}
