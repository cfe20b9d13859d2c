"""How often intervals and tests of `deepchest evaluate` are right, by simulation.

Paired comparison: the share of true null hypotheses that are rejected. Calibration, and differences
between groups: the share of intervals that hold the true value. Confident thresholds: the share of
validation splits whose threshold has the sensitivity that it promises.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit, ndtr
from scipy.stats import norm

from deepchest_cli.evaluation.bootstrap import (
    effective_patients,
    metric_with_interval,
    ratios_with_intervals,
    resample_patients,
    resampled_metric,
)
from deepchest_cli.evaluation.calibration_intervals import calibration_with_intervals
from deepchest_cli.evaluation.differences import group_difference, macro_carriers, paired_difference
from deepchest_cli.evaluation.metrics import auroc
from deepchest_cli.evaluation.operating_points import choose_thresholds
from deepchest_cli.evaluation.statistics import Carriers, mean_of_defined
from deepchest_cli.evaluation.weighted import WEIGHTED

ALIKE = 0.5  # share of the variance that images of a patient have in common
CONFIDENT = "sensitivity_90_confidence_95"


def patients_of(chance: np.random.Generator, patients: int, images: float) -> np.ndarray:
    """Return the patient of each image; `images` are the mean number of a patient."""
    counts = np.ones(patients, int) if images == 1 else chance.geometric(1 / images, patients)
    return np.repeat(np.arange(patients), counts)


def normal(chance: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """Return standard normal numbers that are alike for images of a patient."""
    own = np.sqrt(ALIKE) * chance.normal(size=owner.max() + 1)
    return own[owner] + np.sqrt(1 - ALIKE) * chance.normal(size=len(owner))


def rarer(labels: np.ndarray, owner: np.ndarray) -> float:
    return min(effective_patients(labels == value, owner) for value in (0, 1))


def paired(options: argparse.Namespace) -> Iterator[str]:
    """Yield the share of two equally good models that are told apart."""
    yield "| AUROC | positive patients | images a patient | AUROC rejects | AP rejects |"
    yield "|---|---|---|---|---|"
    for true in (0.75, 0.90, 0.97):
        for positives in (10, 15, 20, 40):
            for images in (1, 2.5):
                chance, counts = (
                    np.random.default_rng(positives),
                    dict.fromkeys(("auroc", "average_precision"), 0),
                )
                for repetition in range(options.repetitions):
                    owner = patients_of(chance, 8 * positives, images)
                    labels = (owner < positives).astype(np.uint8)
                    signal = np.sqrt(2) * norm.ppf(true) * labels + np.sqrt(0.7) * normal(
                        chance, owner
                    )
                    scores = [signal + np.sqrt(0.3) * normal(chance, owner) for _ in range(2)]
                    draws = resample_patients(owner, options.bootstrap_replicates, repetition)
                    rows = np.arange(len(owner))
                    for metric in counts:
                        once = np.ones((len(draws.counts[0]), 1))
                        values = [
                            WEIGHTED[metric](labels, one, draws.patient_index(rows))(once)[0]
                            for one in scores
                        ]
                        drawn = [
                            resampled_metric(metric, labels, one, rows, draws) for one in scores
                        ]
                        found = paired_difference(
                            values[0] - values[1],
                            drawn[0] - drawn[1],
                            Carriers.of(rarer(labels, owner)),
                        )
                        counts[metric] += found.p is not None and found.p < 0.05
                rates = " | ".join(
                    f"{count / options.repetitions:.1%}" for count in counts.values()
                )
                yield f"| {true} | {positives} | {images} | {rates} |"


def macro(options: argparse.Namespace) -> Iterator[str]:
    """Yield the share of equally good models whose macro AUROC is told apart, with rare findings.

    Beside it, that of a test on all patients, as if each of them carried the mean.
    """
    yield "| positive patients of the findings | images a patient | rejects | on all patients |"
    yield "|---|---|---|---|"
    patients = 250
    for positives in ((3, 3, 20, 40, 60), (1, 2, 4, 8, 16, 32, 64), (10, 10, 20, 40, 80)):
        for images in (1, 2.5):
            chance, counts = np.random.default_rng(0), [0, 0]
            for repetition in range(options.repetitions):
                owner = patients_of(chance, patients, images)
                draws = resample_patients(owner, options.bootstrap_replicates, repetition)
                rows, values, drawn, carrying = np.arange(len(owner)), [], [], []
                for count in positives:
                    labels = (chance.permutation(patients) < count)[owner].astype(np.uint8)
                    signal = 1.3 * labels + np.sqrt(0.7) * normal(chance, owner)
                    pair = [signal + np.sqrt(0.3) * normal(chance, owner) for _ in range(2)]
                    values.append(auroc(labels, pair[0]) - auroc(labels, pair[1]))
                    one, two = (
                        resampled_metric("auroc", labels, each, rows, draws) for each in pair
                    )
                    drawn.append(one - two)
                    carrying.append(rarer(labels, owner))
                table, everyone = np.stack(drawn, axis=1), effective_patients(rows >= 0, owner)
                everyone = Carriers.of(everyone)
                means = mean_of_defined(table)
                for place, n in enumerate((macro_carriers(table, np.array(carrying)), everyone)):
                    p = paired_difference(float(np.mean(values)), means, n).p
                    counts[place] += p is not None and p < 0.05
            rates = " | ".join(f"{count / options.repetitions:.1%}" for count in counts)
            yield f"| {', '.join(map(str, positives))} | {images} | {rates} |"


def true_calibration(base: float, slope: float, shift: float) -> dict[str, float]:
    """Return slope, intercept and ECE in ten bins of endless many images."""
    logits = base + norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)
    given, truth = expit(logits), expit(slope * logits + shift)
    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if (truth - expit(logits + middle)).mean() > 0 else (low, middle)
    bins = (given - truth).reshape(10, -1).mean(axis=1)
    return {"slope": slope, "intercept": low, "ece": float(np.abs(bins).mean())}


def calibration(options: argparse.Namespace) -> Iterator[str]:
    """Yield the coverage of slope, intercept and ECE."""
    yield (
        "| patients | images a patient | positives | slope, shift | true ECE | mean ECE "
        "| if calibrated | slope covers | intercept covers | ECE covers |"
    )
    yield "|" + "---|" * 10
    for patients, images, base in (
        (200, 1, -3),
        (500, 1, -4),
        (300, 3, -3),
        (150, 3, -2),
        (1000, 3, -4),
    ):
        for slope, shift in ((1, 0), (0.6, -0.5), (1, -1)):
            truth, chance = true_calibration(base, slope, shift), np.random.default_rng(patients)
            held, eces, expected, positives = dict.fromkeys(truth, 0), [], [], []
            for repetition in range(options.repetitions):
                labels = np.zeros(1)
                while labels.sum() < 2:
                    owner = patients_of(chance, patients, images)
                    logits = base + normal(chance, owner)
                    labels = (ndtr(normal(chance, owner)) < expit(slope * logits + shift)).astype(
                        np.uint8
                    )
                draws = resample_patients(owner, options.bootstrap_replicates, repetition)
                found = calibration_with_intervals(
                    labels, expit(logits), np.arange(len(owner)), draws
                )
                for name, value in truth.items():
                    ends = found["intervals"][name]
                    held[name] += ends["low"] - 1e-12 <= value <= ends["high"]
                eces.append(found["ece"])
                expected.append(found["ece_if_calibrated"])
                positives.append(labels.sum())
            rates = " | ".join(f"{count / options.repetitions:.1%}" for count in held.values())
            yield (
                f"| {patients} | {images} | {np.mean(positives):.0f} | {slope}, {shift} "
                f"| {truth['ece']:.4f} | {np.mean(eces):.4f} | {np.mean(expected):.4f} | {rates} |"
            )


def groups(options: argparse.Namespace) -> Iterator[str]:
    """Yield the coverage of differences between two groups that share some patients."""
    yield "| AUROC (FNR) | positive patients | patients in both | AUROC covers | FNR covers |"
    yield "|---|---|---|---|---|"
    for good in ((0.85, 0.85), (0.95, 0.85), (0.95, 0.95)):
        for positives in (10, 20, 50):
            for shared in (0, positives // 2):
                chance, held = np.random.default_rng(positives), [0, 0]
                shifts = np.sqrt(2) * norm.ppf(good)
                rates = norm.cdf(1 - shifts)  # predicted positive above 1
                for repetition in range(options.repetitions):
                    owner, group, labels = two_groups(positives, shared)
                    scores = shifts[group] * labels + normal(chance, owner)
                    draws = resample_patients(owner, options.bootstrap_replicates, repetition)
                    areas, drawn, missed, missed_drawn = [], [], [], []
                    for one in (0, 1):
                        rows = np.flatnonzero(group == one)
                        pair = labels[rows], scores[rows]
                        drawn.append(resampled_metric("auroc", *pair, rows, draws))
                        areas.append(
                            metric_with_interval(
                                auroc(*pair), drawn[-1], rarer(pair[0], owner[rows])
                            )
                        )
                        some = rows[pair[0] == 1]
                        below, every = (
                            (scores[some] < 1)[:, None].astype(float),
                            np.ones((len(some), 1)),
                        )
                        missed.append(ratios_with_intervals(below, every, some, draws)[0])
                        missed_drawn.append(draws.ratios(some, below, every)[:, 0])
                    gains = group_difference(*areas, drawn), group_difference(*missed, missed_drawn)
                    truth = good[0] - good[1], rates[0] - rates[1]
                    for place, (gain, value) in enumerate(zip(gains, truth, strict=True)):
                        held[place] += gain["low"] - 1e-12 <= value <= gain["high"] + 1e-12
                shares = " | ".join(f"{count / options.repetitions:.1%}" for count in held)
                both = ", ".join(f"{a} ({r:.2f})" for a, r in zip(good, rates, strict=True))
                yield f"| {both} | {positives} | {shared} | {shares} |"


def two_groups(positives: int, shared: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patient, group and label of an image of each patient in each of two groups."""
    size = 5 * positives  # a fifth has the finding
    second = np.arange(size)
    second = np.where(
        (second < shared) | ((second >= positives) & (second < positives + shared)),
        second,
        second + size,
    )
    owner = np.unique(np.concatenate([np.arange(size), second]), return_inverse=True)[1]
    group = np.repeat([0, 1], size)
    return owner, group, np.tile(np.arange(size) < positives, 2).astype(np.uint8)


def thresholds(options: argparse.Namespace) -> Iterator[str]:
    """Yield how often a threshold has a sensitivity of at least 0.90 on other patients."""
    yield "| positive patients | images a patient | sensitivity 0.90 | with 95 % confidence |"
    yield "|---|---|---|---|"
    for positives in (30, 60, 150, 400):
        for images in (1, 2.5):
            chance, kept = np.random.default_rng(positives), [0, 0]
            for _ in range(options.repetitions):
                owner = patients_of(chance, positives + 50, images)
                labels, scores = (owner < positives).astype(np.uint8), normal(chance, owner)
                found = choose_thresholds(labels, scores, owner)
                for place, rule in enumerate(("sensitivity_90", CONFIDENT)):
                    kept[place] += norm.sf(found[rule]) >= 0.9
            shares = " | ".join(f"{count / options.repetitions:.1%}" for count in kept)
            yield f"| {positives} | {images} | {shares} |"


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "paired": paired, "macro": macro, "calibration": calibration, "groups": groups,
    "thresholds": thresholds,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--bootstrap-replicates", type=int, default=200)
    parser.add_argument("--only", choices=TABLES, action="append")
    options = parser.parse_args()
    for name in options.only or TABLES:
        print(f"\n{name}: {options.repetitions:,} repetitions\n")
        for line in TABLES[name](options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
