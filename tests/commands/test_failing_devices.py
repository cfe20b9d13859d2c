"""Comparisons whose devices, memory or weighters fail in the middle, and those that have moved."""

import json
import math
import shutil

import pytest
import torch
from own_weighters import write
from simulated_device import simulated
from tests_support import valid

from deepchest_cli.comparison.output import writing
from deepchest_cli.comparison.running.comparison import train_comparison
from deepchest_cli.comparison.running.folder import extended_config
from deepchest_cli.config import CompareConfig
from deepchest_cli.device_errors import first_line
from deepchest_cli.errors import LostDeviceError
from deepchest_cli.weighting.dwa import DynamicWeightAverage

ECC = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nmore")
FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of "
    "which 12.00 MiB is free."
)
# fails where the checks, with their small batches, do not look
LATE = """\
from deepchest_cli.weighting import PerStepWeighter


class Wrong(PerStepWeighter):
    def forward(self, losses):
        weights = losses.softmax(losses.values.detach())
        if losses.known.max() > 8:
            weights = weights + "1"
        return losses.weighted_by(self.record(weights))
"""


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda folder, figures: dict.fromkeys(figures, b"<svg/>"))


class Breaks:
    """A comparison's observer that lets the device fail in the middle of a run, for that run."""

    def __init__(self, device, error, progress):
        self.device, self.error, self.progress = device, error, progress
        self.ended = []

    def on_progress(self, done, total):
        if self.progress < done:
            self.device.fail(self.error)
            self.progress = math.inf

    def on_run(self, job, record, done, total):
        self.ended.append((job.arm.label, record))
        self.device.repair()

    def on_note(self, text):
        pass

    def on_warning(self, text):
        pass


def config_of(shards, **more):
    return CompareConfig(
        data=(str(shards),), backbone="small_cnn", batch_size=16, epochs=1, precision="fp32",
        learning_rate=1e-3, bootstrap_replicates=100, cost_rounds=2, seeds=1, **more,
    )  # fmt: skip


def test_a_device_that_breaks_ends_a_comparison_that_can_be_resumed(shards, tmp_path):
    out = tmp_path / "c"
    with simulated("cuda") as device:
        observer = Breaks(device, ECC, 1.4)
        config = config_of(shards, weighters="dwa", out=out, device="cuda:0")
        with pytest.raises(LostDeviceError) as info, train_comparison(config, observer):
            pass
        assert info.value.message == (
            "dwa, seed 0: cuda:0 has failed: CUDA error: uncorrectable ECC error encountered."
        )
        assert f"deepchest compare-weighters --resume {out}" in info.value.hint
        assert (out / "runs/dwa/seed-0.attempt-1/last.pt").is_file()
        assert len(list(out.rglob("test.npz"))) == 1
        device.repair()
        again = extended_config(config_of(shards, weighters="dwa", resume=out, device="cuda:0"))
        with train_comparison(again, observer) as comparison:
            records = [record for _, record in comparison.runs]
    assert [record.status for record in records] == ["finished", "finished"]
    assert "uncorrectable ECC" in records[1].earlier_errors[0]
    assert len(comparison.shared_starts) == 1  # the same batches as in one go


def test_a_lack_of_memory_in_one_run_leaves_the_others_and_is_tried_again(shards, tmp_path):
    out, arms = tmp_path / "c", "dwa,rlw"
    with simulated("cuda") as device:
        observer = Breaks(device, FULL, 1.4)
        config = config_of(shards, weighters=arms, out=out, device="cuda:0")
        with train_comparison(config, observer) as comparison:
            records = {job.arm.label: record for job, record in comparison.runs}
        assert [record.status for record in records.values()] == ["finished", "failed", "finished"]
        assert "12.00 MiB is free" in records["dwa"].error
        assert "Free memory on cuda:0" in records["dwa"].error
        assert "continue with --resume" in records["dwa"].error
        again = extended_config(config_of(shards, weighters=arms, resume=out, device="cuda:0"))
        observer.ended.clear()
        with train_comparison(again, observer) as comparison:
            pass
    assert [(label, record.status) for label, record in observer.ended] == [("dwa", "finished")]
    assert observer.ended[0][1].earlier_errors == (records["dwa"].error,)


def test_images_that_another_process_leaves_no_room_for_fail_one_run(shards, tmp_path):
    class Fills(Breaks):
        def on_run(self, job, record, done, total):
            super().on_run(job, record, done, total)
            self.device.free_memory = 1000 if done == 1 else self.device.total_memory

    with simulated("cuda") as device:
        config = config_of(
            shards, weighters="dwa,rlw", out=tmp_path / "c", device="cuda:0", cache="device"
        )
        with train_comparison(config, Fills(device, None, math.inf)) as comparison:
            records = [record for _, record in comparison.runs]
    assert [record.status for record in records] == ["finished", "failed", "finished"]
    assert "has 1.0 KB free" in records[1].error
    assert "Free memory on cuda:0" in records[1].error


def test_a_fault_in_one_weighter_is_that_of_its_run(deepchest, shards, tmp_path, monkeypatch):
    mine, forward = write(tmp_path / "mine.py", LATE), DynamicWeightAverage.forward

    def no_doubles(self, losses):
        if losses.known.max() > 8:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return forward(self, losses)

    monkeypatch.setattr(DynamicWeightAverage, "forward", no_doubles)
    outcome = deepchest(
        "compare-weighters", "--data", shards, "--out", tmp_path / "c", "--backbone", "small_cnn",
        "--batch-size", 16, "--epochs", 1, "--bootstrap-replicates", 100, "--cost-rounds", 2,
        "--seeds", 1, "--weighters", f"{mine}:Wrong,dwa,rlw",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    results = valid(json.loads((tmp_path / "c/results.json").read_text()), "compare-weighters")
    found = {label: entry["runs"][0] for label, entry in results["weighters"].items()}
    assert [run["status"] for run in found.values()] == ["finished", "failed", "failed", "finished"]
    assert f"{mine}, line 8: TypeError" in found["mine.py:Wrong"]["error"]
    for text in (outcome.err, found["dwa"]["error"]):
        assert "backward.py, line" in text
        assert "TypeError: Cannot convert a MPS Tensor to float64 dtype" in text
    record = json.loads((tmp_path / "c/runs/dwa/seed-0.attempt-1/run.json").read_text())
    assert record["traceback"].startswith("Traceback")


def test_a_full_disk_says_what_to_do_and_gives_no_advice_on_learning_rates(
    deepchest, shards, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device", "last.pt")

    monkeypatch.setattr("deepchest_cli.training.loop.RunWriter.save_last", full)
    outcome = deepchest(
        "compare-weighters", "--data", shards, "--out", tmp_path / "c", "--backbone", "small_cnn",
        "--batch-size", 16, "--epochs", 1, "--seeds", 1, "--weighters", "dwa", "--cost-rounds", 2,
    )  # fmt: skip
    said = " ".join(outcome.err.split())
    assert outcome.code == 1
    assert "dwa, seed 0 failed: No space left on device: last.pt. Free space and continue" in said
    assert "--resume tries those that have failed again." in said
    assert "--learning-rate" not in said
    record = json.loads((tmp_path / "c/runs/dwa/seed-0.attempt-1/run.json").read_text())
    assert record["traceback"] is None


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """A finished comparison; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "c"
    with (
        simulated("cuda") as device,
        train_comparison(
            config_of(shards, weighters="dwa", out=out, device="cuda:0"),
            Breaks(device, None, math.inf),
        ),
    ):
        pass
    return out


def test_predictions_that_are_missing_are_made_without_training(shards, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "c")
    lost = copy / "runs/dwa/seed-0/test.npz"
    before = lost.read_bytes()
    lost.unlink()
    with simulated("cuda") as device:
        observer = Breaks(device, None, math.inf)
        config = config_of(shards, weighters="dwa", resume=copy, device="cuda:0")
        with train_comparison(extended_config(config), observer) as comparison:
            assert comparison.newly_trained == 0
    assert [label for label, _ in observer.ended] == ["dwa"]
    assert lost.read_bytes() == before


def test_predictions_for_which_memory_lacks_are_a_failure_until_they_are_made(
    shards, finished, tmp_path
):
    copy = shutil.copytree(finished, tmp_path / "c")
    (copy / "runs/dwa/seed-0/test.npz").unlink()
    with simulated("cuda") as device, pytest.MonkeyPatch.context() as patch:

        def full(*_):
            raise FULL

        patch.setattr("deepchest_cli.comparison.running.run.predict_rows", full)
        config = extended_config(config_of(shards, weighters="dwa", resume=copy, device="cuda:0"))
        with train_comparison(config, Breaks(device, None, math.inf)) as comparison:
            assert [record.status for _, record in comparison.runs] == ["finished", "failed"]
    written = json.loads((copy / "runs/dwa/seed-0/run.json").read_text())
    assert written["status"] == "finished"


def test_a_device_that_is_no_longer_there_is_named_with_what_to_pass(
    deepchest, shards, finished, tmp_path
):
    copy = shutil.copytree(finished, tmp_path / "c")
    config = copy / "config.toml"
    text = config.read_text().replace('device = "cuda:0"', 'devices = "cuda:0,cuda:1"')
    config.write_text(text)
    with simulated("cuda"):
        outcome = deepchest("compare-weighters", "--resume", copy)
        assert outcome.code == 2
        assert "--devices cuda:1: this machine has 1 CUDA device." in outcome.err
        assert f"--resume {copy} --devices cuda:0" in outcome.err
        assert deepchest("compare-weighters", "--resume", copy, "--device", "cuda:0").code == 0
    shutil.rmtree(copy / "runs/dwa")
    refused = deepchest("compare-weighters", "--resume", copy, "--device", "cpu")
    assert refused.code == 2
    assert "dwa, seed 0 would be computed on cpu, and equal, seed 0 of" in refused.err
    assert not (copy / "runs/dwa").exists()
    seeds = deepchest("compare-weighters", "--resume", copy, "--seeds", 2, "--device", "cpu")
    assert seeds.code == 2  # a weighter that is added later could be computed nowhere


def test_devices_of_two_kinds_are_refused(deepchest, shards, tmp_path):
    with simulated("cuda"):
        outcome = deepchest(
            "compare-weighters", "--data", shards, "--out", tmp_path / "c", "--weighters", "dwa",
            "--devices", "cuda:0,cpu",
        )  # fmt: skip
    assert outcome.code == 2
    assert "--devices cuda:0,cpu are of several kinds" in outcome.err


@pytest.mark.parametrize("error", [ECC, FULL], ids=["broken", "full"])
def test_costs_that_cannot_be_measured_leave_the_results(
    deepchest, finished, tmp_path, monkeypatch, error
):
    def fail(*_):
        raise error

    copy = shutil.copytree(finished, tmp_path / "c")
    drawn = []
    monkeypatch.setattr(writing, "_draw", lambda folder, figures: drawn.append(list(figures)) or {})
    monkeypatch.setattr("deepchest_cli.comparison.running.costs.measure", fail)
    with simulated("cuda"):
        outcome = deepchest("compare-weighters", "--resume", copy)
        assert outcome.code == 0, outcome.err
        assert f"was not measured ({first_line(error)})" in " ".join(outcome.err.split())
        assert "--resume tries it again" in " ".join(outcome.err.split())
        results = valid(json.loads((copy / "results.json").read_text()), "compare-weighters")
        assert results["costs"] == {}
        assert drawn == [["differences", "findings", "weights"]]
        assert results["weighters"]["dwa"]["differences"]
        assert not (copy / "costs.json").exists()
        monkeypatch.undo()
        monkeypatch.setattr(
            writing, "_draw", lambda folder, figures: dict.fromkeys(figures, b"<svg/>")
        )
        assert deepchest("compare-weighters", "--resume", copy).code == 0
    assert list(json.loads((copy / "results.json").read_text())["costs"]) == ["equal", "dwa"]
