"""How a scored data set relates to that of a model: patients, splits, and what else differs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config.flags import NONE
from deepchest_cli.data.dataset import Member, RadiographDataset
from deepchest_cli.data.merging_checks import ASPECTS
from deepchest_cli.data.source_relations import Source, is_synthetic, same_patients
from deepchest_cli.data.sources.base import FRONTAL
from deepchest_cli.data.sources.nih_metadata import SPLIT_LISTS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.base import PRETRAINED_ON
from deepchest_cli.model.checkpoint import LoadedModel

# settings that decide which patient is in which split
SPLIT_SETTINGS = ("split_scheme", "validation_fraction", "test_fraction", "seed")
UNPUBLISHED = "unpublished"  # instead of such settings, of a model of others
KINDS = {True: "synthetic", False: "real"}

DataSet = dict[str, Any]  # one of `LoadedModel.data_sets`


def split_changes(
    origin: DataSet, dataset: RadiographDataset, split: str, published: bool = False
) -> list[str]:
    """Return the settings in which the split of a data set differs from a model's; empty: none.

    origin: what the model was trained on; published: others did so. No difference are the same
    split of the same source, NIH's official test split, and patients of another source.
    """
    trained, found = origin["source"], dataset.manifest["source"]
    if not same_patients(trained, found):
        return []
    settings = dataset.manifest["settings"]
    if published:
        return [UNPUBLISHED]
    official = origin["settings"]["split_scheme"] == settings["split_scheme"] == "official"
    test_list = SPLIT_LISTS["test"]
    same_test = trained["sha256"].get(test_list) == found["sha256"].get(test_list)
    if official and split == "test" and same_test:
        return []
    changed = [key for key in SPLIT_SETTINGS if origin["settings"][key] != settings[key]]
    return [*changed, "source"] if trained["sha256"] != found["sha256"] else changed


def is_training_data_set(origin: DataSet, dataset: RadiographDataset | Member) -> bool:
    """Whether a data set is one that a model was trained on, split alike (folds differ)."""
    settings = dataset.manifest["settings"]
    alike = all(origin["settings"].get(key) == settings.get(key) for key in SPLIT_SETTINGS)
    return alike and origin["sha256"] == dataset.sha256


def trained_on(model: LoadedModel, dataset: RadiographDataset) -> DataSet | None:
    """Return which of a model's data sets this one is; None: another."""
    return next((one for one in model.data_sets if is_training_data_set(one, dataset)), None)


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
    """Return how all data of a model differ from `rows` of a data set, a sentence each.

    synthetic: whether the latter are; None where that is not known.
    """
    found, settings = dataset.manifest["source"], dataset.manifest["settings"]
    own = trained_on(model, dataset)
    trained = model.data_sets if own is None else [own]
    sources, views = [one["source"] for one in trained], dataset.columns["view"][rows]
    several = [
        [_label_difference(one, found) for one in sources if same_patients(one, found)],
        [_synthetic_difference(is_synthetic(one), synthetic) for one in sources],
        [aspect_difference(one["settings"], settings) for one in trained],
        [_view_difference(one["settings"], views) for one in trained],
        [_pretraining(model, found)],
    ]
    # what one of the data sets has like these is no difference
    return [texts[0] for texts in several if texts and all(texts)]


def _label_difference(trained: dict[str, Any], found: dict[str, Any]) -> str:
    kinds, versions = ([one[k] for one in (trained, found)] for k in ("kind", "label_version"))
    if versions[0] is None:
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
