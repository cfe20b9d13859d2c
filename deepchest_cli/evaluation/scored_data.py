"""What is scored of a data set: opened, checked against the models and against other data sets."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.findings import MatchedFindings
from deepchest_cli.data.source_relations import Source, same_patient_numbers, same_patients
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import (
    refuse_other_size,
    trained_on,
)
from deepchest_cli.evaluation.overlap import find_overlap, refuse_overlap, union_of
from deepchest_cli.evaluation.reading.pairing import shared_findings
from deepchest_cli.model.checkpoint import LoadedModel


@dataclass(frozen=True)
class ScoredData:
    """Images of a data set that are scored; its findings are the shared ones, as models spell."""

    dataset: RadiographDataset
    split: str
    rows: NDArray[np.int64]
    findings: MatchedFindings  # predicted, labeled
    is_own: bool  # whether it is what the models were trained on
    overlap: dict[str, Any]


def open_scored(
    models: list[LoadedModel], folder: Path, split: str, allow_overlap: bool
) -> ScoredData:
    """Return what is scored of a data set; raises `UsageError` for whatever does not fit."""
    dataset = _open_data(folder, models[0])
    trained = [trained_on(model, dataset) is not None for model in models]
    own = all(trained)
    split = "test" if any(trained) and split == "all" else split
    scored, matched = as_scored(models, dataset)
    rows = dataset.rows(split)
    if not len(rows):
        raise UsageError(f"{folder} has no {split} split.", "Choose another --split.")
    overlap = _overlap(models, dataset, rows, split, allow_overlap)
    return ScoredData(scored, split, rows, matched, own, overlap)


def as_scored(
    models: list[LoadedModel], dataset: RadiographDataset
) -> tuple[RadiographDataset, MatchedFindings]:
    """Return a data set at the models' size with the findings that they share, and these.

    Images that the models were trained on are brought to the size at which they were read.
    """
    sizes = [model.classifier.architecture.stored_size for model in models]
    if all(trained_on(model, dataset) for model in models):
        dataset = dataset.at_size(min(sizes))
    for size in sizes:
        refuse_other_size(size, dataset)
    findings = (models[0].classifier.architecture.findings, dataset.findings)
    matched = shared_findings(findings, (str(models[0].path), str(dataset.folder)))
    return dataset.of_findings(dict(matched.shared)), matched


def _open_data(data: Path, model: LoadedModel) -> RadiographDataset:
    try:
        return open_dataset(data)
    except UsageError as error:
        known = [one["data"] for one in model.data_sets if one["data"]]
        if not known or str(data) in known:
            raise
        flags = " ".join(f"--data {quote(folder)}" for folder in known)
        hint = f"{error.hint}\nThe model was trained on {', '.join(known)}: {flags}"
        raise UsageError(error.message, hint) from error


def refuse_duplicate_models(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where an ensemble names a model twice, which would count double."""
    hashes = [model.sha256 for model in models]
    for place, one in enumerate(hashes):
        if one in hashes[:place]:
            first = models[hashes.index(one)].path
            raise UsageError(
                f"{models[place].path} is the same model as {first}.",
                "Name each model of an ensemble once.",
            )


def refuse_other_findings(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where the models of an ensemble predict different findings."""
    for model in models[1:]:
        if set(model.identity["findings"]) != set(models[0].identity["findings"]):
            raise UsageError(
                f"{model.path} predicts other findings than {models[0].path}.",
                "The models of an ensemble need the same findings.",
            )


def _overlap(
    models: list[LoadedModel],
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    split: str,
    allowed: bool,
) -> dict[str, Any]:
    """Return how many of `rows` any of the models was made with, refused unless allowed."""
    overlaps = [find_overlap(model, dataset, rows, split) for model in models]
    for one, model in zip(overlaps, models, strict=True):
        if not allowed:
            refuse_overlap(one, model, dataset)
    return union_of(overlaps).to_plain()


@dataclass(frozen=True)
class Shared:
    """What a data set shares with those before it."""

    caution: str = ""  # empty where nothing is known to be shared
    with_reference: bool = False  # whether images or patients of the first data set are among it


def refuse_shared_images(several: list[ScoredData], allowed: bool) -> list[Shared]:
    """Return what each data set shares with those before it, refused unless allowed.

    Raises `UsageError` for images or patients of two data sets, whose difference would not be one
    between independent samples, and in any case for the same images twice.
    """
    found = [Shared() for _ in several]
    for (first, one), (place, other) in combinations(enumerate(several), 2):
        pair = f"{one.dataset.folder} and {other.dataset.folder}"
        if one.dataset.sha256 == other.dataset.sha256:
            raise UsageError(f"{pair} are the same data.", "Name each data set once.")
        said = _in_both(one, other)
        if said and not allowed:
            raise UsageError(
                f"{said} {pair}: their difference would not be one of independent samples.",
                "Take these out of one of them. With --allow-overlap both are scored all the same, "
                "and the results say so.",
            )
        if said:
            caution = f"{said} {pair}: they are no independent samples."
        elif _may_share(one, other):
            caution = (
                f"{pair} are of one source: whether they share patients is not known, and the "
                "interval of a difference assumes that they do not."
            )
        else:
            continue
        earlier = found[place]
        known = earlier.with_reference or (bool(said) and first == 0)
        found[place] = Shared(f"{earlier.caution} {caution}".strip(), known)
    return found


def _in_both(one: ScoredData, other: ScoredData) -> str:
    """Return how many images, by pixel hash, or else patients are in both; empty without any."""
    images = np.intersect1d(one.dataset.pixel_hash[one.rows], other.dataset.pixel_hash[other.rows])
    if len(images):
        return f"{count_of(len(images), 'image is', 'images are')} (by pixel hash) in both"
    if not same_patient_numbers(*_sources(one, other)):
        return ""
    first, second = (each.dataset.columns["patient_id"][each.rows] for each in (one, other))
    patients = len(np.intersect1d(first, second))
    return count_of(patients, "patient is in both", "patients are in both") if patients else ""


def _may_share(one: ScoredData, other: ScoredData) -> bool:
    sources = _sources(one, other)
    return same_patients(*sources) and not same_patient_numbers(*sources)


def _sources(one: ScoredData, other: ScoredData) -> tuple[Source, Source]:
    return one.dataset.manifest["source"], other.dataset.manifest["source"]
