from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from deepchest_cli.comparison.running import run, runner
from deepchest_cli.comparison.running.jobs import (
    arm_jobs,
    parse_arms,
    single_task_jobs,
    tuning_jobs,
)
from deepchest_cli.comparison.running.records import (
    PREDICTIONS,
    RECORD,
    RunRecord,
    final_record,
)
from deepchest_cli.comparison.running.run import merge_predictions
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.engines.local import InProcess
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_json
from deepchest_cli.training.progress import Observer


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


CONFIG = CompareConfig(weighters="dwa", seeds=1, folds=3)


def test_runs_of_one_partition_for_all_seeds_are_not_mixed_with_new_ones(dataset, tmp_path):
    """Those of earlier versions: their settings name no partition."""
    job = arm_jobs(CONFIG, parse_arms("dwa"), tmp_path, {})[0]
    job.folder.mkdir(parents=True)
    record = RunRecord("finished", dataset.sha256, 1e-3, job.settings)
    write_json(job.folder / RECORD, asdict(record))
    assert final_record(job, dataset) == record
    before = replace(record, settings=replace(job, fold=None).settings)
    write_json(job.folder / RECORD, asdict(before))
    with pytest.raises(UsageError, match="another partition into folds than this comparison"):
        final_record(job, dataset)


def test_a_worker_refuses_other_data_than_the_comparison_has(dataset, tmp_path):
    job = arm_jobs(CONFIG, parse_arms("dwa"), tmp_path, {})[0]
    folders = tuple(str(member.folder) for member in dataset.members)
    with pytest.raises(UsageError, match="have changed since the comparison began"):
        runner._complete_elsewhere((job, folders, "0" * 64), None, lambda share: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("single_task", [False, True])
def test_merged_predictions_know_the_fold_of_each_image(dataset, tmp_path, single_task):
    if single_task:
        jobs = single_task_jobs(CONFIG, dataset.findings, tmp_path, {})
    else:
        jobs = arm_jobs(CONFIG, parse_arms("dwa")[:1], tmp_path, {})
    for job in jobs:
        job.folder.mkdir(parents=True)
        view = job.view(dataset)
        rows = view.rows("test")
        table = np.full((len(rows), len(view.findings)), job.fold_number / 10)
        np.savez(job.folder / PREDICTIONS, rows=rows, probabilities=table)
    merged = merge_predictions(jobs, dataset)
    assert len(merged.fold) == len(dataset.labels)
    np.testing.assert_allclose(merged.probabilities, np.tile(merged.fold[:, None] / 10, (1, 14)))
    patients = [set(merged.patient_id[merged.fold == fold]) for fold in (1, 2, 3)]
    assert all(patients) and len(set.union(*patients)) == sum(map(len, patients))


def test_a_run_that_has_finished_by_now_stays_in_its_place(dataset, tmp_path, monkeypatch):
    job = arm_jobs(CONFIG, parse_arms("dwa"), tmp_path, {})[0]
    job.folder.mkdir(parents=True)
    (job.folder / PREDICTIONS).touch()
    record = RunRecord("finished", dataset.sha256, 1e-3, job.settings)
    write_json(job.folder / RECORD, asdict(record))
    looks = iter([None])  # the first one, of a process that was a moment too early
    monkeypatch.setattr(run, "final_record", lambda *one: next(looks, record))
    monkeypatch.setattr(run, "reopen", None)
    assert run.complete_job(job, dataset, Observer()) == record


def test_no_run_has_the_key_of_one_that_has_chosen_a_learning_rate(dataset, tmp_path, monkeypatch):
    """What that one has reported would count as done, and as got further at a kill."""
    config, arms, keys = replace(CONFIG, folds=None), parse_arms("dwa"), []

    def drive(tasks, *more):
        keys.extend(task.key for task in tasks)
        yield from ()

    monkeypatch.setattr(runner, "drive", drive)
    alone = single_task_jobs(config, dataset.findings, tmp_path, {})
    compared = [*arm_jobs(config, arms, tmp_path, {}), *alone]
    for jobs in (tuning_jobs(config, arms, tmp_path), compared):
        runner.train_all(jobs, dataset, "cpu", InProcess("cpu"), SimpleNamespace(on_warning=None))
    assert len(set(keys)) == len(keys) == 6 + 2 + 14
