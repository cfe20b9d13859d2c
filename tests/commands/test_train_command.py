import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests_support import untimed, valid

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

QUICK = ("--backbone", "small_cnn", "--batch-size", 16, "--learning-rate", 1e-3, "--epochs", 2)


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """The folder of a run with the flags QUICK; not to be changed."""
    settings = {"backbone": "small_cnn", "batch_size": 16, "learning_rate": 1e-3, "epochs": 2}
    config = TrainConfig(
        data=(str(shards),), out=tmp_path_factory.mktemp("runs") / "run", **settings
    )
    components = build_components(config)
    Trainer(components, create_run(components.config)).fit()
    return config.out


def test_results_on_stdout_and_one_plain_line_an_epoch_on_stderr(deepchest, shards, tmp_path):
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == str(tmp_path / "run")
    assert sum(line.startswith("epoch ") for line in outcome.err.splitlines()) == 2
    assert "\x1b" not in outcome.err


def test_json_and_quiet(deepchest, shards, tmp_path):
    arguments = ("--out", tmp_path / "run", *QUICK, "--json", "--quiet")
    outcome = deepchest("train", "--data", shards, *arguments)
    assert valid(json.loads(outcome.out), "train")["epochs"] == 2
    assert outcome.err == ""


def test_a_runs_own_configuration_repeats_it(deepchest, shards, tmp_path, finished):
    config = finished / "config.toml"
    repeated = deepchest("train", "--config", config, "--out", tmp_path / "again")
    assert repeated.code == 0, repeated.err
    assert untimed(tmp_path / "again" / "metrics.csv") == untimed(finished / "metrics.csv")


def test_weighter_options_arrive(deepchest, shards, tmp_path):
    options = ("--weighter-option", "decay=2", "--weighter-option", "raise-factor=1.3")
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK, *options)
    assert outcome.code == 0, outcome.err
    last = untimed(tmp_path / "run" / "weights.csv")[-1]
    assert {float(value) for key, value in last.items() if key != "epoch"} <= {1.3, 0.5}


def test_cuda_without_a_gpu_is_an_error(deepchest, shards, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = deepchest("train", "--data", shards, "--device", "cuda", "--weighter", "deepchest")
    assert outcome.code == 2
    assert "--device auto" in outcome.err


def test_resume_refuses_what_contradicts_the_run(deepchest, finished, tmp_path):
    contradiction = deepchest("train", "--resume", finished, "--batch-size", 8)
    assert contradiction.code == 2
    assert "--batch-size is 8" in contradiction.err
    equal_to_the_default = deepchest("train", "--resume", finished, "--batch-size", 32)
    assert "--batch-size is 32" in equal_to_the_default.err
    assert deepchest("train", "--resume", tmp_path).code == 2


def test_resume_refuses_changed_data(deepchest, finished, tmp_path, nih_folder):
    prepare = ("prepare", "--source", nih_folder, "--data", tmp_path / "other", "--size", 32)
    assert deepchest(*prepare, "--seed", 7).code == 0
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_bytes((finished / "last.pt").read_bytes())
    lines = (finished / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text(
        "\n".join([f'data = "{tmp_path / "other"}"', *(x for x in lines if x[:5] != "data ")])
    )
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "have changed" in outcome.err


def test_a_finished_run_resumes_to_its_summary(deepchest, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert "2 epochs" in outcome.out
    assert (run / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    assert {path.name for path in run.glob("*.png")} == {"metrics.png", "weights.png"}


def test_one_line_begins_a_run_goes_on_with_it_and_finds_it_finished(
    deepchest, shards, tmp_path, finished
):
    run = tmp_path / "run"
    run.mkdir()  # as a process leaves it that is killed as it begins
    (run / "environment.json").write_text("{}")
    line = ("train", "--data", shards, *QUICK, "--precision", "auto", "--recipe", "default")
    line = (*line, "--resume", "auto", "--out", run)
    begun = deepchest(*line)
    assert begun.code == 0, begun.err
    assert "Resumed" not in begun.err
    assert untimed(run / "metrics.csv") == untimed(finished / "metrics.csv")
    again = deepchest(*line)
    assert (again.code, again.out) == (0, begun.out)
    assert f"{run} has finished: nothing is left to train." in again.err
    assert deepchest("train", "--resume", "auto", "--out", run).out == begun.out
    for change in (("--epochs", 3), ("--recipe", "paper"), ("--data", tmp_path)):
        assert deepchest(*line[:1], *line[5:], *change).code == 2


def test_auto_needs_a_folder_that_is_its_own(deepchest, shards, finished, tmp_path):
    without = deepchest("train", "--resume", "auto")
    assert without.code == 2
    assert "--resume auto --out FOLDER" in without.err
    (tmp_path / "notes.txt").touch()
    strange = deepchest("train", "--data", shards, *QUICK, "--resume", "auto", "--out", tmp_path)
    assert strange.code == 2
    assert "holds other files (notes.txt)" in strange.err
    both = deepchest("train", "--resume", finished, "--out", tmp_path / "other")
    assert both.code == 2
    assert "--out names" in both.err


def test_data_that_moved_are_named_anew(deepchest, shards, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "config.toml").read_text().replace(str(shards), "data/mine")
    (run / "config.toml").write_text(text)
    lost = deepchest("train", "--resume", "run")
    assert lost.code == 2
    assert (
        f"data/mine is not a prepared data set: it has no manifest.json (the working directory "
        f"is {tmp_path})" in lost.err
    )
    assert "deepchest train --resume run --data FOLDER" in lost.err
    found = deepchest("train", "--resume", "run", "--data", shards)
    assert found.code == 0, found.err
    assert (run / "config.toml").read_bytes() == (finished / "config.toml").read_bytes()
    (run / "last.pt").unlink()  # with what the data could be compared
    assert deepchest("train", "--resume", "run", "--data", tmp_path).code == 2


def has_saved(run: Path, epochs: int) -> bool:
    """Whether a run has saved its state, before the first step or after the first epoch."""
    last, metrics = run / "last.pt", run / "metrics.csv"
    if epochs == 0:
        return last.exists()
    # the state is written last
    return metrics.exists() and last.stat().st_mtime_ns >= metrics.stat().st_mtime_ns


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(
    # a killed process has nothing but what it saved before
    ("number", "code", "epochs"),
    [(signal.SIGHUP, 129, 0), (signal.SIGKILL, -9, 1)],
)
def test_an_interrupted_process_goes_on(
    deepchest, shards, tmp_path, finished, monkeypatch, number, code, epochs
):
    run = tmp_path / "run"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "deepchest_cli", "train", "--data", shards, "--out", run]
    process = subprocess.Popen(
        [*map(str, command), *map(str, QUICK)], stderr=subprocess.PIPE, text=True
    )
    while not has_saved(run, epochs) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate()[1]
    assert process.returncode == code, error
    assert (f"deepchest train --resume {run}" in error) == (number != signal.SIGKILL)
    resumed = deepchest("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert re.search("Resumed after step [1-5]\\.", resumed.err), resumed.err
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(finished / table)


def test_a_run_that_lost_its_state_is_not_begun_anew(deepchest, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "last.pt").unlink()
    before = (run / "best.pt").read_bytes()
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "lost its last.pt" in outcome.err
    assert (run / "best.pt").read_bytes() == before


def test_a_state_of_another_model_is_refused(deepchest, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    text = (run / "config.toml").read_text().replace("small_cnn", "mobilenet_v2")
    (run / "config.toml").write_text(text)
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "holds another model" in outcome.err


def test_data_without_a_validation_part_are_refused(deepchest, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", 32)
    assert deepchest("prepare", *arguments, "--validation-fraction", 0).code == 0
    outcome = deepchest("train", "--data", tmp_path / "s", "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 2
    assert "no labeled validation split" in outcome.err
    assert "--validation-fraction 0.1" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_folder_called_latest_is_warned_of_and_the_run_goes_on(
    deepchest, shards, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("runs/latest").mkdir(parents=True)
    quick = ("--backbone", "small_cnn", "--max-steps", 2, "--quiet")
    outcome = deepchest("train", "--data", shards, *quick)
    assert outcome.code == 0
    run = outcome.out.splitlines()[0]
    assert outcome.err.startswith("Warning: runs/latest is a folder and not a link")
    assert f"--model {run}" in outcome.err
    evaluated = deepchest("evaluate", "--data", shards)
    assert evaluated.code == 2
    assert f"Name another run or checkpoint: --model {run}" in evaluated.err


def test_verbose_says_more_and_quiet_nothing(deepchest, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    plain, verbose, quiet = (
        deepchest("train", "--resume", run, *flags) for flags in ((), ("--verbose",), ("--quiet",))
    )
    assert plain.out == verbose.out == quiet.out != ""
    assert set(plain.err.splitlines()) < set(verbose.err.splitlines())
    assert "validation radiographs" in verbose.err
    assert plain.err
    assert quiet.err == ""
