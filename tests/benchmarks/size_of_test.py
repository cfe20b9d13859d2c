"""The rate at which the test of compare-weighters rejects a true null hypothesis.

Simulated: seeds and patients with effects of the sizes that a real comparison has found, each
weighter's in turn, and in mixtures. Real: equal weighting against its twin, whose weights differ by
one in ten thousand, from the same starts on the same batches, as a comparison of three seeds each.
"""

import argparse
import json
import tomllib
from pathlib import Path

import numpy as np

from deepchest_cli.comparison.running.jobs import parse_arms
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.metrics import per_finding
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import LEVEL, difference, mean_of_defined

MIXTURES = {  # deviations of one seed, of patients for all seeds, of patients for single seeds
    "seeds only": (1.0, 0.0, 0.0),
    "patients only": (0.0, 1.0, 0.0),
    "interaction only": (0.0, 0.0, 1.0),
    "hardest known": (0.0, 0.3, 1.0),
    "all alike": (1.0, 1.0, 1.0),
}


def rejected(seeds: int, patients: int, effects: tuple[float, float, float], options) -> float:
    """Return the share of repetitions without a difference in which one is found."""
    chance = np.random.default_rng(seeds)
    by_seed, shared, own = effects
    shares = np.full(patients, 1 / patients)
    draws = chance.multinomial(patients, shares, size=options.bootstrap_replicates) / patients
    found = 0
    for _ in range(options.repetitions):
        # heavy tails, as a few patients have most of the images
        common = shared * chance.standard_t(4, patients) / np.sqrt(2)
        single = own * chance.standard_t(4, (seeds, patients)) / np.sqrt(2)
        effect = common + single
        moved = by_seed / np.sqrt(patients) * chance.standard_normal((seeds, 1))
        one = difference((effect.mean(axis=1) + moved[:, 0]), effect @ draws.T + moved)
        p = one.p_value()
        found += p is not None and p < LEVEL
    return found / options.repetitions


def measured(path: Path) -> tuple[int, dict[str, tuple[float, float, float]]]:
    """Return the patients of a comparison, and each weighter's effects as it has found them."""
    results = json.loads(path.read_text())
    patients = results["data"]["test_patients"]
    found = {}
    for label, entry in results["weighters"].items():
        row = (entry["differences"] or {}).get("macro_auroc")
        if row and row["seed_variance"]:
            seeds = max(row["seed_variance"] - row["interaction_variance"], 0.0)
            parts = (seeds, row["patient_variance"], row["interaction_variance"])
            found[label] = tuple(float(np.sqrt(patients * part)) for part in parts)
    return patients, found


def simulate(options: argparse.Namespace) -> None:
    cases = [(name, 60, effects) for name, effects in MIXTURES.items()]
    if options.results:
        patients, found = measured(options.results)
        cases += [(label, patients, effects) for label, effects in found.items()]
    print(f"Rejected of {options.repetitions:,} repetitions, at {LEVEL:.0%}:")
    print("| effects | patients | 3 seeds | 5 seeds | 10 seeds |\n|---|---|---|---|---|")
    for name, patients, effects in cases:
        rates = [rejected(seeds, patients, effects, options) for seeds in (3, 5, 10)]
        print(f"| {name} | {patients} | " + " | ".join(f"{rate:.2%}" for rate in rates) + " |")


def twins(folder: Path) -> None:
    """Print how many comparisons of three seeds each find a difference between the twins."""
    config = tomllib.loads((folder / "config.toml").read_text())
    dataset = open_dataset(Path(config["data"]))
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
