"""Files through one or several networks: read ahead, a batch at a time, in their order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.errors import UsageError
from deepchest_cli.prediction.answers import Answer, Floats, Scale, logit, scale_of, sigmoid
from deepchest_cli.prediction.familiar import distance_of, familiarity
from deepchest_cli.prediction.inputs import Found
from deepchest_cli.prediction.network import Network, refuse_broken
from deepchest_cli.prediction.oddities import Oddity
from deepchest_cli.prediction.reading import FileRead, read_ahead, read_file

CROP = 0.95  # of the sides, for the corner views of --tta


@dataclass(frozen=True)
class _Opinion:
    """What one network says to a batch of B images."""

    probabilities: Floats  # (B, T), calibrated
    features: NDArray[np.float32]  # (B, D)


class Predictor:
    """Networks of the same findings, and how their answers are made.

    Several are an ensemble: the mean of their probabilities, and of their thresholds.
    """

    def __init__(
        self, networks: Sequence[Network], threshold: str = "youden", tta: bool = False
    ) -> None:
        self.networks = tuple(networks)
        self.tta = tta
        refuse_other_findings(self.networks)
        self.findings = self.networks[0].knowledge.findings
        self.scales = tuple(scale_of(n.knowledge, threshold) for n in self.networks)
        self.batch_size = max(network.batch_size for network in self.networks)
        known = [network.knowledge for network in self.networks]
        self.frames = tuple(dict.fromkeys(knowledge.frame for knowledge in known))
        self.seen_size = max(knowledge.image_size for knowledge in known)
        self.thresholds, self.source = self._thresholds()

    @property
    def flags_nothing(self) -> bool:
        """Whether no finding has a threshold."""
        return bool(np.isnan(list(self.thresholds.values())).all())

    def predict(self, found: Iterable[Found], workers: int | None = None) -> Iterator[Answer]:
        """Yield an answer for each file, in order; files are decoded ahead of the networks."""
        read = read_ahead(found, lambda one: read_file(one, self.frames, self.seen_size), workers)
        waiting: list[FileRead] = []
        readable = 0
        for one in read:
            waiting.append(one)
            readable += not one.problem
            if readable in (0, self.batch_size):
                yield from self._answers(waiting)
                waiting, readable = [], 0
        yield from self._answers(waiting)

    def _answers(self, files: list[FileRead]) -> Iterator[Answer]:
        readable = [one for one in files if not one.problem]
        answers = self._batch(readable) if readable else iter(())
        for one in files:
            yield Answer(str(one.path), one.problem) if one.problem else next(answers)

    def _batch(self, files: list[FileRead]) -> Iterator[Answer]:
        opinions = [self._opinion(n, s, files) for n, s in self._pairs()]
        means = np.mean([opinion.probabilities for opinion in opinions], axis=0)
        for place, one in enumerate(files):
            yield self._answer(one, means[place], [o.features[place] for o in opinions])

    def _pairs(self) -> list[tuple[Network, Scale]]:
        return list(zip(self.networks, self.scales, strict=True))

    def _opinion(self, network: Network, scale: Scale, files: list[FileRead]) -> _Opinion:
        """Return a network's probabilities in the ensemble's order of findings, and features."""
        frame = network.knowledge.frame
        images = np.stack([one.pixels[frame] for one in files])
        outputs = [self._outputs(network, view) for view in self._views(images)]
        logits = outputs[0][1]
        if len(outputs) > 1:
            logits = logit(np.mean([sigmoid(found) for _, found in outputs], axis=0))
        columns = [scale.findings.index(name) for name in self.findings]
        return _Opinion(scale.applied(logits)[:, columns], outputs[0][0])

    def _outputs(
        self, network: Network, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return features and logits of any number of images, in the network's own batches."""
        size = network.batch_size
        parts = [network(images[at : at + size]) for at in range(0, len(images), size)]
        logits = np.concatenate([part.logits for part in parts])
        refuse_broken(logits, network.knowledge)
        return np.concatenate([part.features for part in parts]), logits.astype(np.float64)

    def _views(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Yield images (B, S, S) whole and, with tta, their four corners enlarged; not mirrored."""
        yield images
        size = images.shape[1]
        step = size - round(size * CROP)
        for top, left in ((0, 0), (0, step), (step, 0), (step, step)) if self.tta else ():
            box = (left, top, left + size - step, top + size - step)
            yield np.stack([_enlarged(image, box) for image in images])

    def _answer(
        self, one: FileRead, probabilities: Floats, features: list[NDArray[np.float32]]
    ) -> Answer:
        distance, oddities = None, list(one.oddities)
        for network, found in zip(self.networks, features, strict=True):
            knowledge = network.knowledge
            own = distance is None and knowledge.reference is not None
            if own and knowledge.reference is not None:
                distance = distance_of(knowledge.reference, found)
            pixels = one.pixels[knowledge.frame]
            oddities += familiarity(knowledge, pixels, distance if own else None, one.path.name)
        return Answer(
            str(one.path),
            "",
            one.sha256,
            one.width,
            one.height,
            dict(zip(self.findings, probabilities.tolist(), strict=True)),
            self.thresholds,
            self.source,
            tuple(n for n in self.findings if all(n in s.calibrated for s in self.scales)),
            distance,
            _once(oddities),
            tuple(network.knowledge.identity["sha256"] for network in self.networks),
        )

    def _thresholds(self) -> tuple[dict[str, float], str]:
        tables = [dict(zip(s.findings, s.thresholds.tolist(), strict=True)) for s in self.scales]
        mean = {name: float(np.mean([table[name] for table in tables])) for name in self.findings}
        source = self.scales[0].source
        without = [bool(np.isnan(scale.thresholds).all()) for scale in self.scales]
        if any(without) and not all(without):
            return mean, "none: not every model of the ensemble has operating points"
        if len(tables) > 1 and not source.startswith("--"):
            source = f"mean of the models' own, not chosen for them together ({source})"
        return mean, source


def _enlarged(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    size = (image.shape[1], image.shape[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box))


def _once(oddities: list[Oddity]) -> tuple[Oddity, ...]:
    """Return one warning of each kind: models of an ensemble may agree."""
    return tuple({oddity.code: oddity for oddity in reversed(oddities)}.values())[::-1]


def refuse_other_findings(networks: Sequence[Network]) -> None:
    """Raise `UsageError` for networks that cannot be one ensemble."""
    first = networks[0].knowledge
    for network in networks[1:]:
        if set(network.knowledge.findings) != set(first.findings):
            raise UsageError(
                f"{network.knowledge.identity['path']} predicts other findings than "
                f"{first.identity['path']}.",
                "The models of an ensemble need the same findings.",
            )
