import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests_support import QUICK

from deepchest_cli.comparison.running import costs
from deepchest_cli.comparison.running.costs import (
    BACK_TO_BACK,
    Candidate,
    candidates,
    measure,
    prepare_cost,
    ratio,
    steps_back_to_back,
)
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.model.classifier import Classifier


def test_a_ratio_turned_round_is_the_inverse():
    one, other = [1.0, 1.2, 1.1], [2.0, 2.1, 2.6]
    found, inverse = ratio(one, other), ratio(other, one)
    assert found.estimate == pytest.approx(1 / inverse.estimate)
    assert found.low == pytest.approx(1 / inverse.high)
    assert found.low < found.estimate < found.high


def test_the_ratio_to_itself_is_one():
    assert ratio([1.0, 3.0], [1.0, 3.0]).high == 1


def test_weighters_share_the_memory_of_one_run(shards):
    first = TrainConfig(data=(str(shards),), weighter="equal", optimizer="adamw", **QUICK)
    configs = {name: replace(first, weighter=name) for name in ("equal", "uncertainty", "dwa")}
    setup, batch = prepare_cost(first, open_dataset(shards))
    found = candidates(setup, configs)
    measure(found, batch, rounds=2)
    weight = next(setup.classifier.parameters())
    moments = [found[name].step.components.optimizer.state[weight] for name in configs]
    assert moments[0]["exp_avg"].abs().sum() > 0
    assert all(other["exp_avg"] is moments[0]["exp_avg"] for other in moments)
    assert all(len(candidate.seconds) == 2 for candidate in found.values())
    assert all(
        candidate.seconds == candidate.synchronized_seconds for candidate in found.values()
    )  # a CPU has finished a step when it returns


class AsynchronousDevice:
    """A step keeps the process busy for `host` seconds, then the device for `device` seconds."""

    def __init__(self, monkeypatch, kind="cuda"):
        self.now = self.busy_until = 0.0
        self.steps: list[str] = []  # in the order in which they were taken, "wait" between them
        self.kind = torch.device(kind)
        monkeypatch.setattr(costs.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(costs, "synchronize", lambda device: self.wait())
        monkeypatch.setattr(costs, "reset_peak_memory", lambda device: self.steps.append("reset"))
        monkeypatch.setattr(costs, "peak_memory", lambda device: len(self.steps))

    def wait(self):
        self.now = max(self.now, self.busy_until)
        self.steps.append("wait")

    def candidate(self, name, host, device):
        def step(batch, number):
            self.now += host
            self.busy_until = max(self.now, self.busy_until) + device
            self.steps.append(name)

        frozen = SimpleNamespace(begin_epoch=lambda classifier, epoch: None)
        step.components = SimpleNamespace(frozen=frozen, classifier=None, device=self.kind)
        return Candidate(step, None)


def test_steps_back_to_back_take_the_time_of_the_device_or_of_the_process(monkeypatch):
    gpu = AsynchronousDevice(monkeypatch)
    measured = {
        "large": gpu.candidate("large", host=1, device=4),
        "small": gpu.candidate("small", host=2, device=1),
    }
    batch = SimpleNamespace(labels=SimpleNamespace(device=gpu.kind))
    measure(measured, batch, rounds=3, steps=5)
    large, small = measured.values()
    assert large.synchronized_seconds == [5.0] * 3
    assert large.seconds == [(1 + 5 * 4) / 5] * 3  # the process is ahead of the device
    assert small.synchronized_seconds == [3.0] * 3
    assert small.seconds == [(5 * 2 + 1) / 5] * 3  # the device waits for the process


def test_weighters_take_their_steps_in_turn(monkeypatch):
    gpu = AsynchronousDevice(monkeypatch)
    measured = {name: gpu.candidate(name, 1, 1) for name in "ab"}
    batch = SimpleNamespace(labels=SimpleNamespace(device=gpu.kind))
    measure(measured, batch, rounds=2, steps=2)
    words = [word for word in gpu.steps if word != "wait"]
    a, b = (["reset", *name * 4] for name in "ab")  # one to settle, one alone, two back to back
    assert words == ["a", "b", *a, *b, *b, *a]
    assert all(len(candidate.peak_memory_by_round) == 2 for candidate in measured.values())


def failing(error):
    def step(batch, number):
        raise error

    return Candidate(step, None)


def test_what_cannot_take_a_step_is_left_out_whatever_it_raises(monkeypatch):
    gpu = AsynchronousDevice(monkeypatch)
    batch = SimpleNamespace(labels=SimpleNamespace(device=gpu.kind))
    measured = {"a": gpu.candidate("a", 1, 1), "b": failing(TypeError("no doubles"))}
    monkeypatch.setattr(costs, "_seconds_a_step", lambda one, batch, *rest: one.step(batch, 0) or 1)
    measure(measured, batch, rounds=1)
    assert list(measured) == ["a"]


def test_what_fails_in_a_later_round_is_left_out_too(monkeypatch):
    gpu = AsynchronousDevice(monkeypatch)
    batch = SimpleNamespace(labels=SimpleNamespace(device=gpu.kind))
    measured = {name: gpu.candidate(name, 1, 1) for name in "abc"}
    step, full = measured["b"].step, torch.OutOfMemoryError("CUDA out of memory.")

    def third_fails(*given):
        if gpu.steps.count("b") == 2:
            raise full
        step(*given)

    third_fails.components = step.components
    measured["b"] = replace(measured["b"], step=third_fails)
    measure(measured, batch, rounds=3, steps=2)
    assert list(measured) == ["a", "c"]
    assert [len(one.seconds) for one in measured.values()] == [3, 3]


def test_a_device_that_fails_ends_the_measurement(monkeypatch):
    gpu = AsynchronousDevice(monkeypatch)
    batch = SimpleNamespace(labels=SimpleNamespace(device=gpu.kind))
    error = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")
    monkeypatch.setattr(costs, "_seconds_a_step", lambda one, batch, *rest: one.step(batch, 0) or 1)
    with pytest.raises(torch.AcceleratorError):
        measure({"a": gpu.candidate("a", 1, 1), "b": failing(error)}, batch, rounds=1)


def test_steps_are_timed_back_to_back_wherever_they_need_a_wait():
    assert steps_back_to_back(torch.device("cpu")) == 1
    assert {steps_back_to_back(torch.device(kind)) for kind in ("cuda", "mps")} == {BACK_TO_BACK}


@pytest.mark.parametrize("cache", ["host", "device"])
def test_the_data_are_not_read_for_one_batch(shards, cache):
    config = TrainConfig(data=(str(shards),), weighter="equal", cache=cache, **QUICK)
    setup, batch = prepare_cost(config, open_dataset(shards))
    assert setup.reader.kept is None
    assert len(batch.images) == config.batch_size


def test_another_number_of_findings_leaves_nothing_of_the_model_of_the_data(shards, monkeypatch):
    """Not in memory, and not in the moving average, which has the findings' layer as well."""
    config = TrainConfig(data=(str(shards),), weighter="equal", ema=0.9, **QUICK)
    built = []
    begin = Classifier.__init__

    def record(self, *given, **named):
        built.append(weakref.ref(self))
        begin(self, *given, **named)

    monkeypatch.setattr(Classifier, "__init__", record)
    setup, batch = prepare_cost(config, open_dataset(shards), tasks=3)
    gc.collect()
    assert [reference() for reference in built] == [None, setup.classifier]
    found = candidates(setup, {"equal": config})
    measure(found, batch, rounds=2)
    assert len(found["equal"].seconds) == 2
