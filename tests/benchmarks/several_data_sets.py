"""Two data sets trained on together against each alone: macro AUROC of each one's test split.

An epoch of both has each of their images once, so that as many epochs show a model the same images
of a data set as training on that one alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.model.checkpoint import load_model

REPLICATES = 1000
SITES = ("data/demo-shards", "data/site-2")


def train(out: Path, data: list[Path], seed: int, settings: list[str]) -> None:
    """Train a run, unless it is there."""
    if (out / "best.pt").is_file():
        return
    flags = [text for folder in data for text in ("--data", str(folder))]
    command = [sys.executable, "-m", "deepchest_cli", "train", *flags, "--out", str(out)]
    command += ["--seed", str(seed), "--patience", "0", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def scores(run: Path, data: Path) -> tuple[float, NDArray[np.float64]]:
    """Return a run's macro AUROC on a data set's test split, and that of bootstrap replicates."""
    model, dataset = load_model(run, torch.device("cpu")), open_dataset(data)
    rows = dataset.rows("test")
    reader = ImageReader(dataset, torch.device("cpu"))
    table = predict_rows(model.classifier, reader, rows, 64, findings=dataset.findings)
    # the same patients in every replicate of all runs
    drawn = resampled("auroc", table, resample_patients(table.patient_id, REPLICATES, seed=0))
    return macro(per_finding("auroc", table)), np.nanmean(drawn, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs=2, default=[Path(site) for site in SITES])
    parser.add_argument("--folder", type=Path, default=Path("runs/several-data-sets"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--weighter", default="deepchest")
    parser.add_argument("--backbone", default="resnet18")
    options = parser.parse_args()
    settings = ["--recipe", "quick", "--backbone", options.backbone, "--weighter", options.weighter]
    settings += ["--epochs", str(options.epochs)]
    found = {data: ([], []) for data in options.data}
    for seed in range(options.seeds):
        together = options.folder / f"both-{seed}"
        train(together, options.data, seed, settings)
        for data in options.data:
            alone = options.folder / f"{data.name}-{seed}"
            train(alone, [data], seed, settings)
            for runs, run in zip(found[data], (alone, together), strict=True):
                runs.append(scores(run, data))
                print(f"seed {seed}, {run.name} on {data.name}: {runs[-1][0]:.4f}", flush=True)
    print(f"{options.weighter}, {options.seeds} seeds, {options.epochs} epochs, {options.backbone}")
    for data, (alone_runs, both_runs) in found.items():
        values = np.array([[one[0] for one in runs] for runs in (alone_runs, both_runs)])
        drawn = np.array([[one[1] for one in runs] for runs in (alone_runs, both_runs)])
        by_seed = values[1] - values[0]
        of_patients = (drawn[1] - drawn[0]).mean(axis=0).std(ddof=1)
        of_seeds = by_seed.std(ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else np.nan
        # two components of variance: test patients, and seeds of training
        half = 1.96 * np.hypot(of_patients, of_seeds)
        print(
            f"{data.name}: alone {values[0].mean():.4f}, together {values[1].mean():.4f}, "
            f"difference {by_seed.mean():+.4f} ({by_seed.mean() - half:+.4f} to "
            f"{by_seed.mean() + half:+.4f})"
        )


if __name__ == "__main__":
    main()
