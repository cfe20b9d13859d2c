"""The table of predictions that every metric is computed from, and the images it is about."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.matching import image_key
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import DivergedError, UsageError
from deepchest_cli.model.classifier import Classifier, outputs_of
from deepchest_cli.model.logistic import sigmoid


@dataclass(frozen=True)
class Predictions:
    """Probabilities and labels of N images for T findings."""

    findings: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (N, T)
    labels: NDArray[np.uint8]  # (N, T)
    known: NDArray[np.uint8]  # (N, T)
    patient_id: NDArray[np.int64]  # (N,)
    # (N,), whose model scored an image, in cross-validation; metrics of rank compare images of the
    # same fold only, since probabilities of different models are not on one scale
    fold: NDArray[np.int64] | None = None

    def joined(self, gather: Callable[[NDArray[Any]], NDArray[Any]]) -> "Predictions":
        """Return the predictions of several processes in one; `gather` joins their arrays."""
        columns = (self.probabilities, self.labels, self.known, self.patient_id)
        return Predictions(self.findings, *(gather(column) for column in columns))

    def known_labels(
        self, column: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
        """Return the rows (n,) that have a label of a finding, the labels and the probabilities."""
        rows = np.flatnonzero(self.known[:, column])
        return rows, self.labels[rows, column], self.probabilities[rows, column]

    def of_rows(self, rows: NDArray[Any]) -> "Predictions":
        """Return some images, by their numbers or by a mask."""
        fold = None if self.fold is None else self.fold[rows]
        return Predictions(
            self.findings,
            self.probabilities[rows],
            self.labels[rows],
            self.known[rows],
            self.patient_id[rows],
            fold,
        )

    def of_findings(self, findings: tuple[str, ...]) -> "Predictions":
        """Return the columns of some findings, in their order."""
        columns = [self.findings.index(name) for name in findings]
        return replace(
            self,
            findings=findings,
            probabilities=self.probabilities[:, columns],
            labels=self.labels[:, columns],
            known=self.known[:, columns],
        )


@dataclass(frozen=True)
class ScoredImages:
    """N images of a split of some data, with the metadata of their patients.

    Or units of several images each, of which `image_index` has the names.
    """

    predictions: Predictions
    image_index: NDArray[np.str_]  # (N,), as the source has it, such as 00000001_000.png
    age: NDArray[np.float64]  # (N,), years, NaN: unknown
    sex: NDArray[np.str_]  # (N,), F, M or empty
    view: NDArray[np.str_]  # (N,), PA, AP or others, or empty
    study: NDArray[np.str_] | None = None  # (N,), of each image, where it is known
    image_counts: NDArray[np.int64] | None = None  # (N,), of units; None: rows are single images

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def image_names(self) -> list[str]:
        """The images without folder and ending, as NIH's are told apart, whose files are flat."""
        return [image_key(name).rsplit("/", 1)[-1] for name in self.image_index.tolist()]

    def count_images(self, rows: NDArray[np.int64]) -> int:
        """Return how many images some rows are made of."""
        return len(rows) if self.image_counts is None else int(self.image_counts[rows].sum())

    def with_probabilities(self, probabilities: NDArray[np.float64]) -> "ScoredImages":
        """Return the same images with other probabilities (N, T)."""
        return replace(self, predictions=replace(self.predictions, probabilities=probabilities))


def scored_images(
    dataset: RadiographDataset, rows: NDArray[np.int64], predictions: Predictions
) -> ScoredImages:
    """Return the predictions for `rows` of a data set with its metadata of them."""
    names = ("image_index", "age", "sex", "view", "study")
    columns = {name: dataset.columns[name][rows] for name in names}
    return ScoredImages(predictions, **{**columns, "age": columns["age"].astype(np.float64)})


def predict_rows(
    classifier: Classifier,
    reader: ImageReader,
    rows: NDArray[np.int64],
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    findings: tuple[str, ...] | None = None,
) -> Predictions:
    """Return the predictions for `rows` of the reader's data set, in fp32, on its device.

    findings: those of the model that are scored; None: all. Raises `UsageError` for one that the
    data set does not label.
    """
    predicted, dataset = classifier.architecture.findings, reader.dataset
    findings = predicted if findings is None else findings
    columns = _columns_of(findings, dataset)
    was_training = classifier.training
    classifier.eval()
    probabilities = []
    for batch in prefetch(batches(reader, rows, batch_size)):
        probabilities.append(probabilities_of(classifier, batch.images, batch_size, reader.device))
        progress(len(probabilities) * batch_size, len(rows))
    classifier.train(was_training)
    table = np.concatenate(probabilities) if probabilities else np.empty((0, len(predicted)))
    return Predictions(
        findings,
        table[:, [predicted.index(name) for name in findings]],
        dataset.labels[rows][:, columns],
        dataset.known[rows][:, columns],
        dataset.columns["patient_id"][rows],
    )


def _columns_of(findings: tuple[str, ...], dataset: RadiographDataset) -> list[int]:
    """Return the columns of the model's findings in the data set; their order is never assumed."""
    missing = [name for name in findings if name not in dataset.findings]
    if missing:
        raise UsageError(
            f"{dataset.folders} has no labels for {', '.join(missing)}, which the model predicts.",
            "Use data prepared with the findings that the model was trained on.",
        )
    return [dataset.findings.index(name) for name in findings]


def probabilities_of(
    classifier: Classifier, images: torch.Tensor, batch_size: int, device: torch.device
) -> NDArray[np.float64]:
    """Return the probabilities (B, T) for stored images (B, S, S) of at most `batch_size`.

    Raises `DivergedError` for logits that are not finite: an undefined metric means missing
    positives or negatives, never a broken model.
    """
    logits = outputs_of(classifier, images, batch_size, device)[1].cpu().numpy()
    findings = classifier.architecture.findings
    broken = [findings[i] for i in np.flatnonzero(~np.isfinite(logits).all(axis=0))]
    if broken:
        raise DivergedError(
            f"The model's logits for {', '.join(broken)} are not finite.",
            "The training diverged: train again with a lower --learning-rate.",
        )
    return sigmoid(logits)
