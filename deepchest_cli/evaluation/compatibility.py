"""How a scored data set relates to that of a model: patients, splits, and what else differs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config.flags import NONE
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.sources.base import FRONTAL
from deepchest_cli.data.sources.nih_metadata import SPLIT_LISTS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.base import PRETRAINED_ON
from deepchest_cli.model.checkpoint import LoadedModel

# made from NIH's radiographs: the same patients, whatever the files are called
FAMILY = dict.fromkeys(("nih-parquet", "chestmnist", "rsna", "siim"), "nih")
# settings that decide which patient is in which split
SPLIT_SETTINGS = ("split_scheme", "validation_fraction", "test_fraction", "seed")
UNPUBLISHED = "unpublished"  # instead of such settings, of a model of others
KINDS = {True: "synthetic", False: "real"}
ASPECTS = {"pad": "padded to a square", "squash": "squashed to a square"}

Source = dict[str, Any]  # of a manifest


def same_patients(one: Source, other: Source) -> bool:
    """Whether two sources are about the same patients.

    Users' own tables and synthetic radiographs are only where they share a file.
    """
    if not _families(one) & _families(other) or one["synthetic"] != other["synthetic"]:
        return False
    if one["kind"] != "csv" and not one["synthetic"]:
        return True
    return bool(set(one["sha256"].values()) & set(other["sha256"].values()))


def _families(source: Source) -> set[str]:
    """Return where the patients of a source come from; a published model may have several."""
    kinds = source.get("kinds", [source["kind"]])
    return {FAMILY.get(kind, kind) for kind in kinds}


def same_patient_numbers(one: Source, other: Source) -> bool:
    """Whether two sources also number their patients alike."""
    named = one.get("patients") and other.get("patients")
    alike = one["kind"] == other["kind"] or {one["kind"], other["kind"]} == {"nih", "nih-parquet"}
    return bool(named) and alike and same_patients(one, other)


def names_are_comparable(one: Source, other: Source) -> bool:
    """Whether an image of one source may be in the other, so that equal names mean something.

    A user's own table may hold anybody's images; synthetic ones are named as NIH's are.
    """
    synthetic = {is_synthetic(one), is_synthetic(other)}
    return same_patients(one, other) or (
        "csv" in (one["kind"], other["kind"]) and not {True, False} <= synthetic
    )


def is_synthetic(source: Source) -> bool | None:
    """Whether a source's radiographs are synthetic; None: a user's own table does not say."""
    synthetic: bool = source["synthetic"]
    return None if source["kind"] == "csv" and not synthetic else synthetic


def split_changes(origin: dict[str, Any], dataset: RadiographDataset, split: str) -> list[str]:
    """Return the settings in which the split of a data set differs from a model's; empty: none.

    `origin` is that of the checkpoint: the source and the settings of its data. No difference are
    the same split of the same source, NIH's official test split, and patients of another source.
    """
    trained, found = origin["source"], dataset.manifest["source"]
    if not same_patients(trained, found):
        return []
    settings = dataset.manifest["settings"]
    if origin.get("published"):
        return [UNPUBLISHED]
    official = origin["settings"]["split_scheme"] == settings["split_scheme"] == "official"
    test_list = SPLIT_LISTS["test"]
    same_test = trained["sha256"].get(test_list) == found["sha256"].get(test_list)
    if official and split == "test" and same_test:
        return []
    changed = [key for key in SPLIT_SETTINGS if origin["settings"][key] != settings[key]]
    return [*changed, "source"] if trained["sha256"] != found["sha256"] else changed


def is_training_data_set(origin: dict[str, Any], dataset: RadiographDataset) -> bool:
    """Whether a data set is the one that a model was trained on, split alike (folds differ)."""
    settings = dataset.manifest["settings"]
    alike = all(origin["settings"].get(key) == settings.get(key) for key in SPLIT_SETTINGS)
    return alike and origin["data_sha256"] == dataset.sha256


def refuse_other_size(expected: int, dataset: RadiographDataset) -> None:
    """Raise `UsageError` for images that are stored at another size than those of training."""
    if dataset.size != expected:
        raise UsageError(
            f"{dataset.folder} holds images of {dataset.size} px; the model was trained on "
            f"{expected} px.",
            f"Prepare the data at that size: deepchest prepare --size {expected} --data FOLDER",
        )


def differences(
    model: LoadedModel, dataset: RadiographDataset, rows: NDArray[np.int64], synthetic: bool | None
) -> list[str]:
    """Return how the data of a model differ from `rows` of a data set, a sentence each.

    synthetic: whether the latter are; None where that is not known.
    """
    trained, found = model.origin["source"], dataset.manifest["source"]
    settings = model.origin["settings"], dataset.manifest["settings"]
    texts = [
        _label_difference(trained, found),
        _synthetic_difference(is_synthetic(trained), synthetic),
        aspect_difference(*settings),
        _view_difference(settings[0], dataset.columns["view"][rows]),
        _pretraining(model, found),
    ]
    return [text for text in texts if text]


def _label_difference(trained: dict[str, Any], found: dict[str, Any]) -> str:
    kinds, versions = ([one[k] for one in (trained, found)] for k in ("kind", "label_version"))
    if not same_patients(trained, found) or versions[0] is None:
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
    if not pairs:
        return ""
    return f"The model was trained on labels of another policy ({'; '.join(pairs)})."


def _pretraining(model: LoadedModel, found: Source) -> str:
    """Return that published weights, which a model began from, may know the scored patients."""
    kinds = model.classifier.architecture.backbone_config.get(PRETRAINED_ON, [])
    began = {"kinds": kinds, "kind": "", "synthetic": False, "sha256": {}}
    none = model.origin.get("config", {}).get("weights") == NONE
    if none or not same_patients(began, found):
        return ""
    return (
        "The pretrained weights that the model began from were trained by others on images of this "
        "very source, by a split that they did not publish: trained patients are probably among "
        "these images, and the results are optimistic."
    )


def _synthetic_difference(trained: bool | None, found: bool | None) -> str:
    if trained == found or True not in (trained, found):
        return ""
    kind = "synthetic radiographs" if trained else "real radiographs"
    if trained is None:
        return "These radiographs are synthetic; whether those of training are is not known."
    if found is None:
        return f"The model was trained on {kind}; whether these are synthetic is not known."
    return f"The model was trained on {kind}; these are {KINDS[found]}."


def aspect_difference(trained: dict[str, Any], found: dict[str, Any]) -> str:
    """Return how the shape of images differs by the settings of two data sets; empty: alike."""
    own, other = (one.get("aspect", "squash") for one in (trained, found))
    if own == other:
        return ""
    flag = "with" if own == "pad" else "without"
    return (
        f"The model was trained on images {ASPECTS[own]}; these are {ASPECTS[other]}. Those that "
        f"are not square look different to it, and are not recognized as images of its training: "
        f"prepare them {flag} --pad."
    )


def _view_difference(trained: dict[str, Any], views: NDArray[np.str_]) -> str:
    others = int((~np.isin(views, list(FRONTAL))).sum())
    if not others or trained.get("views", "frontal") == "all":
        return ""
    counted = count_of(others, "image is", "images are")
    return f"{counted} not frontal; the model was trained on frontal views."
