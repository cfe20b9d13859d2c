"""What a call leaves behind: nothing printed, nothing changed, and what can be resumed."""

import subprocess
import sys
import threading
import warnings

import pytest
import torch
from tests_support import untimed

import deepchest_cli
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.library.calls import kept_torch_state
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.run_files import METRICS

SHORT = {"backbone": "small_cnn", "epochs": 2, "batch_size": 16, "precision": "fp32"}


class Interrupts(Observer):
    """Presses Ctrl-C in the second step."""

    def on_step(self, report):
        if report.step == 2:
            import signal

            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    return deepchest_cli.train(shards, out=tmp_path_factory.mktemp("whole") / "run", **SHORT)


def test_importing_takes_no_torch_and_shows_the_functions():
    code = (
        "import sys, deepchest_cli as d; print(dir(d)); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'typer', 'rich') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    shown, heavy = told.stdout.splitlines()
    assert heavy == "[]"
    for name in ("prepare", "train", "evaluate", "compare", "predict"):
        assert f"'{name}'" in shown
    for name in ("load_model", "load_dataset", "load_run", "load_comparison"):
        assert f"'{name}'" in shown
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        deepchest_cli.trian  # noqa: B018


def test_nothing_is_printed_and_progress_is_received(shards, tmp_path, capfd):
    moves, state = [], torch.get_rng_state()
    run = deepchest_cli.train(
        shards, out=tmp_path / "run", progress=lambda *move: moves.append(move), **SHORT
    )
    deepchest_cli.evaluate(run.folder, shards, bootstrap_replicates=0)
    assert capfd.readouterr() == ("", "")
    assert moves[0][0] == "Training"
    assert moves[-1][1] == moves[-1][2] == run.summary.steps
    assert torch.equal(torch.get_rng_state(), state)
    assert run.notes[0].startswith(f"{run.folder}: small_cnn with deepchest on")


def test_the_choice_of_kernels_is_not_left_changed(shards, tmp_path):
    benchmark = torch.backends.cudnn.benchmark
    deepchest_cli.train(shards, out=tmp_path / "run", deterministic=True, max_steps=1, **SHORT)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        deepchest_cli.train(shards, out=tmp_path / "other", max_steps=1, **SHORT)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.benchmark == benchmark
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_state_of_several_gpus_is_kept_without_a_word(monkeypatch):
    states, chosen = {0: "first", 1: "second"}, []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    for module in (torch.accelerator, torch.cuda):
        monkeypatch.setattr(module, "device_count", lambda: len(states))
    monkeypatch.setattr(torch.cuda, "get_rng_state", states.__getitem__)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: states.update({device: state})
    )
    monkeypatch.setattr(torch.random, "_fork_rng_warned_already", False)
    with warnings.catch_warnings(action="error"), kept_torch_state(deterministic=False):
        states.update({0: "drawn", 1: "drawn"})
    assert states == {0: "first", 1: "second"}
    assert chosen == [1]


@pytest.mark.parametrize("benchmark", [True, False])
def test_the_choice_of_kernels_is_left_as_it_was(shards, tmp_path, monkeypatch, benchmark):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    for number, deterministic in enumerate((True, False)):
        out = tmp_path / f"run-{number}"
        deepchest_cli.train(shards, out=out, deterministic=deterministic, max_steps=1, **SHORT)
        assert torch.backends.cudnn.benchmark is benchmark


def test_an_interrupted_call_goes_on_exactly(shards, whole, tmp_path):
    with pytest.raises(InterruptedRunError) as raised:
        deepchest_cli.train(shards, out=tmp_path / "run", observers=[Interrupts()], **SHORT)
    assert raised.value.message == "Interrupted after step 2; the state is saved."
    assert raised.value.__notes__ == [f"Go on with: train(resume={str(tmp_path / 'run')!r})"]
    half = deepchest_cli.load_run(tmp_path / "run")
    assert (half.best_epoch, len(half.history), half.weights.empty) == (None, 0, True)
    assert half._repr_html_().count("no epoch has ended") == 1
    with pytest.raises(UsageError, match="has no plot of metrics"):
        half.plot()
    run = deepchest_cli.train(resume=tmp_path / "run")
    assert untimed(run.folder / METRICS) == untimed(whole.folder / METRICS)


def test_trainings_in_one_process_follow_each_other_or_are_refused(shards, whole, tmp_path):
    said = []

    class Nested(Observer):
        def on_step(self, report):
            if not said:
                with pytest.raises(UsageError) as raised:
                    deepchest_cli.compare(["equal", "dwa"], shards, **SHORT)
                said.append(raised.value.message)

    run = deepchest_cli.train(shards, out=tmp_path / "run", observers=[Nested()], **SHORT)
    assert said == ["compare was called while this process trains already."]
    assert untimed(run.folder / METRICS) == untimed(whole.folder / METRICS)


def test_a_call_from_another_thread(shards, whole, tmp_path):
    found = []
    call = threading.Thread(
        target=lambda: found.append(deepchest_cli.train(shards, out=tmp_path / "run", **SHORT))
    )
    call.start()
    call.join()
    assert untimed(found[0].folder / METRICS) == untimed(whole.folder / METRICS)


def test_a_thread_can_prepare(nih_folder, tmp_path):
    found = []
    call = threading.Thread(
        target=lambda: found.append(deepchest_cli.prepare(nih_folder, tmp_path / "s", size=32))
    )
    call.start()
    call.join()
    assert len(found[0]) == 80


def test_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call, said in (
        (deepchest_cli.load_run, "is no folder of a run"),
        (deepchest_cli.load_dataset, "data/shards"),
        (deepchest_cli.load_model, "runs/latest"),
        (lambda: deepchest_cli.load_comparison(tmp_path), "no folder of a finished comparison"),
        (deepchest_cli.train, "data/shards"),
        (lambda: deepchest_cli.train(weighter="deepchst"), "Did you mean 'deepchest'?"),
        (lambda: deepchest_cli.compare(["deepchst"]), "Did you mean 'deepchest'?"),
        (deepchest_cli.evaluate, "runs/latest"),
        (lambda: deepchest_cli.predict("image.png"), "runs/latest"),
        (lambda: deepchest_cli.prepare("nowhere"), "nowhere"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            call()
        assert raised.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_results_of_a_comparison_that_are_damaged(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UsageError, match="is not of a comparison, or is damaged"):
        deepchest_cli.load_comparison(tmp_path)
    with pytest.raises(UsageError, match="no folder of a finished comparison"):
        deepchest_cli.load_comparison(tmp_path / "results.json")


def test_a_run_whose_folder_has_gone_or_is_not_below_the_working_directory(
    whole, tmp_path, monkeypatch
):
    monkeypatch.chdir(whole.folder.parent)
    run = deepchest_cli.load_run(whole.folder.name)
    monkeypatch.chdir(tmp_path)
    for read in (lambda: run.history, lambda: run.weights, lambda: run.auroc):
        with pytest.raises(UsageError, match=f"no folder {run} any more, seen from {tmp_path}"):
            read()
