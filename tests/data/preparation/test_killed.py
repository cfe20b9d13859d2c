"""A preparation that is killed at any moment, again and again, ends as an undisturbed one."""

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_layouts import pack_tar, pack_zip

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import (
    complete_job,
    plan_jobs,
    plan_preparation,
    planning,
    run_preparation,
)

CONFIG = PrepareConfig(size="64", workers=2, allow_missing=True)
KILLS = 20
JOBS = 4


def prepare(source: Path, folder: Path) -> None:
    planning.rows_per_shard = lambda size: 4
    run_preparation(plan_preparation(CONFIG, source), CONFIG, folder, lambda *_: None)


def complete(source: Path, folder: Path, number: int) -> None:
    planning.rows_per_shard = lambda size: 4
    complete_job(CONFIG, source, folder, number, lambda *_: None)


def plan(source: Path, folder: Path) -> None:
    planning.rows_per_shard = lambda size: 4
    config = replace(CONFIG, jobs=JOBS)
    found = plan_preparation(config, source)
    assert plan_jobs(found, config, folder, lambda *_: None, lambda _: None).jobs == JOBS


@pytest.fixture(params=["files", "zip", "tar.gz"])
def source(request, nih_folder):
    """A source of which some images are missing."""
    for path in sorted((nih_folder / "images").iterdir())[10:70:3]:
        path.unlink()
    {"files": lambda _: None, "zip": pack_zip, "tar.gz": pack_tar}[request.param](nih_folder)
    return nih_folder


Begin = Callable[..., multiprocessing.process.BaseProcess]


@pytest.fixture(scope="module")
def begin() -> Begin:
    """Begin a function in a process of its own."""
    # children of a server that has imported everything start at once
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "deepchest_cli.data.preparation"])

    def start(function: Callable[..., None], *arguments: object):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return start


def seconds_of(process: multiprocessing.process.BaseProcess) -> float:
    """Wait for a process, and return how long."""
    start = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def assert_equal_folders(one: Path, other: Path) -> None:
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_killed_at_random_moments(source, tmp_path, begin):
    seconds_of(begin(prepare, source, tmp_path / "undisturbed"))
    seconds = seconds_of(begin(prepare, source, tmp_path / "timed"))
    chance = random.Random(0)
    out = tmp_path / "out"
    for _ in range(KILLS):
        process = begin(prepare, source, out)
        process.join(chance.uniform(0, seconds))
        process.kill()
        process.join()
    seconds_of(begin(prepare, source, out))
    assert_equal_folders(out, tmp_path / "undisturbed")


def test_jobs_beside_each_other_killed_at_random_moments(source, tmp_path, begin):
    seconds_of(begin(prepare, source, tmp_path / "undisturbed"))
    out, chance = tmp_path / "out", random.Random(0)
    begin(plan, source, out).join()
    seconds = seconds_of(begin(complete, source, shutil.copytree(out, tmp_path / "timed"), 1))
    numbers = list(range(1, JOBS + 1))
    for _ in range(KILLS // JOBS):
        # the same job may run twice at a time, as where a batch system starts it again too early
        jobs = [
            begin(complete, source, out, number) for number in (*numbers, chance.choice(numbers))
        ]
        for process in chance.sample(jobs, len(jobs)):
            process.join(chance.uniform(0, seconds))
            process.kill()
        for process in jobs:
            process.join()
    jobs = [begin(complete, source, out, number) for number in numbers]
    for process in jobs:
        seconds_of(process)
    assert len(list(out.glob("preparation-job-*.json"))) == JOBS
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    seconds_of(begin(prepare, source, out))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_equal_folders(out, tmp_path / "undisturbed")
