"""Models of others as checkpoints: torchxrayvision's classifiers as they are, with no training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import sha256_of
from deepchest_cli.model.backbones.stem import make_one_channel
from deepchest_cli.model.backbones.xrv_models import (
    MEAN,
    OPERATING_POINTS,
    STD,
    XrvModel,
    fetch,
    model_of_file,
    xrv_model,
)
from deepchest_cli.model.checkpoint_format import FORMAT, FORMAT_VERSION
from deepchest_cli.model.classifier import Architecture
from deepchest_cli.model.heads import OPERATING_POINTS as NORMALIZED
from deepchest_cli.model.pretrained import unreachable
from deepchest_cli.model.site import ALL, Site
from deepchest_cli.model.weights import COUNTER, find_state, read_tensors, refuse_other_keys

AUTHORS = "torchxrayvision's authors"
# by scripts/model_calibrate.py of torchxrayvision
RULE = "youden"
OTHER_RULES = ("sensitivity_90", "sensitivity_90_confidence_95", "specificity_90", "best_f1")


def read_published(model: Path) -> tuple[dict[str, Any], str]:
    """Return a published model as the content of a checkpoint, and the SHA-256 of its weights.

    model: xrv/NAME, whose file of weights lies where the package keeps it or is fetched, or
    xrv/NAME=FILE. Outputs without a name or an operating point are left out: the package itself
    answers them with 0.5. Raises `UsageError` for an unknown name or a missing extra, and
    `DeepChestError` where the weights cannot be had or are of another network.
    """
    name, _, given = model.as_posix().partition("=")
    found = xrv_model(name)
    file = Path(given).expanduser() if given else _fetched(found)
    if not file.is_file():
        raise UsageError(f"There is no file {file}.", f"Name its weights: {found.name}=FILE")
    if file.name != found.file.name and (other := model_of_file(file.name)):
        raise UsageError(
            f"{file} is the file of {other}, whose outputs are others than those of {found.name}.",
            f"Name the model by its own name: {other}={file}",
        )
    points = found.operating_points
    kept = [
        place
        for place, output in enumerate(found.outputs)
        if output and (points is None or np.isfinite(points[place]))
    ]
    findings = tuple(found.outputs[place] for place in kept)
    tensors = _tensors(found, file, kept)
    if points is not None:
        tensors[f"head.{OPERATING_POINTS}"] = torch.tensor(points)[kept]
    sha256 = sha256_of(file)
    architecture = Architecture(
        backbone=found.name,
        head="linear" if points is None else NORMALIZED,
        findings=findings,
        image_size=found.image_size,
        stored_size=found.image_size,
        mean=MEAN,
        std=STD,
    )
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": architecture.to_plain(),
        "origin": _origin(found, file),
        "tensors": tensors,
        "validation_fit": None if points is None else _operating_points(findings, sha256),
    }
    return content, sha256


def _fetched(model: XrvModel) -> Path:
    """Return where the package keeps the weights; raises `DeepChestError` without a network."""
    reason = "" if model.file.is_file() else unreachable(model.url)
    if not reason:
        try:
            return fetch(model)
        except OSError as error:
            reason = str(error).partition("\n")[0]
    raise DeepChestError(
        f"The weights of {model.name} are not on this machine and cannot be fetched ({reason}).",
        f"Fetch {model.url} elsewhere and put it at {model.file}, or name the file: "
        f"{model.name}=FILE",
    )


def _tensors(model: XrvModel, file: Path, kept: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of trunk and head by their names in a classifier."""
    with torch.device("meta"):  # names and shapes
        network = torchvision.models.get_model(model.network, num_classes=len(model.outputs))
        make_one_channel(network)
    wanted = network.state_dict()
    state: Mapping[str, Tensor] = find_state(read_tensors(file), wanted)
    state = {key: value for key, value in state.items() if key != OPERATING_POINTS}
    if not state:
        raise DeepChestError(f"{file} holds no tensors by name.", "Name the weights of a model.")
    refuse_other_keys(wanted, state, file, model.name)
    classifier = f"{list(network.named_children())[-1][0]}."
    tensors = {}
    for key in wanted:
        if key.endswith(COUNTER):  # not in files of old, and without effect on predictions
            tensors[f"trunk.{key}"] = torch.zeros((), dtype=torch.int64)
        elif key.startswith(classifier):
            tensors[f"head.{key.removeprefix(classifier)}"] = state[key][kept].float()
        else:
            tensors[f"trunk.{key}"] = state[key].float()
    return tensors


def _origin(model: XrvModel, file: Path) -> dict[str, Any]:
    """Return what is known of a model's training, and None for what was not published."""
    kinds = list(model.trained_on)
    return {
        "published": (
            f"{model.name} of torchxrayvision, trained by its authors on {', '.join(kinds)}, which "
            "they split at random; splits, labels and settings of its training are not known. "
            f"Weights: {file.name}"
        ),
        "weighter": None,
        "epoch": None,
        "data_sets": [
            {
                "name": None,
                "data": None,
                "sha256": None,
                "source": {
                    "kind": "+".join(kinds),
                    "kinds": kinds,
                    "label_version": None,
                    "synthetic": False,
                    "sha256": {},
                },
                "settings": {"split_scheme": None},
            }
        ],
    }


def _operating_points(findings: Sequence[str], sha256: str) -> dict[str, Any]:
    """Return the validation fit of a model whose probabilities are 0.5 at its operating points."""
    said = "its authors chose operating points by Youden's index alone"
    entry = {
        "positives": 0,
        "prevalence": np.nan,
        "operating_points": {RULE: 0.5, **dict.fromkeys(OTHER_RULES, np.nan)},
        "no_operating_point": dict.fromkeys(OTHER_RULES, said),
        "calibration": None,
        "uncalibrated": "its authors publish no calibration",
    }
    site = Site(AUTHORS, 0, 0, "not published", sha256, ALL, tuple(findings))
    return {
        "source": sha256,
        "images": 0,
        "patients": 0,
        "calibration_method": "platt",
        "site": site.to_plain(),
        "findings": {name: dict(entry) for name in findings},
    }
