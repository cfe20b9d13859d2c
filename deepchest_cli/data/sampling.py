"""Which images an epoch has: a pure function of seed and epoch, so that runs resume."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import UsageError, unknown_name

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
NATURAL, BALANCED = "natural", "balanced"


@dataclass(frozen=True)
class Group:
    """Images that are drawn together."""

    rows: Numbers  # (n,)
    count: int  # how many an epoch has
    # of each row (n,), summing to one: drawn with replacement; None: each as often as any other
    probabilities: Floats | None = None

    def draw(self, random: np.random.Generator) -> Numbers:
        """Return `count` rows in random order."""
        if self.probabilities is not None:
            drawn = random.choice(self.rows, size=self.count, p=self.probabilities)
            return np.asarray(drawn)
        passes, rest = divmod(self.count, len(self.rows))
        orders = [random.permutation(self.rows) for _ in range(passes + (rest > 0))]
        return np.asarray(np.concatenate(orders)[: self.count])

    @property
    def expected_draws(self) -> Floats:
        """How often an epoch has each row (n,), on average."""
        if self.probabilities is not None:
            return self.probabilities * self.count
        return np.full(len(self.rows), self.count / len(self.rows))


@dataclass(frozen=True)
class Sampling:
    """How the images of an epoch are drawn."""

    groups: tuple[Group, ...]

    def order(self, seed: int, epoch: int) -> Numbers:
        """Return the rows of an epoch in random order, the same whenever it is asked for."""
        random = np.random.default_rng([seed, epoch])
        drawn = [group.draw(random) for group in self.groups]
        return (
            drawn[0] if len(drawn) == 1 else np.asarray(random.permutation(np.concatenate(drawn)))
        )

    def expected_draws(self, rows: Numbers) -> Floats:
        """Return how often an epoch has each of `rows` (N,), on average."""
        draws = np.zeros(int(rows.max()) + 1)
        for group in self.groups:
            draws[group.rows] = group.expected_draws
        return np.asarray(draws[rows])


def uniform(rows: Numbers) -> Sampling:
    """Return the sampling that has each of `rows` (N,) once an epoch."""
    return Sampling((Group(rows, len(rows)),))


def choose_sampling(
    dataset: RadiographDataset, rows: Numbers, by_source: Sequence[str], class_balanced: bool
) -> Sampling:
    """Return how the training rows (N,) are drawn; an epoch has N images.

    by_source: `natural`, `balanced`, or NAME=FACTOR of members. Members that are sampled by source
    have their numbers of images in every epoch, and pass by pass each image as often as any other.
    Raises `UsageError` for what fits no member.
    """
    factors = _factors(dataset, by_source)
    if factors is None:
        return Sampling((_group(dataset, rows, len(rows), class_balanced),))
    own = [rows[dataset.member[rows] == number] for number in range(len(dataset.members))]
    images = np.array([len(some) for some in own])  # none where a single finding is not labeled
    shares = (images > 0).astype(np.float64) if isinstance(factors, str) else images * factors
    counts = _whole_numbers(shares, len(rows))
    for member, some, count in zip(dataset.members, own, counts, strict=True):
        if len(some) and not count:
            raise UsageError(
                f"--source-sampling: {member.name} would have no image in an epoch.",
                "Give it a larger factor, or leave it out of --data.",
            )
    return Sampling(
        tuple(
            _group(dataset, some, int(count), class_balanced)
            for some, count in zip(own, counts, strict=True)
            if len(some)
        )
    )


def _group(dataset: RadiographDataset, rows: Numbers, count: int, class_balanced: bool) -> Group:
    if not class_balanced:
        return Group(rows, count)
    return Group(rows, count, balanced_probabilities(dataset.labels[rows], dataset.known[rows]))


def _factors(dataset: RadiographDataset, by_source: Sequence[str]) -> Floats | str | None:
    """Return each member's factor, `BALANCED`, or None for natural sampling."""
    if tuple(by_source) in ((), (NATURAL,)):
        return None
    if len(dataset.members) == 1:
        raise UsageError(
            f"--source-sampling {' '.join(by_source)} is for several data sets, and there is one.",
            "Leave it out, or name more --data.",
        )
    if tuple(by_source) == (BALANCED,):
        return BALANCED
    names = [member.name for member in dataset.members]
    factors = np.ones(len(names))
    for text in by_source:
        name, separator, value = text.rpartition("=")
        if not separator:
            if text in (NATURAL, BALANCED):
                raise UsageError(
                    f"--source-sampling {text} stands alone. Found {' and '.join(by_source)}.",
                    "Drop one of them.",
                )
            raise unknown_name("--source-sampling", text, (NATURAL, BALANCED, "FOLDER=FACTOR"))
        if name not in names:
            raise unknown_name("data set in --source-sampling", name, names)
        factors[names.index(name)] = _factor(text, value)
    return factors


def _factor(text: str, value: str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise UsageError(
            f"--source-sampling {text}: a factor is a number above 0.",
            "2 is twice as many images of that data set as it has by itself.",
        )
    return factor


def _whole_numbers(shares: Floats, total: int) -> Numbers:
    """Return whole numbers in proportion to shares that add up to the total."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[largest] += 1
    return np.asarray(counts)


def balanced_probabilities(labels: NDArray[np.uint8], known: NDArray[np.uint8]) -> Floats:
    """Return the probability (N,) of each image under class-balanced sampling.

    It is that of drawing a finding, or none, uniformly and then one of its images uniformly.
    """
    positive = (labels & known).astype(np.float64)
    without = (positive.sum(axis=1, keepdims=True) == 0).astype(np.float64)
    classes = np.concatenate([positive, without], axis=1)
    sizes = classes.sum(axis=0)
    weights = (classes[:, sizes > 0] / sizes[sizes > 0]).sum(axis=1)
    return np.asarray(weights / weights.sum())
