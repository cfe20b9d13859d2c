"""MLflow's local store and W&B offline, as they are; no test needs a network."""

import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys

import pytest
from tests_support import rows_of

from deepchest_cli.errors import UsageError
from deepchest_cli.training.tracking.base import Destinations
from deepchest_cli.training.tracking.mlflow import MLflow
from deepchest_cli.training.tracking.observer import Tracking
from deepchest_cli.training.tracking.wandb import WandB

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytest.importorskip("wandb", reason="the extra wandb is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of two packages with many dependencies

BLOCK = 32768  # bytes of a block in LevelDB's log format, which W&B's files have
WHOLE, LAST = 1, 4  # kinds of pieces that end a record


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def here(tmp_path):
    return Destinations(mlflow_folder=tmp_path / "mlruns", wandb_folder=tmp_path)


def keep_epochs(run, count):
    """Leave the first epochs of a run in its tables."""
    for name in ("metrics.csv", "weights.csv"):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[: count + 1]))


def wandb_records(folder):
    """Yield the records of all offline runs in the order of their files' names."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, whole = path.read_bytes(), 7, b""  # after a header
        while at + 7 <= len(data):
            if BLOCK - at % BLOCK < 7:
                at += BLOCK - at % BLOCK
                continue
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            whole += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (WHOLE, LAST):
                record = Record()
                record.ParseFromString(whole)
                whole = b""
                yield record


def wandb_history(folder):
    """Return the metrics of each step, by name."""
    steps = {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            steps.setdefault(int(items["epoch"]), []).append(items)
    return steps


def client_of(destinations):
    from mlflow import MlflowClient

    return MlflowClient(MLflow.store(destinations, None))


def runs_in(destinations):
    client = client_of(destinations)
    experiment = client.get_experiment_by_name("deepchest")
    return client.search_runs([experiment.experiment_id])


def test_a_resumed_run_goes_on_in_mlflow(run, here):
    whole = shutil.copytree(run, run.with_name("whole"))
    keep_epochs(run, 1)
    for outcome in ("interrupted", "finished", "finished"):
        Tracking(run, ["mlflow"], here).close(outcome)
        for name in ("metrics.csv", "weights.csv"):
            shutil.copyfile(whole / name, run / name)
    (found,) = runs_in(here)
    client, identifier = client_of(here), found.info.run_id
    for column in ("validation_auroc", "training_loss"):
        history = client.get_metric_history(identifier, column.replace("_", "/"))
        logged = [(one.step, one.value) for one in history]
        rows = rows_of(run / "metrics.csv")
        assert logged == [(int(row["epoch"]), float(row[column])) for row in rows]
    assert [one.step for one in client.get_metric_history(identifier, "weight/Mass")] == [1, 2]
    assert found.data.params["batch_size"] == "16"
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    names = {file.path for file in client.list_artifacts(identifier)}
    assert {"best.pt", "config.toml", "metrics.csv", "weights.csv"} <= names


def test_a_run_that_was_deleted_in_mlflow_is_logged_anew(run, here):
    Tracking(run, ["mlflow"], here).close("interrupted")
    (before,) = runs_in(here)
    client_of(here).delete_run(before.info.run_id)
    Tracking(run, ["mlflow"], here).close("finished")
    (found,) = runs_in(here)
    assert found.info.run_id != before.info.run_id
    history = client_of(here).get_metric_history(found.info.run_id, "epoch")
    assert [one.step for one in history] == [1, 2]


def test_mlflow_knows_what_was_logged_before_a_process_was_killed(run, here):
    Tracking(run, ["mlflow"], here).close("interrupted")
    records = json.loads((run / "tracking.json").read_text())
    records["mlflow"]["step"] = 1  # the second epoch was logged, but not noted
    (run / "tracking.json").write_text(json.dumps(records))
    Tracking(run, ["mlflow"], here).close("finished")
    (found,) = runs_in(here)
    history = client_of(here).get_metric_history(found.info.run_id, "validation/auroc")
    assert [one.step for one in history] == [1, 2]


def test_a_server_that_does_not_answer_is_an_error_in_time():
    with pytest.raises(UsageError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        MLflow.check(Destinations(mlflow="http://127.0.0.1:9"))


def test_a_local_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken/mlflow.db cannot be used") as raised:
        MLflow.check(Destinations(mlflow_folder=tmp_path / "taken"))
    assert "Make room or give the rights there" in raised.value.hint


def test_mlflow_is_left_as_it_was(run, here):
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as RETRIES

    logger, seen = logging.getLogger("mlflow"), []
    logger.setLevel(logging.DEBUG)
    tracking = Tracking(run, ["mlflow"], here)
    tracking.open()
    seen.append((RETRIES.get(), logger.level))
    tracking.close("finished")
    assert seen == [(1, logging.ERROR)]
    assert (RETRIES.is_set(), logger.level) == (False, logging.DEBUG)


@pytest.mark.parametrize("name", ["mode", "project"])
def test_a_value_that_wandb_refuses_is_an_error_at_the_start(name):
    with pytest.raises(UsageError, match=f"WANDB_{name.upper()} has a value that"):
        WandB.check(Destinations(**{f"wandb_{name}": "a/b:c"}))


def test_what_a_user_logs_in_with_is_not_said():
    with pytest.raises(UsageError, match=re.escape("http://***@127.0.0.1:9 cannot be")) as raised:
        MLflow.check(Destinations(mlflow="http://me:secret@127.0.0.1:9"))
    assert "secret" not in str(raised.value)


def test_names_that_mlflow_refuses_are_changed(run, here):
    text = (run / "weights.csv").read_text().replace("Mass", "Mass (a)=[b]", 1)
    (run / "weights.csv").write_text(text)
    said = []
    Tracking(run, ["mlflow"], here, warn=said.append).close("finished")
    assert said == []
    (found,) = runs_in(here)
    assert "weight/Mass _a___b_" in found.data.metrics


def test_a_resumed_run_goes_on_in_wandb_offline(run, here, tmp_path):
    whole = shutil.copytree(run, run.with_name("whole"))
    keep_epochs(run, 1)
    said = []
    for outcome in ("interrupted", "finished", "finished"):
        Tracking(run, ["wandb"], here, warn=said.append).close(outcome)
        for name in ("metrics.csv", "weights.csv"):
            shutil.copyfile(whole / name, run / name)
    assert said == []
    steps = wandb_history(tmp_path)
    rows = {int(row["epoch"]): row for row in rows_of(run / "metrics.csv")}
    assert {epoch: len(items) for epoch, items in steps.items()} == {1: 1, 2: 1}
    for epoch, (items,) in steps.items():
        assert items["validation/auroc"] == float(rows[epoch]["validation_auroc"])
        assert "weight/Mass" in items
    started = [r.run for r in wandb_records(tmp_path) if r.WhichOneof("record_type") == "run"]
    assert len({one.run_id for one in started}) == 1
    assert {one.host for one in started} == {""}
    kinds = {record.WhichOneof("record_type") for record in wandb_records(tmp_path)}
    assert not kinds & {"stats", "output", "output_raw", "environment"}
    saved = [f.path for r in wandb_records(tmp_path) for f in r.files.files]
    assert sorted(saved) == [
        "best.pt", "config.toml", "environment.json", "metrics.csv", "weights.csv"
    ]  # fmt: skip


WATCHED = """
import socket, sys
import deepchest_cli

LOCAL = ("localhost", "127.0.0.1", "::1")

def refuse(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in LOCAL:
        raise AssertionError(f"looked up {arguments}")
    if event == "socket.connect":
        address = arguments[1]
        if not isinstance(address, (str, bytes)) and address[0] not in LOCAL:
            raise AssertionError(f"connected to {arguments}")

sys.addaudithook(refuse)
"""


def python(code, folder, **variables):
    """Run a program in a folder that is its home too, where it may reach this machine alone."""
    ours = {name: value for name, value in os.environ.items() if name != "CI"}
    ours = {name: value for name, value in ours.items() if not name.startswith("PYTEST_")}
    environment = {**ours, "HOME": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code], env=environment, cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_package_tells_anybody_that_it_is_used(tmp_path):
    code = """
import huggingface_hub, lightning, mlflow, onnxruntime, transformers, wandb
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(is_telemetry_disabled(), get_telemetry_client())
print(huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY, wandb.env.error_reporting_enabled())
"""
    pytest.importorskip("lightning", reason="Lightning is not installed")
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    assert python(code, tmp_path).split() == ["True", "None", "True", "False"]


def test_whoever_wants_telemetry_has_it(tmp_path):
    code = "import os; print(*(os.environ[name] for name in deepchest_cli._NO_TELEMETRY))"
    asked = dict.fromkeys(("MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"), "false")
    asked |= {"ORT_DISABLE_TELEMETRY": "0", "WANDB_ERROR_REPORTING": "true"}
    assert python(code, tmp_path, **asked).split() == ["0", "false", "false", "true"]


def test_a_comparison_in_several_processes_is_logged_by_all_trackers(shards, tmp_path):
    code = f"""
import sys
from deepchest_cli.app import main
sys.argv = ["deepchest", "compare-weighters", "--data", {str(shards)!r}, "--out", "c",
    "--weighters", "dwa", "--seeds", "1", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "2", "--precision", "fp32", "--threads", "1", "--bootstrap-replicates", "100",
    "--cost-rounds", "2", "--dask", "local:1",
    "--track", "mlflow", "--track", "wandb", "--track", "tensorboard"]
if __name__ == "__main__":
    main()
"""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    python(code, tmp_path)
    store = Destinations(mlflow_folder=tmp_path / "mlruns")
    found = {one.info.run_name: one for one in runs_in(store)}
    names = {"equal, seed 0", "dwa, seed 0"}
    assert found.keys() == {"c", *names}
    for name in names:
        assert found[name].data.tags["mlflow.parentRunId"] == found["c"].info.run_id
        assert found[name].data.metrics["epoch"] == 2
        assert found[name].info.status == "FINISHED"
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    for label, entry in results["weighters"].items():
        logged = found["c"].data.metrics[f"macro_auroc/{label}"]
        assert logged == entry["metrics"]["macro_auroc"]["mean"]
    assert found["c"].data.metrics["runs"] == 2
    assert "epoch" not in found["c"].data.metrics
    started = [r.run for r in wandb_records(tmp_path) if r.WhichOneof("record_type") == "run"]
    assert {one.display_name for one in started} == {"c", *names}
    assert {one.run_group for one in started if one.job_type == "run"} == {"c"}
    assert len([*tmp_path.glob("c/**/tensorboard/events*")]) == 3
