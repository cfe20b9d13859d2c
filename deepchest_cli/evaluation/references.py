"""Published results, each on its own test images and with its source; other splits are refused.

Only results that were read at their source are here, or in a table that quotes it and is named.
Several sets of images are called a test split of NIH ChestX-ray14; a mean AUROC on one says nothing
about another.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages

OFFICIAL, CHEXNET, CHESTMNIST, OWN = "official", "chexnet", "chestmnist", "own"
SPLITS = {
    OFFICIAL: "NIH's official test list (25,596 images)",
    CHEXNET: "the random split by patient of CheXNet's reproductions (22,433 test images)",
    CHESTMNIST: "the test split of ChestMNIST (22,433 images)",
    OWN: "a random split by patient of its own, whose list of images was not published",
}
WHY = (
    "NIH's official test split has 9.2 images a patient where the rest has 3.1, and 57 % of them "
    "are AP where the rest has 35 %; the predictions of one public model score a mean AUROC of "
    "0.818 on images of that list and 0.836 on others of its own test split."
)
# of the sorted names, without ending, joined by line breaks
OFFICIAL_TEST = (25_596, "7519b7296cb0f58e5d2f4818372950411b04f1f243580c4132d001746535d931")
# CheXNet's test split with the labels of 2017: images, and positives in NIH's order
CHEXNET_TEST = (
    22_433, (2420, 582, 2754, 3938, 1133, 1335, 242, 1089, 957, 413, 509, 362, 734, 42),
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """The results of a publication."""

    title: str
    split: str
    source: str
    macro_auroc: float
    aurocs: tuple[float, ...] = ()  # in NIH's order
    low: float | None = None
    high: float | None = None
    macro_average_precision: float | None = None


_TABLE = "table in the README of arnoweng/CheXNet on GitHub"
_MEDMNIST_PLUS = "Doerrich et al. 2025, Scientific Reports (MedMNIST+ benchmark), end to end"
REFERENCES: dict[str, Reference] = {
    "yzaza-densenet121": Reference(
        "DenseNet-121, 320 px", OFFICIAL, "Hugging Face, model card of Yzaza/nih-cxr-models",
        0.8106, low=0.8036, high=0.8167, macro_average_precision=0.2855,
    ),
    "yzaza-swin-t": Reference(
        "Swin-T, 320 px", OFFICIAL, "Hugging Face, model card of Yzaza/nih-cxr-models",
        0.8184, low=0.8127, high=0.8236, macro_average_precision=0.2818,
    ),
    "grisha1998-ensemble": Reference(
        "Ensemble", OFFICIAL,
        "Hugging Face, model card of grisha1998/chestxray14-official-ensemble", 0.8222,
    ),
    "wang-2017-first": Reference(
        "Wang et al. 2017, first version, as quoted by CheXNet", OWN, _TABLE, 0.738,
        (0.716, 0.807, 0.784, 0.609, 0.706, 0.671, 0.633, 0.806, 0.708, 0.835, 0.815, 0.769,
         0.708, 0.767),
    ),
    "yao-2017": Reference(
        "Yao et al. 2017", OWN, _TABLE, 0.803,
        (0.772, 0.904, 0.859, 0.695, 0.792, 0.717, 0.713, 0.841, 0.788, 0.882, 0.829, 0.767,
         0.765, 0.914),
    ),
    "chexnet": Reference(
        "CheXNet 2017", OWN, _TABLE, 0.841,
        (0.8094, 0.9248, 0.8638, 0.7345, 0.8676, 0.7802, 0.7680, 0.8887, 0.7901, 0.8878, 0.9371,
         0.8047, 0.8062, 0.9164),
    ),
    "arnoweng": Reference(
        "arnoweng/CheXNet", CHEXNET, _TABLE, 0.843,
        (0.8294, 0.9165, 0.8870, 0.7143, 0.8597, 0.7873, 0.7745, 0.8726, 0.8142, 0.8932, 0.9254,
         0.8304, 0.7831, 0.9104),
    ),
    "arnoweng-improved": Reference(
        "arnoweng/CheXNet, improved model", CHEXNET, _TABLE, 0.847,
        (0.8311, 0.9220, 0.8891, 0.7146, 0.8627, 0.7883, 0.7820, 0.8844, 0.8148, 0.8992, 0.9343,
         0.8385, 0.7914, 0.9206),
    ),
    "zoogzog": Reference(
        "zoogzog/chexnet", CHEXNET, "README of zoogzog/chexnet on GitHub", 0.851,
        (0.8321, 0.9107, 0.8860, 0.7145, 0.8653, 0.8037, 0.7655, 0.8857, 0.8157, 0.9017, 0.9422,
         0.8523, 0.7948, 0.9416),
    ),
    "medmnist-plus-densenet121-28": Reference(
        "DenseNet-121, 28 px", CHESTMNIST, _MEDMNIST_PLUS, 0.7593
    ),
    "medmnist-plus-densenet121-224": Reference(
        "DenseNet-121, 224 px", CHESTMNIST, _MEDMNIST_PLUS, 0.8222
    ),
    "medmnist-plus-resnet18-28": Reference(
        "ResNet-18, 28 px", CHESTMNIST, _MEDMNIST_PLUS, 0.7382
    ),
    "medmnist-plus-resnet18-224": Reference(
        "ResNet-18, 224 px", CHESTMNIST, _MEDMNIST_PLUS, 0.7896
    ),
}  # fmt: skip


def recognize(scored: ScoredImages, medmnist: bool = False) -> str | None:
    """Return which of `SPLITS` the images are, whole and nothing else; None for any other.

    medmnist: whether the labels are those of chestmnist.npz.
    """
    count, names_hash = OFFICIAL_TEST
    names = "\n".join(sorted(scored.image_names))
    if len(scored) == count and sha256(names.encode()).hexdigest() == names_hash:
        return OFFICIAL
    positives = scored.predictions.labels.sum(axis=0)
    columns = {name: int(n) for name, n in zip(scored.predictions.findings, positives, strict=True)}
    expected = dict(zip(FINDINGS, CHEXNET_TEST[1], strict=True))
    alike = len(columns) == len(FINDINGS) and all(
        expected.get(name) == number for name, number in columns.items()
    )
    if len(scored) == CHEXNET_TEST[0] and alike:
        return CHESTMNIST if medmnist else CHEXNET
    return None


def is_whole(table: Predictions) -> bool:
    """Whether all fourteen findings are scored: a published mean is over these."""
    positives = dict(zip(table.findings, (table.labels * table.known).sum(axis=0), strict=True))
    return all(positives.get(finding, 0) > 0 for finding in FINDINGS)


def references_for(split: str | None, wanted: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the published results on a split, or those that are `wanted` by name.

    Raises `UsageError` for an unknown name, and for a result on other images.
    """
    for name in wanted:
        if name not in REFERENCES:
            raise unknown_name("reference", name, REFERENCES)
        reference = REFERENCES[name]
        if reference.split != split:
            here = "no known test split" if split is None else SPLITS[split]
            raise UsageError(
                f"--reference {name}: {reference.title} was scored on {SPLITS[reference.split]}; "
                f"the images here are {here}. Results on different splits do not compare: {WHY}",
                f"Known for these images: {', '.join(_names(split)) or 'none'}.",
            )
    return [_plain(name, REFERENCES[name]) for name in wanted or _names(split)]


def _names(split: str | None) -> tuple[str, ...]:
    return tuple(name for name, one in REFERENCES.items() if one.split == split)


def _plain(name: str, reference: Reference) -> dict[str, Any]:
    aurocs = dict(zip(FINDINGS, reference.aurocs, strict=True)) if reference.aurocs else None
    others = {key: value for key, value in vars(reference).items() if key != "aurocs"}
    return {"name": name, **others, "findings": aurocs}
