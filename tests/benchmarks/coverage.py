"""How often the intervals of `deepchest evaluate` hold the true value, and how wide they are.

Rates and AUROC under several arrangements of images by patient, the macro AUROC, and the metrics
whose intervals are percentiles of replicates. "Before" are expanded percentiles for all of them.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from deepchest_cli.evaluation.bootstrap import (
    effective_patients,
    interval,
    macro_with_interval,
    rarer_class_patients,
    resample_patients,
    resampled,
)
from deepchest_cli.evaluation.intervals import auroc_interval, rate_intervals
from deepchest_cli.evaluation.metrics import OF_POSITIVES, per_finding
from deepchest_cli.evaluation.predictions import Predictions

Sizes = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.int64]]
PATIENTS, RATES = (10, 20, 30, 50, 100), (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
POSITIVES, AUROCS = (10, 20, 30), (0.75, 0.90, 0.97)
NEGATIVES = 6  # patients without the finding for one with it
FINDINGS = 14
OTHERS = ("average_precision", "f1", "loss", "brier")


def one(_: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.ones(shape, dtype=np.int64)


def several(mean: float) -> Sizes:
    return lambda chance, shape: chance.geometric(1 / mean, shape)


def uneven(chance: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """A few patients with most of the images, as in NIH's official test part."""
    return np.minimum(np.ceil(chance.pareto(1.2, shape)), 50).astype(np.int64)


# images a patient, and the correlation of these
ARRANGEMENTS: dict[str, tuple[Sizes, float]] = {
    "one image a patient": (one, 0.0),
    "3 images, correlation 0.3": (several(10 / 3), 0.3),
    "5 images, correlation 0.5": (several(5), 0.5),
    "3 images, correlation 0.95": (several(10 / 3), 0.95),
    "5 images, independent": (several(5), 0.0),
    "1 to 50 images, correlation 0.3": (uneven, 0.3),
}
# of AUROC: also the standard deviation of positives, and whether all images of a patient have it
RANKINGS: dict[str, tuple[Sizes, float, float, bool]] = {
    "one image a patient": (one, 0.0, 1.0, True),
    "one image, positives vary twice as much": (one, 0.0, 2.0, True),
    "2.5 images, correlation 0.5": (several(2.5), 0.5, 1.0, True),
    "2.5 images, correlation 0.8": (several(2.5), 0.8, 1.0, True),
    "2.5 images, half of a patient's positive": (several(2.5), 0.5, 1.0, False),
    "1 to 50 images, correlation 0.5": (uneven, 0.5, 1.0, True),
}


def rate_counts(
    chance: np.random.Generator, sizes: Sizes, correlation: float, rate: float, shape
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return images with the outcome and all images, by patient and repetition."""
    images = sizes(chance, shape)
    own = np.full(shape, rate)
    if correlation:
        scale = (1 - correlation) / correlation
        own = chance.beta(rate * scale, (1 - rate) * scale, shape)
    return chance.binomial(images, own).astype(np.float64), images.astype(np.float64)


def percentiles(counts, images, replicates: int) -> tuple[NDArray, NDArray]:
    """Return the intervals of rates as they were: expanded percentiles of replicates."""
    draws = resample_patients(np.arange(len(counts)), replicates, 0).counts
    found = (draws @ counts) / (draws @ images)
    kish = images.sum(axis=0) ** 2 / (images**2).sum(axis=0)
    ends = [interval(column, n) for column, n in zip(found.T, kish, strict=True)]
    return np.array([e.low for e in ends]), np.array([e.high for e in ends])


def rates(repetitions: int, replicates: int, only: str) -> Iterator[list[float]]:
    """Print coverage and width; yield the coverages of each arrangement."""
    print("| images by patient | mean coverage | lowest | mean width |\n|---|---|---|---|")
    for name, (sizes, correlation) in ARRANGEMENTS.items():
        if only not in name:
            continue
        chance, cells = np.random.default_rng(1), []
        for patients in PATIENTS:
            for rate in RATES:
                shape = (patients, repetitions)
                counts, images = rate_counts(chance, sizes, correlation, rate, shape)
                if replicates:
                    low, high = percentiles(counts, images, replicates)
                else:
                    low, high = rate_intervals(counts, images)
                held = float(np.mean((low <= rate) & (rate <= high)))
                # intervals of no width are given as none
                cells.append((held, patients, rate, float(np.nan_to_num(high - low).mean())))
        worst, mean = min(cells), np.mean([cell[0] for cell in cells])
        print(
            f"| {name} | {mean:.1%} | {worst[0]:.1%} ({worst[1]} patients, {worst[2]}) | "
            f"{np.mean([cell[3] for cell in cells]):.3f} |",
            flush=True,
        )
        yield [cell[0] for cell in cells]


def radiographs(
    chance: np.random.Generator,
    arrangement: tuple[Sizes, float, float, bool],
    auroc: float,
    positives: int,
    findings: int = 1,
) -> Predictions:
    """Return predictions of findings with a true AUROC, that each so many patients have.

    Scores are the probabilities that follow from them where positives vary as negatives do.
    """
    sizes, correlation, spread, whole = arrangement
    patients = positives * (1 + NEGATIVES)
    owners = np.repeat(np.arange(patients), sizes(chance, (patients,)))
    ill = np.stack([chance.permutation(patients) < positives for _ in range(findings)], axis=1)
    labels = ill[owners]
    if not whole:
        first = np.r_[True, owners[1:] != owners[:-1]][:, None]
        labels = labels & (first | (chance.random(labels.shape) < 0.5))
    shared = np.sqrt(correlation) * chance.standard_normal((patients, findings))[owners]
    effect = shared + np.sqrt(1 - correlation) * chance.standard_normal(labels.shape)
    shift = norm.ppf(auroc) * np.sqrt(1 + spread**2)
    values = np.where(labels, shift + spread * effect, effect)
    logits = shift * values - shift**2 / 2 - np.log(NEGATIVES)
    names = tuple(f"finding {i}" for i in range(findings))
    known = np.ones(labels.shape, np.uint8)
    return Predictions(names, 1 / (1 + np.exp(-logits)), labels.astype(np.uint8), known, owners)


def ranking_interval(table: Predictions, replicates: int, seed: int) -> tuple[float, float]:
    if not replicates:
        return auroc_interval(table.labels[:, 0], table.probabilities[:, 0], table.patient_id)
    draws = resample_patients(table.patient_id, replicates, seed)
    found = interval(resampled("auroc", table, draws)[:, 0], rarer_class_patients(table, 0))
    return found.low, found.high


def aurocs(repetitions: int, replicates: int, only: str) -> Iterator[list[float]]:
    """Print coverage and width by arrangement, AUROC and positive patients; yield coverages."""
    titles = [f"{auroc:.2f}: {n}" for auroc in AUROCS for n in POSITIVES]
    print("| images by patient | " + " | ".join(titles) + " |\n" + "|---" * 10 + "|")
    for name, arrangement in RANKINGS.items():
        if only not in name:
            continue
        chance, cells = np.random.default_rng(2), []
        for auroc in AUROCS:
            for positives in POSITIVES:
                ends = np.array(
                    [
                        ranking_interval(
                            radiographs(chance, arrangement, auroc, positives), replicates, i
                        )
                        for i in range(repetitions)
                    ]
                )
                held = float(np.mean((ends[:, 0] <= auroc) & (auroc <= ends[:, 1])))
                cells.append((held, float(np.nan_to_num(ends[:, 1] - ends[:, 0]).mean())))
        print(f"| {name} | " + " | ".join(f"{c:.1%}, {w:.2f}" for c, w in cells) + " |", flush=True)
        yield [held for held, _ in cells]


def macros(repetitions: int, replicates: int) -> None:
    """Print the coverage of the macro AUROC of `FINDINGS` findings, before and now."""
    print(f"| images by patient | AUROC | positives of {FINDINGS} findings | before | now |")
    print("|---|---|---|---|---|")
    for name in ("one image a patient", "2.5 images, correlation 0.5"):
        for auroc in AUROCS:
            for positives in (10, 30):
                chance, found = np.random.default_rng(3), []
                for i in range(repetitions):
                    table = radiographs(chance, RANKINGS[name], auroc, positives, FINDINGS)
                    drawn = resampled(
                        "auroc", table, resample_patients(table.patient_id, replicates, i)
                    )
                    everyone = effective_patients(np.ones(len(table.labels)), table.patient_id)
                    before = interval(drawn.mean(axis=1), everyone)
                    values = per_finding("auroc", table)
                    rows = []
                    for column, value in enumerate(values):
                        labels, scores = table.labels[:, column], table.probabilities[:, column]
                        low, high = auroc_interval(labels, scores, table.patient_id)
                        rows.append({"value": value, "low": low, "high": high})
                    now = macro_with_interval(rows, drawn)
                    found.append((before.low, before.high, now["low"], now["high"]))
                ends = np.array(found)
                held = (ends[:, ::2] <= auroc) & (auroc <= ends[:, 1::2])
                width = (ends[:, 1::2] - ends[:, ::2]).mean(axis=0)
                texts = [f"{c:.1%}, {w:.3f}" for c, w in zip(held.mean(axis=0), width, strict=True)]
                print(f"| {name} | {auroc} | {positives} | {texts[0]} | {texts[1]} |", flush=True)


def others(repetitions: int, replicates: int) -> None:
    """Print the coverage of the metrics whose intervals are percentiles of replicates."""
    print("| images by patient | AUROC | positive patients | " + " | ".join(OTHERS) + " |")
    print("|---|---|---" + "|---" * len(OTHERS) + "|")
    for name in ("one image a patient", "2.5 images, correlation 0.5"):
        for auroc in (0.75, 0.97):
            chance = np.random.default_rng(4)
            whole = radiographs(chance, RANKINGS[name], auroc, 100_000)
            truth = {metric: per_finding(metric, whole)[0] for metric in OTHERS}
            for positives in POSITIVES:
                held = dict.fromkeys(OTHERS, 0)
                for i in range(repetitions):
                    table = radiographs(chance, RANKINGS[name], auroc, positives)
                    draws = resample_patients(table.patient_id, replicates, i)
                    everyone = effective_patients(np.ones(len(table.labels)), table.patient_id)
                    for metric in OTHERS:
                        rarer = metric in OF_POSITIVES
                        patients = rarer_class_patients(table, 0) if rarer else everyone
                        found = interval(resampled(metric, table, draws)[:, 0], patients)
                        held[metric] += found.low <= truth[metric] <= found.high
                texts = [f"{held[metric] / repetitions:.1%}" for metric in OTHERS]
                print(f"| {name} | {auroc} | {positives} | " + " | ".join(texts) + " |", flush=True)


def summary(coverages: Iterator[list[float]]) -> None:
    cells = [cell for row in coverages for cell in row]
    print(f"\nmean coverage {np.mean(cells):.2%}, lowest {min(cells):.1%}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rates", "auroc", "macro", "others"))
    parser.add_argument("--repetitions", type=int, default=10_000)
    parser.add_argument("--before", action="store_true", help="expanded percentiles instead")
    parser.add_argument("--only", default="", help="arrangements whose name has this in it")
    parser.add_argument("--bootstrap-replicates", type=int, default=400)
    options = parser.parse_args()
    replicates = options.bootstrap_replicates
    if options.what in ("rates", "auroc"):
        counted = rates if options.what == "rates" else aurocs
        drawn = replicates if options.before else 0
        summary(counted(options.repetitions, drawn, options.only))
    else:
        {"macro": macros, "others": others}[options.what](options.repetitions, replicates)


if __name__ == "__main__":
    main()
