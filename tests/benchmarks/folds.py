"""What it costs to rank the images of all folds together, instead of within each fold.

Simulated: the scores of each fold's model are moved by an offset of its own, in standard deviations
of the scores of images without the finding. Real: a finished comparison with --folds, pooled and
within folds.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import norm

from deepchest_cli.comparison.running.jobs import arm_jobs, parse_arms
from deepchest_cli.comparison.running.run import merge_predictions
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import mean_of_defined
from deepchest_cli.training.resume import saved_config

FOLDS, IMAGES, PREVALENCE = 5, 1600, 0.1
METRICS = ("auroc", "average_precision")


def values(metric: str, table: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return a metric of each finding (T,), pooled and within folds."""
    sample = resample_patients(table.patient_id, 1, 0).sample
    pooled, within = (
        resampled(metric, one, sample)[0] for one in (replace(table, fold=None), table)
    )
    return pooled, within


def simulated(metric: str, auroc: float, offset: float, repetitions: int) -> str:
    """Return the mean of a metric over data sets with its standard error, pooled and within folds.

    auroc: the true one of each fold's model, by normal scores.
    """
    chance, found = np.random.default_rng(0), []
    separation = np.sqrt(2) * norm.ppf(auroc)
    for _ in range(repetitions):
        labels = (chance.random((IMAGES, 1)) < PREVALENCE).astype(np.uint8)
        fold = np.arange(IMAGES) % FOLDS
        moved = offset * chance.normal(size=FOLDS)[fold, None]
        scores = norm.cdf(chance.normal(size=labels.shape) + separation * labels + moved)
        table = Predictions(("a",), scores, labels, np.ones_like(labels), np.arange(IMAGES), fold)
        found.append([one[0] for one in values(metric, table)])
    (pooled, within), errors = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(repetitions)
    return f"pooled {pooled:.4f} ± {errors[0]:.4f}, within folds {within:.4f} ± {errors[1]:.4f}"


def real(folder: Path) -> None:
    """Print the macro metrics of each weighter and seed of a comparison."""
    config = saved_config(folder, CompareConfig)
    dataset, arms = open_dataset(Path(config.data[0])), parse_arms(config.weighters)
    jobs = arm_jobs(config, arms, folder, {})
    for metric in METRICS:
        rows = {}
        for arm in arms:
            for seed in config.seed_numbers:
                own = [job for job in jobs if job.arm == arm and job.config.seed == seed]
                pair = values(metric, merge_predictions(own, dataset))
                rows[arm.label, seed] = [float(mean_of_defined(one)) for one in pair]
        for (label, seed), (pooled, within) in rows.items():
            print(f"macro {metric}, {label}, seed {seed}: pooled {pooled:.4f}, within {within:.4f}")
        for arm in arms[1:]:
            differences = np.array(
                [
                    np.subtract(rows[arm.label, seed], rows[arms[0].label, seed])
                    for seed in config.seed_numbers
                ]
            )
            for name, column in zip(("pooled", "within"), differences.T, strict=True):
                seeds = ", ".join(f"{one:+.4f}" for one in column)
                print(f"{arm.label} - equal, {name}: {column.mean():+.4f} ({seeds})")


def main() -> None:
    """Print the metrics for several offsets, and the metrics of a comparison if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", type=Path, help="a finished comparison with --folds")
    parser.add_argument("--repetitions", type=int, default=2000, help="data sets")
    options = parser.parse_args()
    if options.comparison:
        real(options.comparison)
        return
    for metric in METRICS:
        for auroc in (0.5, 0.65, 0.75, 0.9):
            for offset in (0.0, 0.2, 0.3):
                found = simulated(metric, auroc, offset, options.repetitions)
                print(f"{metric}, true AUROC {auroc}, offsets {offset}: {found}", flush=True)


if __name__ == "__main__":
    main()
