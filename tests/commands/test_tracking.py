"""`train` and `compare-weighters` with --track: what reaches a tracker, and when."""

import json
import sys
import tomllib
from dataclasses import replace

import pytest
import trackers

from deepchest_cli.commands.compare_weighters import compare_weighters
from deepchest_cli.comparison.output import writing
from deepchest_cli.config import CompareConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.terminal import Terminal

SMALL = ("--backbone", "small_cnn", "--batch-size", "16", "--learning-rate", "1e-3")


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda folder, figures: dict.fromkeys(figures, b"<svg/>"))


@pytest.fixture
def memory(monkeypatch):
    return trackers.install(monkeypatch, "mlflow")


def record_of(memory, name):
    """Return the only record of a name."""
    records = memory.stores[memory.place_now].values()
    (found,) = [record for record in records if record["subject"].name == name]
    return found


def epochs_of(record):
    return [step for step, _ in record["metrics"]]


def test_a_run_is_logged_with_its_plots_and_goes_on_when_it_is_resumed(
    deepchest, shards, tmp_path, memory
):
    out = tmp_path / "run"
    flags = ("--data", shards, "--out", out, "--epochs", 2, *SMALL)
    done = deepchest("train", *flags, "--track", "mlflow", "--track", "mlflow")
    assert done.code == 0, done.err
    assert f"Memory: look at {out}\n" in done.err
    record = memory.only()
    assert epochs_of(record) == [1, 2]
    assert record["subject"].config["track"] == ["mlflow", "mlflow"]
    wanted = {"best.pt", "config.toml", "metrics.csv", "metrics.png", "weights.png"}
    assert wanted <= set(record["files"])
    again = deepchest("train", "--resume", out)
    assert again.code == 0, again.err
    assert "has finished: nothing is left to train" in again.err
    assert memory.only() is record
    assert epochs_of(record) == [1, 2]
    assert record["outcomes"] == ["finished"]


def test_a_tracker_that_is_added_later_gets_all_epochs(deepchest, shards, tmp_path, memory):
    out = tmp_path / "run"
    flags = ("--data", shards, "--out", out, "--epochs", 2, *SMALL)
    assert deepchest("train", *flags).code == 0
    assert not (out / "tracking.json").exists()
    assert not memory.stores
    assert deepchest("train", "--resume", out, "--track", "mlflow").code == 0
    assert epochs_of(memory.only()) == [1, 2]
    assert tomllib.loads((out / "config.toml").read_text())["track"] == ["mlflow"]


def test_folds_are_runs_of_a_group(deepchest, shards, tmp_path, memory):
    out = tmp_path / "run"
    flags = ("--data", shards, "--out", out, "--epochs", 1, "--folds", 2, *SMALL)
    assert deepchest("train", *flags).code == 0
    assert deepchest("train", "--resume", out, "--track", "mlflow").code == 0
    for number in (1, 2):
        record = record_of(memory, f"run, fold {number}")
        assert epochs_of(record) == [1]
        assert record["subject"].group.name == "run"
    done = deepchest("train", "--resume", out)
    assert done.code == 0, done.err
    assert len(memory.opened) == 2


@pytest.mark.parametrize(
    ("name", "package"),
    [("mlflow", "mlflow"), ("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")],
)
@pytest.mark.parametrize("command", ["train", "compare-weighters"])
def test_a_tracker_without_its_package_is_refused_before_anything_is_written(
    deepchest, shards, tmp_path, monkeypatch, command, name, package
):
    monkeypatch.setitem(sys.modules, package, None)
    flags = ("--data", shards, "--out", tmp_path / "out", "--track", name, *SMALL)
    done = deepchest(command, *flags)
    assert done.code == 2
    assert "is not installed." in done.err
    assert install_hint(name) in done.err
    assert not [*tmp_path.iterdir()]


def test_a_server_that_is_not_there_is_an_error_at_the_start(deepchest, shards, tmp_path, memory):
    def fail(what):
        if what == "check":
            raise UsageError("MLflow's store cannot be reached.", "Start the server.")

    memory.fail = staticmethod(fail)
    for command in ("train", "compare-weighters"):
        done = deepchest(command, "--data", shards, "--out", tmp_path / "out", "--track", "mlflow")
        assert done.code == 2
        assert "Error: MLflow's store cannot be reached." in done.err
    assert not [*tmp_path.iterdir()]


def test_an_unknown_tracker_is_answered_with_the_known_ones(deepchest, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('track = ["mlflow", "tensorbord"]')
    for words in (["--track", "tensorbord"], ["--config", file]):
        done = deepchest("train", *words)
        assert done.code == 2
        assert "--track: " in done.err
        assert "'tensorbord'" in done.err
        assert "Known: tensorboard, mlflow, wandb." in done.err


def test_the_flag_of_before_is_answered_with_the_new_one(deepchest):
    done = deepchest("train", "--tensorboard")
    assert done.code == 2
    assert "--tensorboard is called --track since version 0.2." in done.err
    assert "Write --track tensorboard." in done.err


def config_of(shards, out, **values):
    return CompareConfig(
        data=(str(shards),), out=out, weighters="dwa", seeds=1, backbone="small_cnn", batch_size=16,
        epochs=1, learning_rate=1e-3, bootstrap_replicates=100, cost_rounds=2, precision="fp32",
        threads=1, track=("mlflow",), **values,
    )  # fmt: skip


def compare(config):
    compare_weighters(config, Terminal(quiet=True))


def test_runs_of_a_comparison_are_children_and_its_results_have_a_record(shards, tmp_path, memory):
    out = tmp_path / "c"
    compare(config_of(shards, out))
    whole = record_of(memory, "c")
    assert whole["subject"].kind == "comparison"
    ((runs, metrics),) = whole["metrics"]
    assert runs == 2
    results = json.loads((out / "results.json").read_text())
    for label, entry in results["weighters"].items():
        assert metrics[f"macro_auroc/{label}"] == entry["metrics"]["macro_auroc"]["mean"]
    row = results["weighters"]["dwa"]["differences"]["macro_auroc"]
    assert metrics["difference/dwa"] == row["estimate"]
    assert whole["texts"]["status/equal"] == "finished"
    assert whole["texts"]["verdict/dwa"] == "not tested"
    assert {"report.html", "results.json", "config.toml"} <= set(whole["files"])
    assert whole["outcomes"] == ["finished"]
    for name in ("equal, seed 0", "dwa, seed 0"):
        run = record_of(memory, name)
        assert epochs_of(run) == [1]
        assert run["subject"].group.name == "c"
        assert run["subject"].group.parents == {"mlflow": "comparison-1"}
        assert run["outcomes"] == ["finished"]
        assert "best.pt" in run["files"]
    before = len(memory.opened)
    compare(replace(config_of(shards, None), resume=out))  # nothing is new
    assert len(memory.opened) == before
    compare(replace(config_of(shards, None), resume=out, seeds=2))
    assert [epochs_of(record_of(memory, f"dwa, seed {seed}")) for seed in (0, 1)] == [[1], [1]]
    assert record_of(memory, "c") is whole
    assert epochs_of(whole) == [2, 4]


def test_jobs_are_logged_and_their_report_too(shards, tmp_path, memory):
    out = tmp_path / "c"
    compare(config_of(shards, out, plan=True))
    assert memory.opened == ["c"]
    resumed = replace(config_of(shards, None), resume=out)
    for number in (2, 1):
        compare(replace(resumed, job=number))
    assert record_of(memory, "dwa, seed 0")["subject"].group.parents == {"mlflow": "comparison-1"}
    compare(replace(resumed, report=True))
    assert epochs_of(record_of(memory, "c")) == [2]
    assert len(memory.stores["here"]) == 3


def test_a_failing_tracker_ends_no_comparison_and_gets_all_on_resume(
    deepchest, shards, tmp_path, memory
):
    def fail(what):
        if what == "metrics":
            raise OSError(28, "No space left on device")

    memory.fail = staticmethod(fail)
    out = tmp_path / "c"
    flags = ("--weighters", "dwa", "--seeds", 1, "--epochs", 1, "--bootstrap-replicates", 100)
    flags = ("--data", shards, "--out", out, *flags, "--cost-rounds", 2, *SMALL)
    done = deepchest("compare-weighters", *flags, "--track", "mlflow")
    assert done.code == 0, done.err
    assert done.err.count("Memory has failed: No space left on device.") == 1
    assert (out / "results.json").is_file()
    memory.fail = staticmethod(lambda what: None)
    done = deepchest("compare-weighters", "--resume", out)
    assert "Memory has failed" not in done.err
    for name in ("c", "equal, seed 0", "dwa, seed 0"):
        assert len(record_of(memory, name)["metrics"]) == 1


def test_a_comparison_that_fails_says_so(shards, tmp_path, memory, monkeypatch):
    from deepchest_cli.comparison.running import comparison

    def fail(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(comparison, "train_all", fail)
    with pytest.raises(RuntimeError, match="no more"):
        compare(config_of(shards, tmp_path / "c"))
    assert record_of(memory, "c")["outcomes"] == ["interrupted"]


def test_results_that_a_tracker_refuses_leave_no_record_open(shards, tmp_path, memory):
    def fail(what):
        if what == "texts":
            raise RuntimeError("too long")

    memory.fail = staticmethod(fail)
    compare(config_of(shards, tmp_path / "c"))
    assert record_of(memory, "c")["outcomes"] == ["failed"]
    memory.fail = staticmethod(lambda what: None)
    compare(replace(config_of(shards, None), resume=tmp_path / "c"))
    assert record_of(memory, "c")["outcomes"] == ["failed", "finished"]
