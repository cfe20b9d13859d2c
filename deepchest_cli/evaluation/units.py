"""A unit is what is scored: an image, a study of several images, or a patient with all of theirs.

The score of a unit is the mean over the probabilities of its images, as of MURA's studies
(Rajpurkar et al. 2018, MIDL); views can be weighted. A mean of logits would give one image that is
sure of itself the last word, and a maximum, which CheXpert takes (Irvin et al. 2019, AAAI 33),
grows with the number of images, by which the ill differ from the healthy.

A unit's label is positive where any of its images is labeled positive, else negative where any is
labeled negative, else unknown. The images of a study share their labels as a rule, which are those
of its report; of a patient they differ by date, and one image that shows a finding is enough to
have had it. An unknown label says nothing, so that the known ones decide. Images of weight 0 count
for the label, which then does not depend on the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of, few
from deepchest_cli.data.view_weights import FLAG, ViewWeights, read_view_weights
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.calibration import Method
from deepchest_cli.evaluation.members import Members, joined, the_only
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.validation_fit import ValidationFit, fit_on_validation

Unit = Literal["image", "study", "patient"]
IMAGE: Unit = "image"
PATIENT: Unit = "patient"
PLURAL = {"image": "images", "study": "studies", "patient": "patients"}


@dataclass(frozen=True)
class Units:
    """M units of N images, and what was noticed when they were made."""

    grouping: "Grouping"
    images: ScoredImages  # N rows
    scored: ScoredImages  # M rows
    differing: NDArray[np.int64]  # (T,), units whose images have both labels of a finding
    mixed: int = 0  # units with such a finding
    excluded: int = 0  # units without an image of a weight above 0

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many images each unit has (M,), whatever their weights."""
        counted = self.scored.image_counts
        return np.ones(len(self.images), dtype=np.int64) if counted is None else counted

    @property
    def unit(self) -> Unit:
        """What a row of `scored` is."""
        return self.grouping.unit

    def counted(self, kind: str = "") -> str:
        """Return how many units there are, of how many images; kind: what kind of units."""
        return counted_units(self.unit, len(self.scored), len(self.images), kind)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the labels of units are where those of their images differ."""
        if not self.mixed:
            return ()
        names = np.array(self.images.predictions.findings)
        order = [i for i in np.argsort(-self.differing, kind="stable") if self.differing[i]]
        found = few(f"{names[i]} {self.differing[i]:,}" for i in order)
        return (
            f"In {count_of(self.mixed, self.unit)} the labels of images differ ({found}): a "
            f"{self.unit} is positive where any of the images is.",
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what makes the units other than they are named, or fewer."""
        said = []
        if self.unit != IMAGE and (self.sizes == 1).all():
            said.append(
                f"Every {self.unit} has a single image: --unit {self.unit} gives the metrics of "
                "--unit image."
            )
        if self.excluded:
            has, have = "has only images of weight 0 and is", "have only images of weight 0 and are"
            forms = f"{self.unit} {has}", f"{PLURAL[self.unit]} {have}"
            said.append(f"{count_of(self.excluded, *forms)} not scored.")
        return tuple(said)

    def alike(self, images: ScoredImages) -> ScoredImages:
        """Return the units of other images, or of the same with other scores."""
        return self.grouping.of(images).scored

    def fit(self, method: Method, source: str) -> ValidationFit:
        """Return the thresholds and the calibration that follow from units of validation."""
        found = fit_on_validation(self.scored.predictions, method, source)
        return replace(found, images=len(self.images))

    def to_plain(self) -> dict[str, Any]:
        """Return what a document says of the units."""
        sizes = self.sizes
        return {
            "unit": self.unit,
            "units": len(self.scored),
            "images": len(self.images),
            "images_per_unit": {
                "min": int(sizes.min()),
                "median": float(np.median(sizes)),
                "mean": float(sizes.mean()),
                "max": int(sizes.max()),
            },
            "view_weights": self.grouping.view_weights.to_plain(),
            "units_excluded": self.excluded,
            "units_with_differing_labels": {
                name: int(count)
                for name, count in zip(
                    self.images.predictions.findings, self.differing, strict=True
                )
            },
        }


def counted_units(unit: str, units: int, images: int, kind: str = "", image: str = "image") -> str:
    """Return how many units there are, of how many images: 229 validation studies of 300 images.

    image: what an image is called.
    """
    if unit == IMAGE:
        return count_of(units, f"{kind} {image}".strip())
    preposition = "with" if unit == PATIENT else "of"
    return f"{count_of(units, f'{kind} {unit}'.strip())} {preposition} {count_of(images, image)}"


@dataclass(frozen=True)
class Grouping:
    """How images become units."""

    unit: Unit = IMAGE
    view_weights: ViewWeights = field(default_factory=ViewWeights)

    @staticmethod
    def of_config(config: EvaluateConfig) -> "Grouping":
        """Return what a configuration asks for; raises `UsageError` for weights that are none."""
        return Grouping(config.unit, read_view_weights(config.view_weight))

    def of(self, images: ScoredImages) -> Units:
        """Return the units of some images, sorted by their names, with the means of their scores.

        The age of a unit is the mean of the known ages of its images, its sex the one that they
        name, and its view all of theirs, such as PA+L. Raises `UsageError` where studies are not
        known, where one has images of several patients, and where all images have weight 0.
        """
        table = images.predictions
        if self.unit == IMAGE:
            none = np.zeros(len(table.findings), dtype=np.int64)
            return Units(self, images, images, none)
        keys = self.names(images.study, table.patient_id)
        self.refuse_several_patients(keys, table.patient_id)
        names, first, unit_of, sizes = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        members = Members(unit_of.reshape(-1), len(names))
        means, kept = members.weighted_means(table.probabilities, self.view_weights.of(images.view))
        if not kept.any():
            raise UsageError(
                f"{FLAG}: every {self.unit} has only images of weight 0.",
                "Give a weight above 0 to a view that they have.",
            )
        known = table.known == 1
        present = members.any_of(known & (table.labels == 1))[kept]
        absent = members.any_of(known & (table.labels == 0))[kept]
        scored = ScoredImages(
            Predictions(
                table.findings,
                means[kept],
                present.astype(np.uint8),
                (present | absent).astype(np.uint8),
                table.patient_id[first][kept],
                None if table.fold is None else table.fold[first][kept],
            ),
            names[kept],
            members.mean_age(images.age)[kept],
            members.texts(images.sex, the_only)[kept],
            members.texts(images.view, joined)[kept],
            image_counts=sizes[kept],
        )
        both = present & absent
        mixed, excluded = int(both.any(axis=1).sum()), int((~kept).sum())
        return Units(self, images, scored, both.sum(axis=0), mixed, excluded)

    def names(
        self, study: NDArray[np.str_] | None, patient_id: NDArray[np.int64]
    ) -> NDArray[np.str_]:
        """Return the name of each image's unit (N,), of studies or patients.

        Raises `UsageError` where studies are not known.
        """
        if self.unit == PATIENT:
            return patient_id.astype(str)
        if study is None:
            raise UsageError(
                "--unit study: which images belong to one study is not known.",
                "Add a column study_id to the table of labels or of predictions, or score --unit "
                "image or patient.",
            )
        return study

    def refuse_several_patients(
        self, names: NDArray[np.str_], patient_id: NDArray[np.int64], where: str = ""
    ) -> None:
        """Raise `UsageError` for a unit with images of several patients; both are (N,)."""
        pairs = np.unique(np.stack([np.unique(names, return_inverse=True)[1], patient_id]), axis=1)
        units, patients = np.unique(pairs[0], return_counts=True)
        several = np.unique(names)[units[patients > 1]]
        if len(several):
            raise UsageError(
                f"{where}{': ' if where else ''}{self._have(several)} images of several patients: "
                f"{few(several)}.",
                "Name the patient of each image, and each study so that no other patient has one "
                "of its name, such as PATIENT/STUDY; or score --unit image.",
            )

    def refuse_divided(self, dataset: RadiographDataset, rows: NDArray[np.int64]) -> None:
        """Raise `UsageError` where some images of a unit are among the rows of a split, others not.

        Also for a study of several patients.
        """
        if self.unit == IMAGE:
            return
        columns = dataset.columns
        names = self.names(columns["study"], columns["patient_id"])
        found = _divided(names, rows)
        if found:
            raise UsageError(
                f"{dataset.folder}: {self._have(found)} images in two splits, of which a "
                f"part would be missing in the mean: {few(found)}.",
                "Prepare the data with splits by patient, or score --unit image.",
            )
        self.refuse_several_patients(names, columns["patient_id"], str(dataset.folder))

    def partly_scored(
        self, study: NDArray[np.str_] | None, patients: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> str:
        """Return which units have images that are not among the scored `rows`; empty: none has.

        study, patients: (L,), of all labeled images.
        """
        found = [] if self.unit == IMAGE else _divided(self.names(study, patients), rows)
        if not found:
            return ""
        return (
            f"{self._have(found)} labeled images that are not scored and are missing in the mean: "
            f"{few(found)}."
        )

    def _have(self, units: Sequence[Any] | NDArray[np.str_]) -> str:
        return count_of(len(units), f"{self.unit} has", f"{PLURAL[self.unit]} have")


def _divided(names: NDArray[np.str_], rows: NDArray[np.int64]) -> list[str]:
    """Return the units with images both among `rows` and elsewhere; names: (L,), of all images."""
    inside = np.zeros(len(names), dtype=bool)
    inside[rows] = True
    return list(np.intersect1d(names[inside], names[~inside]).tolist())
