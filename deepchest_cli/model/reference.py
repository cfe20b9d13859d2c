"""The distribution of a model's training images in its feature space, and which images they were.

Distance is Mahalanobis' in the space of features (Lee et al. 2018, "A simple unified framework for
detecting out-of-distribution samples"), with the covariance of probabilistic PCA (Tipping and
Bishop 1999): the first axes have their own variances, all others share one. Its threshold is the
quantile of validation images that split conformal prediction takes (Vovk et al. 2005), so that the
rate of false warnings among images like those is at most the stated one. The same holds for the
correlation with their mean image, which falls for images that are rotated, inverted or of something
else even where features do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.image_checks import pixel_hash_of

Floats = NDArray[np.float64]
FALSE_WARNINGS = 0.02  # rate of false warnings that is aimed at
AXES = 64
IMAGES_PER_AXIS = 5  # training images at least
SMALLEST = 1e-12  # variance, relative to the total
THUMBNAIL = 32  # pixels of the mean radiograph
MIN_UNIQUE_NAMES = 0.9  # of the training images; above it a name identifies an image


@dataclass(frozen=True)
class Reference:
    """The training images in a model's feature space (D), and their mean image."""

    mean: Floats  # (D,)
    axes: Floats  # (K, D), orthonormal
    variances: Floats  # (K,)
    residual_variance: float  # variance along every other direction
    threshold: float  # distance
    false_warning_rate: float  # share of validation-like radiographs beyond it, at most
    training_images: int
    validation_images: int
    mean_image: Floats  # (32, 32), gray values
    min_correlation: float  # below it are as many validation-like images

    def distances(self, features: NDArray[Any]) -> Floats:
        """Return the distance (N,) of features (N, D); about 1 for a training radiograph."""
        centered = features.astype(np.float64) - self.mean
        along = centered @ self.axes.T
        beyond = ((centered - along @ self.axes) ** 2).sum(axis=1)
        squares = (along**2 / self.variances).sum(axis=1) + beyond / self.residual_variance
        return np.asarray(np.sqrt(squares / len(self.mean)))

    def correlation(self, pixels: NDArray[np.uint8]) -> float:
        """Return the correlation of stored pixels (S, S) with the mean image; 0 for a blank."""
        return correlation_of(thumbnail(pixels), self.mean_image)

    def to_plain(self) -> dict[str, Any]:
        """Return arrays and numbers."""
        return dict(vars(self))

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Reference":
        """Return what `to_plain` gave."""
        arrays = {"mean", "axes", "variances", "mean_image"}
        read: dict[str, Any] = {
            key: np.asarray(value, dtype=np.float64) if key in arrays else value
            for key, value in values.items()
        }
        return Reference(**read)


def thumbnail(pixels: NDArray[np.uint8]) -> Floats:
    """Return stored pixels (S, S) as means of (32, 32) cells, which may overlap by rounding."""
    edges = np.linspace(0, len(pixels), THUMBNAIL + 1)
    starts = np.minimum(edges[:-1].astype(int), len(pixels) - 1)
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), starts, 0), starts, 1)
    sizes = np.maximum(np.diff([*starts.tolist(), len(pixels)]), 1)
    return np.asarray(sums / np.outer(sizes, sizes))


def correlation_of(one: Floats, other: Floats) -> float:
    """Return the correlation of two images of one shape; 0 where one has a single value."""
    centered = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((centered[0] ** 2).sum() * (centered[1] ** 2).sum()))
    return float((centered[0] * centered[1]).sum()) / scale if scale else 0.0


def fit_reference(
    training: NDArray[Any], validation: NDArray[Any], mean_image: Floats, correlations: Floats
) -> Reference:
    """Return the reference of features of training (N, D) and validation (M, D) radiographs.

    mean_image: (32, 32), of the training radiographs; correlations: (M,), of validation with it.
    """
    values = training.astype(np.float64)
    count, width = values.shape
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    variances = singular**2 / max(count - 1, 1)
    floor = max(SMALLEST * float(variances.sum()), float(np.finfo(np.float32).tiny))
    kept = max(1, min(AXES, count // IMAGES_PER_AXIS, width - 1, len(variances)))
    residual = max(float(variances[kept:].sum()) / max(width - kept, 1), floor)
    draft = Reference(
        mean=mean,
        axes=directions[:kept],
        variances=np.maximum(variances[:kept], floor),
        residual_variance=residual,
        threshold=np.inf,
        false_warning_rate=0.0,
        training_images=count,
        validation_images=len(validation),
        mean_image=mean_image,
        min_correlation=-_conformal(-correlations)[0],
    )
    threshold, rate = _conformal(draft.distances(validation))
    return replace(draft, threshold=threshold, false_warning_rate=rate)


def _conformal(scores: Floats) -> tuple[float, float]:
    """Return the score that a new one of the same kind exceeds at most at a rate, and the rate."""
    count = len(scores)
    if not count:
        return np.inf, 0.0
    place = min(int(np.ceil((count + 1) * (1 - FALSE_WARNINGS))), count)
    return float(np.sort(scores)[place - 1]), max(FALSE_WARNINGS, 1 / (count + 1))


@dataclass(frozen=True)
class TrainingImages:
    """The images that a model was made with: sorted 64-bit hashes of pixels, names and patients."""

    training: NDArray[np.int64]  # of stored pixels
    validation: NDArray[np.int64]
    names: NDArray[np.int64]  # of training files, without folders and suffix
    # of training and validation; None: not kept (earlier versions), or not named by the source
    patients: NDArray[np.int64] | None = None

    def find(self, pixels: NDArray[np.uint8], name: str) -> str:
        """Return whether an image (S, S) was there: its pixels' split, "name", or nothing."""
        pixel_hash = short_hash(pixel_hash_of(pixels))
        if _contains(self.training, pixel_hash):
            return "train"
        if _contains(self.validation, pixel_hash):
            return "validation"
        named = self.names_differ and _contains(self.names, name_hash(name))
        return "name" if named else ""

    @property
    def names_differ(self) -> bool:
        """Whether a name identifies an image: CheXpert uses few names for most of its images."""
        return len(self.names) >= MIN_UNIQUE_NAMES * len(self.training)

    def to_plain(self) -> dict[str, Any]:
        """Return the arrays."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "TrainingImages":
        """Return what `to_plain` gave."""
        return TrainingImages(**{k: np.asarray(v, dtype=np.int64) for k, v in values.items()})


def find_image(several: Sequence[TrainingImages], pixels: NDArray[np.uint8], name: str) -> str:
    """Return what `TrainingImages.find` does, of the first of several data sets that has most."""
    found = {images.find(pixels, name) for images in several}
    return next((where for where in ("train", "validation", "name") if where in found), "")


def _contains(hashes: NDArray[np.int64], one: int) -> bool:
    place = int(np.searchsorted(hashes, one))
    return place < len(hashes) and int(hashes[place]) == one


def short_hash(pixel_hash: bytes) -> int:
    """Return the first 64 bits of a hexadecimal hash, signed as tensors hold them."""
    return int.from_bytes(bytes.fromhex(pixel_hash[:16].decode()), "big", signed=True)


def short_hashes(pixel_hashes: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Return `short_hash` for hashes (N,), all at once."""
    first = b"".join(one[:16] for one in pixel_hashes.tolist())
    return np.frombuffer(bytes.fromhex(first.decode()), dtype=">i8").astype(np.int64)


def name_hash(name: str) -> int:
    """Return 64 bits of an image file's name, whatever its folder and suffix."""
    return _hashed(PurePosixPath(name).stem)


def patient_hash(patient: int) -> int:
    """Return 64 bits of a patient's number, which a checkpoint should not carry as it is."""
    return _hashed(f"patient {patient}")


def _hashed(text: str) -> int:
    digest = blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
