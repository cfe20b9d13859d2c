"""How often the test of compare-weighters finds a difference, without one and with one.

Simulated: seeds and patients with effects in several mixtures, and of the sizes that a real
comparison has found; few patients with a finding, alone and in a mean over findings. For each: the
size (rejections at 5 % without a difference), the power for a difference that would be found in
80 % of cases if the variances were known, and how often a difference as large as the margin is
called equivalent. Beside them the size and power by Satterthwaite's degrees of freedom. Real:
equal weighting against its twin, whose weights differ by one in ten thousand, from the same starts
on the same batches, as a comparison of three seeds each.
"""

import argparse
import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from deepchest_cli.comparison.running.jobs import parse_arms
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.metrics import per_finding
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import (
    LEVEL,
    POWER,
    Carriers,
    Difference,
    combined_carriers,
    difference,
    mean_of_defined,
)

# variances of the mean difference: of seeds, of seeds and patients together, of patients alone
MIXTURES = {
    "seeds alone": (1.0, 0.0, 0.0),
    "interaction alone": (0.0, 1.0, 0.0),
    "patients 5 %": (0.95, 0.0, 0.05),
    "patients 10 %": (0.9, 0.0, 0.1),
    "patients 10 %, interaction": (0.0, 0.9, 0.1),
    "patients 20 %": (0.8, 0.0, 0.2),
    "patients 50 %": (0.5, 0.0, 0.5),
    "all alike": (1 / 3, 1 / 3, 1 / 3),
    "patients 90 %": (0.1, 0.0, 0.9),
    "patients 95 %": (0.05, 0.0, 0.95),
    "patients alone": (0.0, 0.0, 1.0),
}
KNOWN = stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)  # in standard errors
SEEDS = (3, 5, 10)
NEGATIVES = 190  # patients without the finding, in the simulation of few positives


def mixed(seeds: int, patients: int, parts: tuple[float, float, float], options) -> Iterator:
    """Yield differences of an expected value of 0 and a variance of 1, of effects in a mixture."""
    chance = np.random.default_rng([seeds, patients])
    by_seed, both, shared = parts
    shares = np.full(patients, 1 / patients)
    draws = chance.multinomial(patients, shares, size=options.bootstrap_replicates) / patients
    for _ in range(options.repetitions):
        # heavy tails, as a few patients have most of the images
        common = math.sqrt(shared * patients / 2) * chance.standard_t(4, patients)
        single = math.sqrt(both * patients * seeds / 2) * chance.standard_t(4, (seeds, patients))
        moved = math.sqrt(by_seed * seeds) * chance.standard_normal((seeds, 1))
        effect = common + single
        yield difference(
            effect.mean(axis=1) + moved[:, 0], effect @ draws.T + moved, Carriers.of(patients)
        )


def few_positives(seeds: int, positives: int, own: float, options) -> Iterator:
    """Yield differences of the AUROC of two weighters that are alike.

    Each weighter moves a patient's score in all seeds alike (SD 1), and in each seed (SD `own`).
    """
    chance = np.random.default_rng([seeds, positives])
    everyone = positives + NEGATIVES
    for _ in range(options.repetitions):
        counts = chance.multinomial(
            everyone, np.full(everyone, 1 / everyone), size=options.bootstrap_replicates
        )
        counts = np.concatenate([np.ones((1, everyone)), counts])
        counts = counts[counts[:, :positives].sum(axis=1) > 0]
        scores = chance.standard_normal((2, 1, everyone))
        scores = scores + own * chance.standard_normal((2, seeds, everyone))
        scores[..., :positives] += 1.5
        above = scores[..., :positives, None] > scores[..., None, positives:]  # (2, S, P, N)
        gain = above[0].astype(float) - above[1]
        with_finding, without = counts[:, :positives], counts[:, positives:]
        sums = np.einsum("bp,spn,bn->sb", with_finding, gain, without, optimize=True)
        found = sums / (with_finding.sum(axis=1) * without.sum(axis=1))
        yield difference(found[:, 0], found[:, 1:], Carriers.of(positives))


def rare_findings(seeds: int, findings: int, positives: int, options) -> Iterator:
    """Yield differences of a macro AUROC over findings of few positive patients each."""
    chance = np.random.default_rng([seeds, findings, positives])
    everyone = positives + NEGATIVES
    carriers = combined_carriers(np.full(findings, float(positives)))
    for _ in range(options.repetitions):
        draws = chance.multinomial(
            everyone, np.full(everyone, 1 / everyone), size=options.bootstrap_replicates
        )
        counts = np.concatenate([np.ones((1, everyone)), draws])  # (B, patients)
        tables = []
        for _ in range(findings):
            order = chance.permutation(everyone)
            have, lack = order[:positives], order[positives:]
            scores = chance.standard_normal((2, 1, everyone))
            scores = scores + 0.3 * chance.standard_normal((2, seeds, everyone))
            scores[..., have] += 1.5
            above = scores[..., have, None] > scores[..., None, lack]  # (2, S, P, N)
            gain = above[0].astype(float) - above[1]
            ours, others = counts[:, have], counts[:, lack]
            sums = np.einsum("bp,spn,bn->sb", ours, gain, others, optimize=True)
            number = ours.sum(axis=1) * others.sum(axis=1)
            tables.append(np.where(number > 0, sums / np.maximum(number, 1), np.nan))
        found = mean_of_defined(np.stack(tables, axis=-1))
        yield difference(found[:, 0], found[:, 1:], carriers)


def by_satterthwaite(one: Difference) -> float:
    """Return the critical value by Satterthwaite's degrees of freedom."""
    own, shared = one.seed_variance / one.seeds, one.patient_variance
    shares = own**2 / (one.seeds - 1) + shared**2 / (one.seeds * (one.seeds - 1))
    return float(stats.t.ppf(1 - LEVEL / 2, (own + shared) ** 2 / shares))


def rates(found: Iterator, error: float | None = 1.0) -> dict[str, float]:
    """Return the shares of differences that are found, and that are called equivalent.

    error: the true standard error, with which a difference is added; None adds none.
    """
    ours, theirs, shifted = [], [], []
    for one in found:
        if one.standard_error is None:
            ours.append((False, False, False))
            theirs.append((False, False))
            continue
        low, high = one.interval()
        half, old = (high - low) / 2, by_satterthwaite(one) * one.standard_error
        moved = one.estimate + KNOWN * (error or 0.0)
        ours.append((abs(one.estimate) > half, abs(moved) > half, False))
        theirs.append((abs(one.estimate) > old, abs(moved) > old))
        if error:
            margin = 4 * error  # wide enough that equivalence can be shown at all
            at_margin = Difference(**{**vars(one), "estimate": one.estimate + margin})
            shifted.append(at_margin.p_equivalence(margin) < LEVEL)
    (size, power, _), (old_size, old_power) = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    equivalent = float(np.mean(shifted)) if shifted else math.nan
    return {
        "size": size,
        "power": power,
        "equivalent": equivalent,
        "size before": old_size,
        "power before": old_power,
    }


def measured(path: Path) -> tuple[int, dict[str, tuple[float, float, float]]]:
    """Return the patients of a comparison, and each weighter's shares of variance, three seeds."""
    results = json.loads(path.read_text())
    patients = results["data"]["test_patients"]
    found = {}
    for label, entry in results["weighters"].items():
        row = (entry["differences"] or {}).get("macro_auroc")
        if row and row["seed_variance"]:
            by_seed = max(row["seed_variance"] - row["interaction_variance"], 0.0) / 3
            parts = np.array([by_seed, row["interaction_variance"] / 3, row["patient_variance"]])
            found[label] = tuple((parts / parts.sum()).tolist())
    return patients, found


def simulate(options: argparse.Namespace) -> None:
    cases = [(name, 60, parts) for name, parts in MIXTURES.items()]
    few = ("patients 50 %", "patients 90 %", "patients alone")
    cases += [(name, 10, MIXTURES[name]) for name in few]
    if options.results:
        patients, found = measured(options.results)
        cases += [(label, patients, parts) for label, parts in found.items()]
    print(f"Of {options.repetitions:,} repetitions, at {LEVEL:.0%}; in brackets by Satterthwaite:")
    print("| variance | patients | seeds | size | power | equivalent at the margin |")
    print("|---|---|---|---|---|---|")
    for name, patients, parts in cases:
        for seeds in SEEDS:
            show(name, patients, seeds, rates(mixed(seeds, patients, parts, options)))
    for positives, own in ((10, 0.2), (20, 0.5)):
        for seeds in SEEDS:
            found = rates(few_positives(seeds, positives, own, options), None)
            show(
                f"AUROC, {positives} positives, {own} by seed", positives + NEGATIVES, seeds, found
            )
    for positives in (10, 20):
        for seeds in (3, 10):
            found = rates(rare_findings(seeds, 14, positives, options), None)
            show(f"macro AUROC, 14 of {positives} positives", positives + NEGATIVES, seeds, found)


def show(name: str, patients: int, seeds: int, found: dict[str, float]) -> None:
    size = f"{found['size']:.1%} ({found['size before']:.1%})"
    power = equivalent = "–"
    if not math.isnan(found["equivalent"]):
        power = f"{found['power']:.0%} ({found['power before']:.0%})"
        equivalent = f"{found['equivalent']:.1%}"
    print(f"| {name} | {patients} | {seeds} | {size} | {power} | {equivalent} |", flush=True)


def twins(folder: Path) -> None:
    """Print how many comparisons of three seeds each find a difference between the twins."""
    config = tomllib.loads((folder / "config.toml").read_text())
    dataset = open_datasets(config["data"])
    arms = parse_arms(config["weighters"])
    rows = dataset.rows("test")
    draws = resample_patients(dataset.columns["patient_id"][rows], 1000, 0)
    values, replicates = [], []
    for arm in arms:
        tables = [
            Predictions(
                dataset.findings,
                np.load(folder / "runs" / arm.folder / f"seed-{seed}" / "test.npz")[
                    "probabilities"
                ],
                dataset.labels[rows],
                dataset.known[rows],
                dataset.columns["patient_id"][rows],
            )
            for seed in range(config["seeds"])
        ]
        values.append(mean_of_defined(np.stack([per_finding("auroc", t) for t in tables])))
        replicates.append(np.stack([mean_of_defined(resampled("auroc", t, draws)) for t in tables]))
    mine, by_replicate = values[1] - values[0], replicates[1] - replicates[0]
    groups = [slice(first, first + 3) for first in range(0, len(mine) - 2, 3)]
    found = [difference(mine[group], by_replicate[group]).p_value() for group in groups]
    rejected_ones = sum(p is not None and p < LEVEL for p in found)
    print(f"{rejected_ones} of {len(groups)} comparisons of three seeds found a difference")
    print(f"deviation of a seed's difference: {mine.std(ddof=1):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="results.json of a real comparison")
    parser.add_argument("--twins", type=Path, help="folder of a comparison of equal and its twin")
    parser.add_argument("--repetitions", type=int, default=10_000)
    parser.add_argument("--bootstrap-replicates", type=int, default=200)
    options = parser.parse_args()
    if options.twins:
        twins(options.twins)
    else:
        simulate(options)


if __name__ == "__main__":
    main()
