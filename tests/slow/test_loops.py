"""The training loops of the documents in other people's trainers, with every kind of weighter."""

import io
import subprocess
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import own_loop_processes
import pytest
import torch
from documented_loops import run_loop
from two_processes import TORCHRUN, environment

from deepchest_cli.weighting import EpochResults

STATEFUL = ("deepchest", "uncertainty", "famo", "gradnorm", "deepchest+pcgrad")
KINDS = (*STATEFUL, "upgrad")


@contextmanager
def quiet():
    """Both trainers print, and warn of what is none of ours."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def epochs(monkeypatch):
    """Collect what weighters receive at the end of an epoch."""
    received, measured = [], EpochResults.performance
    monkeypatch.setattr(
        EpochResults, "performance", lambda self: received.append(measured(self)) or received[-1]
    )
    return received


def assert_trained(weighter):
    """The weights have moved apart."""
    weights = weighter.weights
    assert torch.isfinite(weights).all()
    assert weights.unique().numel() > 1


def states_of(weighter):
    """Return a weighter's state as text, to compare it."""
    return {key: str(value) for key, value in weighter.state_dict().items()}


@pytest.mark.parametrize("name", KINDS)
def test_lightning(name, epochs):
    pytest.importorskip("lightning")
    torch.manual_seed(0)
    with quiet():
        names = run_loop("Lightning", name)
    module, trainer = names["module"], names["trainer"]
    assert_trained(module.weighter)
    assert len(epochs) >= 2
    for performance in epochs:
        assert (performance.validation["auroc"] > 0.5).all()
        assert performance.patients["validation"].known.sum() == len(names["inputs"]) * 3
    state = states_of(module.weighter)
    checkpoint = trainer.checkpoint_callback.best_model_path
    again = names["Classifier"](list(module.weighter.tasks))
    assert (states_of(again.weighter) != state) == (name in STATEFUL)
    with quiet():  # nothing is left to train: the state is loaded
        resumed = names["lightning"].Trainer(max_epochs=2, num_sanity_val_steps=0)
        resumed.fit(again, names["loader"], names["loader"], ckpt_path=checkpoint)
    assert states_of(again.weighter) == state


@pytest.mark.parametrize("name", KINDS)
def test_hugging_face(name, epochs):
    pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    with quiet():
        names = run_loop("Trainer of Hugging Face", name)
    weighter, trainer = names["weighter"], names["trainer"]
    assert_trained(weighter)
    assert len(trainer.state.log_history) > 3
    assert len(epochs) >= 2
    for performance in epochs:
        assert performance.patients["validation"].known.sum() == len(names["images"]) * 3
    state = states_of(weighter)
    with torch.no_grad():
        for value in weighter.state_dict().values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    with quiet():  # nothing is left to train: the state is loaded
        trainer.train(resume_from_checkpoint=True)
    assert states_of(weighter) == state


def test_two_processes_train_as_one_does(tmp_path):
    command = [*TORCHRUN, own_loop_processes.__file__, tmp_path]
    subprocess.run(command, check=True, env=environment(), timeout=600, capture_output=True)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in own_loop_processes.KINDS:
        weights, model = own_loop_processes.train(name)
        for found, state in (first[name], second[name]):
            assert torch.equal(found, first[name][0]), name  # the very same in both
            assert torch.allclose(found, weights, rtol=1e-4, atol=1e-5), name
            for key, value in model.items():
                assert torch.allclose(state[key], value, atol=1e-5), (name, key)
