"""Files through one or several networks: read ahead, a batch at a time, in their order."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.errors import UsageError
from deepchest_cli.model.logistic import logit, sigmoid
from deepchest_cli.prediction.image_prediction import (
    Calibration,
    Floats,
    ImagePrediction,
    calibration_of,
)
from deepchest_cli.prediction.input_checks import check_familiarity, feature_distance
from deepchest_cli.prediction.inputs import InputFile
from deepchest_cli.prediction.network import Network, refuse_non_finite
from deepchest_cli.prediction.reading import DecodedFile, prefetch, read_file

CROP = 0.95  # of the sides, for the corner views of --tta


class Predictor:
    """Networks of the same findings, and how their outputs become predictions.

    Several are an ensemble: the mean of their probabilities, and of their thresholds.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        threshold: str = "youden",
        tta: bool = False,
        data_set: str | None = None,
    ) -> None:
        """data_set: as in `calibration_of`, of each network."""
        self.networks = tuple(networks)
        self.tta = tta
        refuse_other_findings(self.networks)
        metadata = [network.metadata for network in self.networks]
        self.findings = metadata[0].findings
        self.calibrations = tuple(calibration_of(one, threshold, data_set) for one in metadata)
        self.batch_size = max(network.batch_size for network in self.networks)
        self.preprocessings = tuple(dict.fromkeys(one.preprocessing for one in metadata))
        self.image_size = max(one.image_size for one in metadata)
        self.thresholds, self.source = self._thresholds()

    @property
    def flags_nothing(self) -> bool:
        """Whether no finding has a threshold."""
        return bool(np.isnan(list(self.thresholds.values())).all())

    def predict(
        self, files: Iterable[InputFile], workers: int | None = None
    ) -> Iterator[ImagePrediction]:
        """Yield a prediction for each file, in order; files are decoded ahead of the networks."""

        def read(file: InputFile) -> DecodedFile:
            return read_file(file, self.preprocessings, self.image_size)

        pending: list[DecodedFile] = []
        readable = 0
        for file in prefetch(files, read, workers):
            pending.append(file)
            readable += not file.problem
            if readable in (0, self.batch_size):
                yield from self._predictions(pending)
                pending, readable = [], 0
        yield from self._predictions(pending)

    def _predictions(self, files: list[DecodedFile]) -> Iterator[ImagePrediction]:
        readable = [file for file in files if not file.problem]
        predicted = self._batch(readable) if readable else iter(())
        for file in files:
            yield ImagePrediction(str(file.path), file.problem) if file.problem else next(predicted)

    def _batch(self, files: list[DecodedFile]) -> Iterator[ImagePrediction]:
        pairs = zip(self.networks, self.calibrations, strict=True)
        outputs = [self._calibrated(network, one, files) for network, one in pairs]
        means = np.mean([probabilities for probabilities, _ in outputs], axis=0)
        for place, file in enumerate(files):
            yield self._prediction(file, means[place], [features[place] for _, features in outputs])

    def _calibrated(
        self, network: Network, calibration: Calibration, files: list[DecodedFile]
    ) -> tuple[Floats, NDArray[np.float32]]:
        """Return calibrated probabilities (B, T) in the ensemble's order, and features (B, D)."""
        images = np.stack([file.pixels[network.metadata.preprocessing] for file in files])
        outputs = [self._outputs(network, view) for view in self._views(images)]
        features, logits = outputs[0]
        if len(outputs) > 1:
            logits = logit(np.mean([sigmoid(found) for _, found in outputs], axis=0))
        columns = [calibration.findings.index(name) for name in self.findings]
        return calibration.applied(logits)[:, columns], features

    def _outputs(
        self, network: Network, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return features and logits of any number of images, in the network's own batches."""
        size = network.batch_size
        found = [network(images[at : at + size]) for at in range(0, len(images), size)]
        logits = np.concatenate([one.logits for one in found])
        refuse_non_finite(logits, network.metadata)
        return np.concatenate([one.features for one in found]), logits.astype(np.float64)

    def _views(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Yield images (B, S, S) whole and, with tta, their four corners enlarged; not mirrored."""
        yield images
        size = images.shape[1]
        step = size - round(size * CROP)
        for top, left in ((0, 0), (0, step), (step, 0), (step, step)) if self.tta else ():
            box = (left, top, left + size - step, top + size - step)
            yield np.stack([_enlarged(image, box) for image in images])

    def _prediction(
        self, file: DecodedFile, probabilities: Floats, features: list[NDArray[np.float32]]
    ) -> ImagePrediction:
        distance, warnings, fits = None, list(file.warnings), self.calibrations
        for network, found in zip(self.networks, features, strict=True):
            metadata, own_distance = network.metadata, None
            if distance is None and metadata.reference is not None:
                distance = own_distance = feature_distance(metadata.reference, found)
            pixels = file.pixels[metadata.preprocessing]
            warnings += check_familiarity(metadata, pixels, own_distance, file.path.name)
        return ImagePrediction(
            path=str(file.path),
            sha256=file.sha256,
            width=file.width,
            height=file.height,
            probabilities=dict(zip(self.findings, probabilities.tolist(), strict=True)),
            thresholds=self.thresholds,
            threshold_source=self.source,
            calibrated=tuple(n for n in self.findings if all(n in c.calibrated for c in fits)),
            feature_distance=distance,
            # one of each kind: models of an ensemble may agree
            warnings=tuple({one.code: one for one in reversed(warnings)}.values())[::-1],
            models=tuple(network.metadata.identity["sha256"] for network in self.networks),
            features=features[0] if len(features) == 1 else None,
            study=file.study,
            view=file.view,
        )

    def _thresholds(self) -> tuple[dict[str, float], str]:
        tables = [
            dict(zip(c.findings, c.thresholds.tolist(), strict=True)) for c in self.calibrations
        ]
        mean = {name: float(np.mean([table[name] for table in tables])) for name in self.findings}
        source = "; ".join(dict.fromkeys(one.source for one in self.calibrations))
        without = [bool(np.isnan(one.thresholds).all()) for one in self.calibrations]
        if any(without) and not all(without):
            return mean, "none: not every model of the ensemble has operating points"
        if len(tables) > 1 and not source.startswith("--"):
            source = f"mean of the models' own, not chosen for them together ({source})"
        return mean, source


def _enlarged(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    size = (image.shape[1], image.shape[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box))


def refuse_other_findings(networks: Sequence[Network]) -> None:
    """Raise `UsageError` for networks that cannot be one ensemble."""
    first = networks[0].metadata
    for network in networks[1:]:
        if set(network.metadata.findings) != set(first.findings):
            raise UsageError(
                f"{network.metadata.identity['path']} predicts other findings than "
                f"{first.identity['path']}.",
                "The models of an ensemble need the same findings.",
            )
