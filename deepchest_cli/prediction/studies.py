"""From the predictions of images to those of studies: the mean over the images of an examination.

As MURA's studies are scored (Rajpurkar et al., MIDL 2018).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.text import count_of, few
from deepchest_cli.prediction.image_prediction import ImagePrediction, Prediction
from deepchest_cli.prediction.input_checks import InputWarning
from deepchest_cli.prediction.study import BY_IMAGE, BY_UID, Study

if TYPE_CHECKING:  # which reads tables with pandas
    from deepchest_cli.data.view_weights import ViewWeights

WEIGHTLESS = "all of its images have weight 0"
UNKNOWN = "unknown"  # view, as --view-weight names it


@dataclass(frozen=True)
class StudyPrediction(Prediction):
    """What is predicted for the images of one study together."""

    name: str = ""
    source: str = BY_IMAGE  # what says that they are one study
    images: tuple[ImagePrediction, ...] = ()
    weights: tuple[float, ...] = ()  # of each image in the mean

    @property
    def title(self) -> str:
        """A name for people; a UID is told by its end."""
        name = Path(self.name).name if self.source == BY_IMAGE else self.name
        return name if len(name) <= 24 or self.source != BY_UID else f"…{name[-16:]}"

    @property
    def warnings(self) -> tuple[InputWarning, ...]:
        """Those of the images, one of each kind."""
        return tuple({one.code: one for image in self.images for one in image.warnings}.values())

    def described(self) -> str:
        """Return which images are in the mean, in a line."""
        pairs = zip(self.images, self.weights, strict=True)
        names = [
            image.title if weight == 1 else f"{image.title} (weight {weight:g})"
            for image, weight in pairs
        ]
        return f"{self.name}: {count_of(len(names), 'image')} ({few(names)})"

    def in_row(self) -> dict[str, str]:
        """Return what names the study and its images in a table."""
        paths = "|".join(image.path for image in self.images)
        return {"study": self.name, "images": str(len(self.images)), "paths": paths}

    def to_plain(self) -> dict[str, Any]:
        """Return the study's object in the published schema."""
        pairs = zip(self.images, self.weights, strict=True)
        return {
            "study": self.name,
            "study_source": self.source,
            **self.answer(),
            "images": [
                {**image.to_plain(), "view": image.view, "weight": weight}
                for image, weight in pairs
            ],
        }


@dataclass(frozen=True)
class Studies:
    """The studies of some images, and what was noticed when they were put together."""

    predictions: tuple[StudyPrediction, ...]
    weightless: tuple[StudyPrediction, ...] = ()  # without a mean
    warnings: tuple[str, ...] = ()


def mean_over_studies(images: Iterable[ImagePrediction], weights: "ViewWeights") -> Studies:
    """Return studies in the order of their first images, with the mean of their probabilities.

    An image of no known study is one of its own. A study whose images all have weight 0 has no
    mean.
    """
    from deepchest_cli.data.tabular.cells import view_of

    groups: dict[Study, list[ImagePrediction]] = defaultdict(list)
    for number, image in enumerate(images):
        alone = Study(image.path, f"{number}", BY_IMAGE)
        groups[image.study or alone].append(image)
    patients: dict[tuple[str, str], int] = defaultdict(int)
    for study in groups:
        patients[study.name, study.source] += study.source != BY_IMAGE
    predictions: list[StudyPrediction] = []
    weightless: list[StudyPrediction] = []
    views: set[str] = set()
    for study, members in groups.items():
        spelled = [view_of(image.view) for image in members]
        views |= set(spelled)
        name = study.full_name if patients[study.name, study.source] > 1 else study.name
        made = _mean(name, study.source, members, weights.of(np.array(spelled, dtype=str)))
        (predictions if made.probabilities else weightless).append(made)
    shared = [name for (name, by), count in patients.items() if count > 1 and by == BY_UID]
    return Studies(
        tuple(predictions), tuple(weightless), tuple(_warnings(groups, shared, views, weights))
    )


def _mean(
    name: str, source: str, images: list[ImagePrediction], weights: NDArray[np.float64]
) -> StudyPrediction:
    """Return the prediction of one study; without probabilities where no image has a weight."""
    first, probabilities = images[0], dict[str, float]()
    if weights.any():
        rows = np.array([list(image.probabilities.values()) for image in images])
        means = np.average(rows, axis=0, weights=weights).clip(rows.min(axis=0), rows.max(axis=0))
        probabilities = dict(zip(first.probabilities, means.tolist(), strict=True))
    return StudyPrediction(
        name=name,
        source=source,
        images=tuple(images),
        weights=tuple(weights.tolist()),
        probabilities=probabilities,
        thresholds=first.thresholds,
        threshold_source=first.threshold_source,
        calibrated=first.calibrated,
        models=first.models,
    )


def _warnings(
    groups: Mapping[Study, list[ImagePrediction]],
    shared: list[str],
    views: set[str],
    weights: "ViewWeights",
) -> Iterator[str]:
    """Yield what may make the studies others than were meant."""
    alone = sum(study.source == BY_IMAGE for study in groups)
    if alone:
        yield (
            f"{count_of(alone, 'image names', 'images name')} no study, by DICOM's "
            "StudyInstanceUID or by folders such as patient00001/study1 and p10000032/s50414267: "
            "each is a study of its own."
        )
    if shared:
        yield (
            f"Files of several patients, by their PatientID, have one StudyInstanceUID ("
            f"{few(shared)}): each patient's images are a study of their own."
        )
    absent = [view or UNKNOWN for view in weights.by_view if view not in views]
    if absent:
        there = ", ".join(sorted(view or UNKNOWN for view in views))
        yield f"--view-weight names views that no image has ({few(absent)}); there are: {there}."
