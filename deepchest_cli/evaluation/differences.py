"""In what a model's data and the scored ones differ, where the results depend on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.sources.base import FRONTAL
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.compatibility import is_synthetic, same_patients
from deepchest_cli.model.checkpoint import LoadedModel

KINDS = {True: "synthetic", False: "real"}
ASPECTS = {"pad": "padded to a square", "squash": "squashed to a square"}


def differences(
    model: LoadedModel,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    synthetic: bool | None,
) -> list[str]:
    """Return what sets the data of a model apart from `rows` of a data set, a sentence each.

    synthetic: whether those are, where that is known.
    """
    trained, found = model.origin["source"], dataset.manifest["source"]
    settings = model.origin["settings"], dataset.manifest["settings"]
    said = [
        _sources(trained, found),
        _synthetic(is_synthetic(trained), synthetic),
        _aspects(*settings),
        _views(settings[0], dataset.columns["view"][rows]),
    ]
    return [text for text in said if text]


def _sources(trained: dict[str, Any], found: dict[str, Any]) -> str:
    kinds, versions = ([one[k] for one in (trained, found)] for k in ("kind", "label_version"))
    if not same_patients(trained, found):
        return ""
    if versions[0] != versions[1]:
        return (
            f"The model was trained on another version of the labels: {versions[0]} "
            f"(source {kinds[0]}); these are {versions[1]} (source {kinds[1]})."
        )
    policies = [one.get("label_policies", {}) for one in (trained, found)]
    changed = sorted(
        k for k in policies[0].keys() & policies[1] if policies[0][k] != policies[1][k]
    )
    pairs = [f"{name}: {policies[0][name]}, here {policies[1][name]}" for name in changed]
    return f"The model was trained on labels that were read otherwise ({'; '.join(pairs)})." * bool(
        pairs
    )


def _synthetic(trained: bool | None, found: bool | None) -> str:
    if trained == found or True not in (trained, found):
        return ""
    ours = "synthetic radiographs" if trained else "real radiographs"
    if trained is None:
        return "These radiographs are synthetic; whether those of training are is not known."
    if found is None:
        return f"The model was trained on {ours}; whether these are synthetic is not known."
    return f"The model was trained on {ours}; these are {KINDS[found]}."


def _aspects(trained: dict[str, Any], found: dict[str, Any]) -> str:
    ours, theirs = (one.get("aspect", "squash") for one in (trained, found))
    if ours == theirs:
        return ""
    flag = "with" if ours == "pad" else "without"
    return (
        f"The model was trained on images {ASPECTS[ours]}; these are {ASPECTS[theirs]}. Those that "
        f"are not square look different to it, and are not recognized as images of its training: "
        f"prepare them {flag} --pad."
    )


def _views(trained: dict[str, Any], views: NDArray[np.str_]) -> str:
    others = int((~np.isin(views, list(FRONTAL))).sum())
    if not others or trained.get("views", "frontal") == "all":
        return ""
    said = count_of(others, "image is", "images are")
    return f"{said} not frontal; the model was trained on frontal views."
