"""SIGKILL at random moments, on real radiographs: what is resumed ends as an undisturbed run.

Takes minutes: it is not among the tests of `tests/check.sh`. Run it with
`DEEPCHEST_TEST_DATA=... pytest tests/slow/test_real_kills.py -s`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from killing import assert_equal_comparisons, assert_equal_runs, same_results

DEEPCHEST = (sys.executable, "-m", "deepchest_cli")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LONGEST = 8.0  # seconds after the first file of an attempt until it is killed, at most


@pytest.fixture(scope="module")
def data(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "shards"
    source = ("--source", real_data / "nih-64", "--data", folder, "--size", "64")
    subprocess.run(
        [*DEEPCHEST, "prepare", *map(str, source), "--split-scheme", "random"], check=True
    )
    return folder


def start(arguments):
    return subprocess.Popen(
        [*DEEPCHEST, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def newest(folder):
    times = [0]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # it has been renamed meanwhile
            times.append(path.stat().st_mtime_ns)
    return max(times)


def killed_often(arguments, folder, kills, chance):
    """Start a command again and again, kill it at random moments, and let it end at last.

    Returns how often it was killed, and how much had been left half-written.
    """
    left = done = 0
    for _ in range(kills):
        process, before = start(arguments), newest(folder)
        while process.poll() is None and newest(folder) == before:
            time.sleep(0.02)
        # mostly soon: at the beginning more is written than later
        time.sleep(chance.uniform(0, LONGEST) ** 2 / LONGEST)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done += 1
        left += len(list(folder.rglob(".*.tmp*")))
    process = start(arguments)
    out, err = process.communicate()
    assert process.returncode == 0, err
    print(f"{folder.name}: killed {done} times, {left} files were half-written; {out.strip()}")
    assert not list(folder.rglob(".*"))
    return done


@pytest.mark.parametrize(
    ("backbone", "more"),
    [
        ("small_cnn", ("--epochs", 12, "--ema", 0.9, "--weighter", "uncertainty")),
        ("resnet18", ("--epochs", 3, "--weighter", "deepchest", "--optimizer", "sgd")),
    ],
)
def test_a_run_killed_at_random(data, tmp_path, backbone, more):
    line = ("train", "--data", data, "--backbone", backbone, *more, "--patience", 0)
    line = (*line, "--precision", "fp32", "--resume", "auto", "--out")
    subprocess.run([*DEEPCHEST, *map(str, (*line, tmp_path / "undisturbed"))], check=True)
    run, chance = tmp_path / "killed", random.Random(backbone)
    assert killed_often((*line, run), run, 20, chance) >= 5
    assert_equal_runs(run, tmp_path / "undisturbed")


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_a_comparison_killed_at_random(data, tmp_path, devices):
    line = ("compare-weighters", "--data", data, "--backbone", "small_cnn", "--epochs", 3)
    line = (*line, "--weighters", "deepchest,famo,dwa", "--seeds", 2, "--bootstrap-replicates", 100)
    line = (*line, "--devices", devices, "--precision", "fp32", "--resume", "auto", "--out")
    whole = tmp_path / "undisturbed"
    subprocess.run([*DEEPCHEST, *map(str, (*line, whole))], check=True, env=ENVIRONMENT)
    folder, chance = tmp_path / "killed", random.Random(devices)
    assert killed_often((*line, folder), folder, 20, chance) >= 5
    assert_equal_comparisons(folder, whole)
    ours, theirs = (json.loads((f / "results.json").read_text()) for f in (folder, whole))
    assert same_results(ours, theirs)
