"""How long an evaluation of NIH's official test part takes, and how well its intervals cover.

Scores are made up for the real list of 25,596 images and the complete metadata, so that their
figures mean nothing. DEEPCHEST_TEST_DATA names the folder that holds `nih-224/test_list.txt` and
`metadata/Data_Entry_2017_v2020.csv.gz`.
"""

import argparse
import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.intervals import auroc_interval
from deepchest_cli.evaluation.predictions import Predictions

SIGNAL = 1.1  # deviations between images with and without a finding
OWN, SHARED = 0.6, 0.8  # deviations of images and of patients


def made_up(folder: Path) -> tuple[Path, Path]:
    """Write scores for the official test list and a validation part; return them and the labels."""
    root = Path(os.environ["DEEPCHEST_TEST_DATA"])
    labels = folder / "Data_Entry_2017_v2020.csv"
    packed = root / "metadata" / "Data_Entry_2017_v2020.csv.gz"
    labels.write_bytes(gzip.decompress(packed.read_bytes()))
    table = pd.read_csv(labels)
    test = set((root / "nih-224" / "test_list.txt").read_text().split())
    part = np.where(table["Image Index"].isin(test), "test", "train")
    part[(part == "train") & (table["Patient ID"] % 10 == 0)] = "validation"
    table, part = table[part != "train"].reset_index(drop=True), part[part != "train"]
    chance = np.random.default_rng(0)
    found = table["Finding Labels"].str.split("|")
    patients, owner = np.unique(table["Patient ID"], return_inverse=True)
    columns = {"Image Index": table["Image Index"], "split": part}
    for name in sorted(FINDINGS):
        ill = np.array([name in names for names in found])
        effect = SHARED * chance.normal(size=len(patients))[owner]
        logit = SIGNAL * ill + effect + OWN * chance.normal(size=len(table))
        prevalence = max(ill.mean(), 1e-3)
        columns[name] = 1 / (1 + np.exp(-(logit + np.log(prevalence / (1 - prevalence)))))
    scores = folder / "scores.csv"
    pd.DataFrame(columns).sample(frac=1, random_state=0).to_csv(scores, index=False)
    return scores, labels


def time_bootstrap(replicates: int) -> None:
    """Print the seconds of a metric's replicates, and the memory that they add."""
    chance = np.random.default_rng(0)
    images, patients = 25_596, 2_797
    labels = (chance.random((images, 14)) < np.linspace(0.003, 0.24, 14)).astype(np.uint8)
    owner = chance.integers(0, patients, images)
    scores = 1 / (1 + np.exp(-chance.normal(labels * SIGNAL - 3, 1)))
    table = Predictions(FINDINGS, scores, labels, np.ones_like(labels), owner)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for metric in ("auroc", "average_precision"):
        start = time.perf_counter()
        resampled(metric, table, resample_patients(owner, replicates, seed=0))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{metric}: {replicates:,} replicates, 14 findings, {images:,} images: {seconds:.2f} s,"
            f" peak {peak / 1e6:.2f} GB, of which the replicates {(peak - before) / 1e6:.2f} GB"
        )


def time_evaluation(folder: Path) -> None:
    """Print the seconds of the whole command, and its peak memory."""
    scores, labels = made_up(folder)
    words = [sys.executable, "-m", "deepchest_cli", "evaluate", "--predictions", str(scores)]
    words += ["--labels", str(labels), "--report", str(folder / "report")]
    start = time.perf_counter()
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"deepchest evaluate --predictions ... --report: {seconds:.1f} s, peak {peak:.2f} GB")
    print(done.stdout)


def covered(sizes: np.ndarray, repetitions: int, by_patient: bool) -> float:
    """Return how often the interval holds the true AUROC; sizes: images of each patient."""
    chance, held = np.random.default_rng(1), 0
    owner = np.repeat(np.arange(len(sizes)), sizes)
    truth = norm.cdf(SIGNAL / np.sqrt(2 * (SHARED**2 + OWN**2)))
    for _ in range(repetitions):
        # patients come anew, with the images that such patients have
        owner = np.repeat(np.arange(len(sizes)), chance.permutation(sizes))
        ill = (chance.random(len(sizes)) < 0.1)[owner].astype(np.uint8)
        effect = SHARED * chance.normal(size=len(sizes))[owner]
        logit = SIGNAL * ill + effect + OWN * chance.normal(size=len(owner))
        groups = owner if by_patient else np.arange(len(owner))
        low, high = auroc_interval(ill, logit, groups)
        held += low <= truth <= high
    return held / repetitions


def coverage(repetitions: int) -> None:
    """Print the coverage for the images a patient of the official test part, and for even ones."""
    chance = np.random.default_rng(0)
    root = Path(os.environ["DEEPCHEST_TEST_DATA"])
    test = (root / "nih-224" / "test_list.txt").read_text().split()
    official = np.unique([name[:8] for name in test], return_counts=True)[1]
    cases = {
        "official test part": official,
        "300 patients, about 5 images": chance.geometric(0.2, 300),
    }
    print("| patients | 95 % intervals by patients cover | by images |\n|---|---|---|")
    for name, sizes in cases.items():
        # by images every image is a cluster of its own, which is far off
        by = [covered(sizes, repetitions, True), covered(sizes, repetitions, False)]
        counts = f"{len(sizes):,}, {sizes.sum():,} images"
        print(f"| {name} ({counts}) | {by[0]:.1%} | {by[1]:.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-replicates", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=400, help="of the coverage; 0: none")
    parser.add_argument("--keep", type=Path, help="folder for the scores and the report")
    options = parser.parse_args()
    time_bootstrap(options.bootstrap_replicates)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        time_evaluation(folder)
    if options.repetitions:
        coverage(options.repetitions)


if __name__ == "__main__":
    main()
