"""The records of the study: a compact file for each seed, in and out of a comparison's folder.

`pack` writes a record for each seed of a comparison whose runs have all finished; records that are
there stay. `restore` makes a comparison's folder of the records, which `compare-weighters --resume`
takes as finished; it measures the costs anew. `read` is for the report, which needs nothing but
the records.

A record has, of each arm: the rank of each radiograph among those of its fold (which gives AUROC
and average precision exactly), its probability in half precision (on its own side of 0.5, so that
accuracy and F1 are exact; the loss is not), and the weights and training accuracies of each epoch;
and once, labels and folds, and as JSON how each run ended, in which environment, and the processor
and commit where the record was packed.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from study_sample import RECORDS

from deepchest_cli.comparison.running.comparison import begun_jobs
from deepchest_cli.comparison.running.folder import extended_config
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import (
    PREDICTIONS,
    RECORD,
    RunRecord,
    read_record,
)
from deepchest_cli.comparison.running.run import merge_predictions, tested_rows
from deepchest_cli.comparison.running.shared_starts import verify_shared_starts
from deepchest_cli.config import CompareConfig
from deepchest_cli.config.flags import RUN_CONFIG
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.fold_predictions import save_probabilities
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.files import atomic_write, read_toml_file, to_csv, write_text
from deepchest_cli.training.plots import read_columns
from deepchest_cli.training.resume import saved_config
from deepchest_cli.training.run_files import ENVIRONMENT, METRICS, WEIGHTS

PLACES = ("data", "weights", "out")  # where files were, which is of no interest
# between probabilities of one value in half precision and different ranks: 65,536 of them are less
# than two values in half precision are apart
TIE_BREAK = 2.0**-41
# what rounds to 0 and 1 in half precision is at most, and at least, this
NEXT_TO_0, NEXT_TO_1 = 2.0**-26, 1 - 2.0**-12


@dataclass(frozen=True)
class SeedRecord:
    """What one seed has found: N radiographs, T findings, A arms, K folds, E epochs."""

    seed: int
    findings: tuple[str, ...]
    arms: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, T)
    patient: NDArray[np.uint16]  # (N,), numbered
    fold: NDArray[np.uint8]  # (N,), from 1
    ranks: NDArray[np.uint16]  # (A, N, T), within a fold, from 1; the same for equal probabilities
    half: NDArray[np.float16]  # (A, N, T), probabilities
    weights: NDArray[np.float32]  # (A, K, E, T)
    accuracy: NDArray[np.float32]  # (A, K, E, T), in training
    about: dict[str, Any]  # runs, environment and configuration

    def probabilities(self, arm: str) -> NDArray[np.float64]:
        """Return the probabilities (N, T) of an arm, in the exact order of each fold."""
        number = self.arms.index(arm)
        half = np.clip(self.half[number].astype(float), NEXT_TO_0, NEXT_TO_1)
        return half + TIE_BREAK * self.ranks[number]

    def predictions(self, arm: str) -> Predictions:
        """Return the table of an arm, each fold ranked by itself."""
        known = np.ones_like(self.labels)
        return Predictions(
            self.findings, self.probabilities(arm), self.labels, known, self.patient, self.fold
        )


def ranks_within(table: NDArray[np.float64], fold: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return the ranks (N, T) of probabilities among those of the same fold, from 1."""
    ranks = np.zeros(table.shape, dtype=np.uint16)
    for one in np.unique(fold):
        ranks[fold == one] = rankdata(table[fold == one], method="dense", axis=0)
    return ranks


def to_half(table: NDArray[np.float64]) -> NDArray[np.float16]:
    """Return probabilities in half precision, each on its own side of 0.5: above it, or not."""
    half = table.astype(np.float16)
    below = np.nextafter(np.float16(0.5), np.float16(0))
    return np.where((table <= 0.5) & (half >= 0.5), below, half)


def write(record: SeedRecord, folder: Path = RECORDS) -> Path:
    """Write a record, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{record.seed:03d}.npz"
    arrays = {name: value for name, value in vars(record).items() if isinstance(value, np.ndarray)}
    arrays["labels"] = np.packbits(record.labels, axis=1)
    kept = {name: value for name, value in vars(record).items() if name not in arrays}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, rest=np.array(json.dumps(kept)))
    return path


def read(path: Path) -> SeedRecord:
    """Return a record as it was written."""
    with np.load(path) as content:
        rest = json.loads(str(content["rest"]))
        arrays = {name: content[name] for name in content.files if name != "rest"}
    rest["findings"], rest["arms"] = tuple(rest["findings"]), tuple(rest["arms"])
    arrays["labels"] = np.unpackbits(arrays["labels"], axis=1)[:, : len(rest["findings"])]
    return SeedRecord(**arrays, **rest)


def read_all(folder: Path = RECORDS) -> list[SeedRecord]:
    """Return all records, by seed. Exits where there are none, or they are of several studies."""
    records = [read(path) for path in sorted(folder.glob("seed-*.npz"))]
    if not records:
        raise SystemExit(f"There are no records of seeds (seed-000.npz) in {folder}.")
    for one in records[1:]:
        if not _is_of_one_study(one, records[0]):
            first = f"seed {records[0].seed}"
            raise SystemExit(f"{folder}: seed {one.seed} has other data or arms than {first}.")
    return records


def _is_of_one_study(one: SeedRecord, other: SeedRecord) -> bool:
    same = (one.findings, one.arms, one.about.get("data_sha256"))
    return same == (other.findings, other.arms, other.about.get("data_sha256")) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("labels", "patient")
    )


def missing_seeds(records: Sequence[SeedRecord]) -> list[int]:
    """Return the seeds that were planned, by the latest plan, and have no record."""
    plans = [record.about["config"] for record in records]
    first = plans[0]["first_seed"]
    planned = range(first, first + max(plan["seeds"] for plan in plans))
    return sorted(set(planned) - {record.seed for record in records})


def begun(folder: Path) -> tuple[CompareConfig, list[Job], RadiographDataset]:
    """Return a comparison that was begun: configuration, jobs and data."""
    saved = saved_config(folder, CompareConfig)
    config = extended_config(CompareConfig(**{**vars(saved), "resume": folder}))
    jobs, dataset = begun_jobs(config)
    return config, [job for job in jobs.compared({}) if job.finding is None], dataset


def pack(folder: Path, records: Path) -> Iterator[str]:
    """Write the records of the seeds that are complete and have none yet.

    Yields what was written, and why a seed was not. Exits for records of another study, and for a
    comparison that records cannot hold.
    """
    config, jobs, dataset = begun(folder)
    for seed in config.seed_numbers:
        path = records / f"seed-{seed:03d}.npz"
        if path.exists():
            if read(path).about["data_sha256"] != config.data_sha256:
                raise SystemExit(f"{path} is of other data. Name another folder with --records.")
            continue
        own = [job for job in jobs if job.config.seed == seed]
        ended = [job for job in own if read_record(job.folder) is not None]
        without = [job for job in ended if not (job.folder / PREDICTIONS).is_file()]
        if len(ended) < len(own):
            left = count_of(len(own) - len(ended), "run has", "runs have")
            yield f"seed {seed} is left out: {left} not ended"
        elif without:
            yield f"seed {seed} is left out: {without[0].name} ended without predictions"
        else:
            yield str(write(_record(config, seed, own, dataset, folder), records))


def _record(
    config: CompareConfig, seed: int, jobs: list[Job], dataset: RadiographDataset, folder: Path
) -> SeedRecord:
    ended = [(job, job_record(job)) for job in jobs]
    verify_shared_starts(ended)
    if len({record.epochs for _, record in ended}) > 1:
        raise SystemExit(f"Seed {seed}: runs of different numbers of epochs have no record.")
    arms = {job.arm.label: [one for one in jobs if one.arm == job.arm] for job in jobs}
    tables = [merge_predictions(own, dataset) for own in arms.values()]
    first = tables[0]
    if not first.known.all():
        raise SystemExit("Records have no unknown labels, which these data have.")
    if len(first.labels) > np.iinfo(np.uint16).max:
        raise SystemExit(f"{len(first.labels):,} radiographs are more than records can rank.")
    fold = np.ones(len(first.labels), dtype=np.int64) if first.fold is None else first.fold
    traces = [
        [_traces(job, dataset.findings) for job in sorted(own, key=lambda one: one.fold or (0, 0))]
        for own in arms.values()
    ]
    probabilities = np.stack([table.probabilities for table in tables])
    return SeedRecord(
        seed=seed,
        findings=dataset.findings,
        arms=tuple(arms),
        labels=first.labels.astype(np.uint8),
        patient=np.unique(first.patient_id, return_inverse=True)[1].astype(np.uint16),
        fold=fold.astype(np.uint8),
        ranks=np.stack([ranks_within(table, fold) for table in probabilities]),
        half=to_half(probabilities),
        weights=np.array([[one[0] for one in own] for own in traces], dtype=np.float32),
        accuracy=np.array([[one[1] for one in own] for own in traces], dtype=np.float32),
        about={
            "config": {
                name: value
                for name, value in read_toml_file(folder / RUN_CONFIG, "configuration").items()
                if name not in PLACES
            },
            "environment": json.loads((folder / ENVIRONMENT).read_text()),
            "processor": processor(),
            "commit": commit(),
            "data_sha256": config.data_sha256,
            "runs": {_name(job, folder): asdict(record) for job, record in ended},
        },
    )


def _name(job: Job, folder: Path) -> str:
    return job.folder.relative_to(folder).as_posix()


def job_record(job: Job) -> RunRecord:
    """Return how a run ended that has."""
    record = read_record(job.folder)
    assert record is not None
    return record


def _traces(job: Job, findings: tuple[str, ...]) -> tuple[Any, Any]:
    """Return weights and training accuracies (E, T) of a run."""
    weights, metrics = read_columns(job.folder / WEIGHTS), read_columns(job.folder / METRICS)
    accuracy = np.stack([metrics[f"training_accuracy/{name}"] for name in findings], axis=1)
    if not weights:
        return np.ones_like(accuracy), accuracy
    return np.stack([weights[name] for name in findings], axis=1), accuracy


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((one.partition(": ")[2] for one in lines if one.startswith("model name")), "")


def commit() -> str:
    """Return the commit of the program; empty where it is not in a repository."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def restore(folder: Path, records: list[SeedRecord]) -> None:
    """Make the folder of a comparison whose runs have the results of the records.

    It is begun by the command that began the study, with `--plan`, in the environment of the
    records. Runs that have ended, and seeds without a record, are left as they are.
    """
    _, jobs, dataset = begun(folder)
    by_seed = {record.seed: record for record in records}
    rows = tested_rows(dataset, jobs[0].fold[1] if jobs[0].fold else None)
    for job in jobs:
        record = by_seed.get(job.config.seed)
        if record is None or (job.folder / RECORD).exists():
            continue
        ended = record.about["runs"][_name(job, folder)]
        view = job.view(dataset)
        own = np.searchsorted(rows, view.rows("test"))
        job.folder.mkdir(parents=True, exist_ok=True)
        table = record.probabilities(job.arm.label)[own]
        save_probabilities(job.folder / PREDICTIONS, view, {"test": table})
        write_text(job.folder / WEIGHTS, _weights_file(record, job))
        write_text(job.folder / RECORD, json.dumps(ended))  # last: the run has then ended


def _weights_file(record: SeedRecord, job: Job) -> str:
    table = record.weights[record.arms.index(job.arm.label), (job.fold or (0, 0))[0]]
    rows = [
        {"epoch": epoch, **dict(zip(record.findings, map(float, row), strict=True))}
        for epoch, row in enumerate(table, 1)
    ]
    return to_csv(("epoch", *record.findings), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["pack", "restore"])
    parser.add_argument("comparison", type=Path, help="its folder")
    parser.add_argument("--records", type=Path, required=True, help="folder of the records")
    options = parser.parse_args(arguments)
    if options.action == "pack":
        for line in pack(options.comparison, options.records):
            print(line, flush=True)
    else:
        restore(options.comparison, read_all(options.records))


if __name__ == "__main__":
    main()
