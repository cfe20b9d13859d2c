"""A run that is killed between any two writes and begun again ends as if nothing had happened."""

from dataclasses import replace
from pathlib import Path

import pytest
from killing import KilledError, assert_equal_runs, killed_at

from deepchest_cli.config import AUTO, TrainConfig
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.resume import folder_to_resume, resolve_auto
from deepchest_cli.training.run_directory import create_run

RUN = Path("runs/run")
# environment, configuration and first state; in an epoch the state, the best and the link to it,
# two tables and the state; in the end the reference. The second epoch need not be the best
FEWEST, MOST = 14, 15


def train(config):
    """Begin the run of a configuration, or go on with it, as `--resume auto` does."""
    config = resolve_auto(config)
    folder = folder_to_resume(config)
    components = build_components(config)
    trainer = Trainer(components, folder or create_run(components.config))
    if folder is not None:
        trainer.resume()
    return trainer.fit()


@pytest.fixture(scope="module")
def config(shards):
    return TrainConfig(
        data=(str(shards),), out=RUN, resume=AUTO, backbone="small_cnn", batch_size=16, epochs=2,
        max_steps=4, learning_rate=1e-3, ema=0.5, weighter="dwa", patience=0, image_size=28,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(replace(config, out=folder))
    return folder


@pytest.mark.parametrize("write", range(1, MOST + 1))
def test_a_run_killed_at_any_write_ends_as_an_undisturbed_one(
    config, undisturbed, tmp_path, monkeypatch, write
):
    monkeypatch.chdir(tmp_path)
    try:
        with killed_at(write):
            train(config)
        assert write > FEWEST
    except KilledError:
        assert list(RUN.parent.rglob(".*.tmp"))
    train(config)
    assert_equal_runs(RUN, undisturbed)
    assert Path("runs/latest").readlink() == Path("run")
    assert not list(RUN.parent.rglob(".*"))
