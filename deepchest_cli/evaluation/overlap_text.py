"""What is said of scored images that a model was made with; all outputs share these sentences."""

from collections.abc import Mapping
from typing import Any

from deepchest_cli.data.text import count_of

Found = Mapping[str, Any]  # of `Overlap.to_plain`
ALLOW = "With --allow-overlap they are scored all the same, and the results say so."


def counted(found: Found) -> str:
    """Return what an overlap's counts say; empty where no image and no patient is shared."""
    texts = {
        "training": ("is a training image (by pixel hash)", "are training images (by pixel hash)"),
        "validation": (
            "is a validation image (by pixel hash)",
            "are validation images (by pixel hash)",
        ),
        "named": (
            "has the name of a training image of the same patient, in other pixels",
            "have the names of training images of the same patients, in other pixels",
        ),
        "patients": (
            "shows a patient of the training or validation data",
            "show patients of the training or validation data",
        ),
    }
    return ", ".join(count_of(found[k], *forms) for k, forms in texts.items() if found[k])


def statement(found: Found, images: int, split: str) -> str:
    """Return what has to stand beside every result; empty where images and patients are new."""
    own, said, alike = found["own_data"], counted(found), found["alike"]
    cases = [
        (
            own and split == "train",
            "These are training images of the model: the results tell what it remembers, not how "
            "it does on new radiographs.",
        ),
        (
            own and split == "validation",
            "The model's best epoch was chosen on these images: the results are optimistic.",
        ),
        (
            said,
            f"Overlap with the model's own data: of {count_of(images, 'image')}, {said}. The "
            "results are optimistic.",
        ),
        (
            found["split_changes"] and not found["numbered"],
            "The data are split otherwise than those that the model was trained on "
            f"({', '.join(found['split_changes'])}): trained patients may be among them, and the "
            "results are optimistic then.",
        ),
        (
            found["checked"] is False and not own,
            "Whether the model was trained on these images could not be checked: its checkpoint "
            "keeps no hashes of its training images, and its data are not there.",
        ),
        (
            alike,
            f"{count_of(alike, 'image has', 'images have')} the name of a training image and other "
            "pixels: they may be the same radiographs, resized otherwise.",
        ),
    ]
    return next((text for holds, text in cases if holds), "")


def comparison(found: Found) -> str:
    """Return what was compared where nothing was found; empty for the model's own data."""
    if found["checked"] is None:
        return "Whether the model was trained on these images is not known: a file does not tell."
    if found["own_data"] or not found["checked"]:
        return ""
    patients = {
        True: ", nor does one show a patient of its data",
        False: "; whether they share patients is not known: the sources number them apart",
        None: ", and they are of another source",
    }[found["numbered"]]
    return (
        "By pixel hash, none of the scored images is a training or validation image of the model"
        f"{patients}."
    )
