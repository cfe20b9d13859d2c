"""Whether a model may be scored on a part of a data set: trained patients must not be in it."""

from typing import Any

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.sources.nih_layout import SPLIT_LISTS
from deepchest_cli.errors import UsageError

# settings that decide which patient stands in which part
FAMILY = {"chestmnist": "nih"}  # made from NIH's radiographs: the same patients
SPLIT_SETTINGS = ("split_scheme", "validation_fraction", "test_fraction", "seed")


def refuse_unfit_data(origin: dict[str, Any], dataset: RadiographDataset, part: str) -> None:
    """Raise `UsageError` where patients of `part` may have been trained on.

    `origin` is that of the checkpoint: the source and the settings of its data. Fit are the same
    split of the same source, NIH's official test part, and another kind of source.
    """
    trained, found = origin["source"], dataset.manifest["source"]
    if _family(trained) != _family(found):
        return
    settings = dataset.manifest["settings"]
    official = origin["settings"]["split_scheme"] == settings["split_scheme"] == "official"
    test_list = SPLIT_LISTS["test"]
    same_test = trained["sha256"].get(test_list) == found["sha256"].get(test_list)
    if official and part == "test" and same_test:
        return
    changed = [key for key in SPLIT_SETTINGS if origin["settings"][key] != settings[key]]
    if trained["sha256"] != found["sha256"]:
        changed.append("source")
    if changed:
        raise UsageError(
            f"{dataset.folder} is split otherwise than the data that the model was trained on "
            f"({', '.join(changed)}): its {part} part may hold trained patients.",
            "Evaluate on data of the split that the model was trained on.",
        )


def _family(source: dict[str, Any]) -> tuple[str, bool]:
    """Return whose patients a source has, and whether they are synthetic."""
    return FAMILY.get(source["kind"], source["kind"]), source["synthetic"]
