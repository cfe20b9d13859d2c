"""What `--weights` stands for, decided once: published weights where they can be had, else none."""

import threading
import urllib.request
from dataclasses import dataclass

from deepchest_cli.config.flags import AUTO_WEIGHTS, IMAGENET, NONE, PRETRAINED
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones.base import BackboneSource, BackboneSpec
from deepchest_cli.model.backbones.registry import SOURCES, source_of
from deepchest_cli.model.weights import InitialWeights, read_weights

SECONDS = 4.0  # to wait for an answer of a host, and as long again for its name


@dataclass(frozen=True)
class WeightsChoice:
    """The initial weights that a run begins from."""

    name: str  # none, imagenet, pretrained or a path: what repeats the choice
    weights: InitialWeights | None = None  # None: as drawn
    warning: str = ""  # what is lost, where auto found none

    @property
    def sha256(self) -> str | None:
        """The hash of what was loaded."""
        return None if self.weights is None else self.weights.sha256


def choose_weights(
    spec: BackboneSpec, weights: str, expected_sha256: str | None = None
) -> WeightsChoice:
    """Return the weights that a value of `--weights` stands for.

    auto: those that are published for the backbone, where they are cached or can be fetched; else
    none, with a warning, and never an error for want of a network. Raises `UsageError` and
    `DeepChestError` as `read_weights`, and where weights have another hash than the one that a run
    began with.
    """
    if weights == NONE:
        return WeightsChoice(NONE)
    source = source_of(spec.name)
    if weights == AUTO_WEIGHTS:
        return _automatic(spec, source)
    found = read_weights(spec, weights, source)
    if expected_sha256 not in (None, found.sha256):
        raise UsageError(
            f"{found.where} does not hold the weights that this run or comparison began with: "
            f"their SHA-256 is {found.sha256[:12]}…, not {str(expected_sha256)[:12]}….",
            "Restore the file. For other weights leave weights_sha256 out of the configuration.",
        )
    return WeightsChoice(found.name, found)


def _automatic(spec: BackboneSpec, source: BackboneSource) -> WeightsChoice:
    place = source.published(spec)
    if place is None:  # nobody has published any: there is nothing to miss
        return WeightsChoice(NONE)
    reason = "" if place.is_cached else unreachable(place.url)
    if not reason:
        try:
            # not all that is published comes from ImageNet
            word = PRETRAINED[1] if spec.name.startswith(tuple(SOURCES)) else IMAGENET
            return WeightsChoice(word, read_weights(spec, word, source))
        except DeepChestError as error:
            if place.is_cached:  # damaged, or of another network: not for want of a connection
                raise
            reason = error.message
    return WeightsChoice(
        NONE,
        warning=(
            f"{spec.name} begins from random weights: its pretrained ones are not on this machine "
            f"({reason.rstrip('.')}). Pretrained weights usually give a higher AUROC in fewer "
            f"epochs. Fetch {place.url} elsewhere and name the file with --weights FILE; "
            f"--weights {NONE} leaves this warning out."
        ),
    )


def unreachable(url: str) -> str:
    """Return why a URL cannot be fetched from here; nothing where it can. Takes a few seconds.

    In a thread of its own: looking up the name of a host has no time-out.
    """
    answers: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS):
                answers.append("")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            answers.append(str(getattr(reason, "strerror", "") or reason or error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * SECONDS)
    return answers[0] if answers else "no answer in time"
