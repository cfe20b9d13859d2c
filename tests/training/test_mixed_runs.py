"""Runs on two data sets: resumed exactly, also where data moved; data that become unreadable."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from killing import KilledError, assert_equal_runs, killed_at
from site_data import prepare_site
from tests_support import rows_of, untimed

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import InterruptedRunError, UnreadableShardError, UsageError
from deepchest_cli.model.checkpoint import load_model, read_checkpoint
from deepchest_cli.model.checkpoint_format import BEST, LAST
from deepchest_cli.training.agreement import FAILED
from deepchest_cli.training.atypicality import reference_statistics
from deepchest_cli.training.components import build_components
from deepchest_cli.training.distributed import DistributedContext
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.resume import open_data_again, record_changes
from deepchest_cli.training.run_directory import create_run

SMALL = {
    "backbone": "small_cnn",
    "image_size": 28,
    "weights": "none",
    "batch_size": 16,
    "epochs": 2,
    "learning_rate": 1e-3,
    "patience": 0,
    "precision": "fp32",
    "tasks": "finding-by-source",
    "source_sampling": ("site=2",),
    "weighter": "deepchest+upgrad",
    "ema": 0.5,
}
SITES = ("shards", "site")


@pytest.fixture
def config(shards, site_shards, tmp_path):
    return TrainConfig(data=(str(shards), str(site_shards)), out=tmp_path / "run", **SMALL)


@pytest.fixture(scope="module")
def undisturbed(shards, site_shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    config = TrainConfig(data=(str(shards), str(site_shards)), out=out, **SMALL)
    fit(config)
    return out


def fit(config, *observers):
    return Trainer(build_components(config), create_run(config), *observers).fit()


def resume(config, *observers):
    """Go on with a run as the command does."""
    dataset = open_data_again(config, config.out)
    config = replace(config, data=tuple(str(member.folder) for member in dataset.members))
    trainer = Trainer(build_components(config, dataset=dataset), config.out, *observers)
    trainer.resume()
    record_changes(config, config.out)
    return trainer.fit()


class At(Observer):
    """Does something after a step of the run."""

    def __init__(self, step, action):
        self.left, self.action = step, action

    def on_step(self, report):
        self.left -= 1
        if self.left == 0:
            self.action()


def interrupt():
    signal.raise_signal(signal.SIGTERM)


def kill():
    raise KilledError


def copied(config, folder):
    """Return the configuration with copies of its data, whose names are others."""
    folder.mkdir()
    pairs = [(Path(data), folder / f"moved-{Path(data).name}") for data in config.data]
    return replace(config, data=tuple(str(shutil.copytree(*pair)) for pair in pairs))


def assert_same_run(run, other):
    """Runs are equal in tables and tensors; where their data lie may differ."""
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(other / table)
    for name in (BEST, LAST):
        one, two = (read_checkpoint(folder / name) for folder in (run, other))
        assert one["tensors"].keys() == two["tensors"].keys()
        assert all(bool((one["tensors"][k] == v).all()) for k, v in two["tensors"].items())
        sets = [[{**d, "data": None} for d in c["origin"]["data_sets"]] for c in (one, two)]
        assert sets[0] == sets[1]
    states = [read_checkpoint(r / LAST)["training"]["train_state"] for r in (run, other)]
    assert states[0]["epoch_batches"] == states[1]["epoch_batches"] != []


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("step", [1, 5, 7, 10])
def test_a_signal_saves_and_a_mixed_run_goes_on_exactly(config, undisturbed, step):
    with pytest.raises(InterruptedRunError):
        fit(config, At(step, interrupt))
    resume(config)
    assert_equal_runs(config.out, undisturbed)


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_mixed_run_killed_between_writes_goes_on_exactly(config, undisturbed, step):
    with pytest.raises(KilledError):
        fit(config, At(step, kill))
    resume(config)
    assert_equal_runs(config.out, undisturbed)


@pytest.mark.parametrize("write", [4, 5, 8, 11, 13])
def test_a_mixed_run_killed_at_a_write_goes_on_exactly(config, undisturbed, write):
    with pytest.raises(KilledError), killed_at(write):
        fit(config)
    resume(config)
    assert_equal_runs(config.out, undisturbed)


def stopped(config, step=3):
    with pytest.raises(InterruptedRunError):
        fit(config, At(step, interrupt))


def test_another_order_of_the_data_sets_is_the_same_run(config, undisturbed):
    stopped(config)
    resume(replace(config, data=config.data[::-1]))
    assert_equal_runs(config.out, undisturbed)


def test_data_moved_to_other_names_are_the_same_run(config, undisturbed, tmp_path):
    """The names are those that the run began with: --source-sampling has one of them."""
    stopped(config)
    moved = copied(config, tmp_path / "elsewhere")
    resume(replace(moved, data=moved.data[::-1]))
    assert_same_run(config.out, undisturbed)
    origin = read_checkpoint(config.out / BEST)["origin"]
    assert [one["name"] for one in origin["data_sets"]] == list(SITES)
    # again, now that the run has been where its data lie
    assert Path(origin["data_sets"][0]["data"]).name == "moved-shards"
    header = list(rows_of(config.out / "weights.csv")[0])
    assert "Mass (site)" in header


def test_a_run_on_one_data_set_keeps_its_name_too(config, shards, tmp_path):
    one = {"tasks": "finding", "source_sampling": ("natural",), "data": (str(shards),)}
    config = replace(config, **one)
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    fit(undisturbed)
    stopped(config, 2)
    resume(copied(config, tmp_path / "elsewhere"))
    assert_same_run(config.out, undisturbed.out)


@pytest.mark.parametrize("number", [0, 1])
def test_a_data_set_less_is_named(config, number):
    stopped(config)
    left = config.data[1 - number]
    message = rf"{SITES[number]} \({config.data[number]}\) is missing"
    with pytest.raises(UsageError, match=message) as error:
        resume(replace(config, data=(left,)))
    assert f"The data in {left} have changed since the run" in error.value.message
    assert "--data" in error.value.hint


def another(folder, tmp_path):
    """Return a data set of the same images in other splits."""
    return str(prepare_site(folder.parent / "hospital", tmp_path / "other", size=48, seed=5))


def test_a_data_set_more_is_named(config, site_shards, tmp_path):
    stopped(config)
    more = another(site_shards, tmp_path)
    with pytest.raises(UsageError, match=f"{more} is one more than the run has"):
        resume(replace(config, data=(*config.data, more)))


def test_a_data_set_in_the_place_of_another_says_what_differs(config, site_shards, tmp_path):
    stopped(config)
    other = another(site_shards, tmp_path)
    with pytest.raises(UsageError, match=f"began: {other}: seed 5, not 0"):
        resume(replace(config, data=(config.data[0], other)))


def test_a_data_set_named_twice_is_said_to_be_the_same(config):
    stopped(config)
    with pytest.raises(UsageError, match="are the same data"):
        resume(replace(config, data=(*config.data, config.data[0])))


def test_components_in_another_order_are_refused(config):
    """Whoever builds them by hand has other columns of findings."""
    stopped(config)
    turned = {"data": config.data[::-1]}
    trainer = Trainer(build_components(replace(config, **turned)), config.out)
    with pytest.raises(UsageError, match="the findings are others than .*, or in another order"):
        trainer.resume()


def remove(folder):
    shard = next(folder.glob("*.h5"))
    shard.rename(shard.with_suffix(".gone"))
    return shard, lambda: shard.with_suffix(".gone").rename(shard)


def rename_folder(folder):
    gone = folder.with_name("gone")
    folder.rename(gone)
    return next(gone.glob("*.h5")).name, lambda: gone.rename(folder)


def truncate(folder):
    shard = next(folder.glob("*.h5"))
    content = shard.read_bytes()
    os.truncate(shard, len(content) // 2)
    return shard, lambda: shard.write_bytes(content)


def forbid(folder):
    folder.chmod(0)
    return folder, lambda: folder.chmod(0o755)


BREAKS = [remove, rename_folder, truncate, forbid]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("break_data", BREAKS)
def test_data_that_become_unreadable_leave_a_state_to_go_on_from(
    config, undisturbed, tmp_path, break_data, number
):
    config = copied(config, tmp_path / "copies")
    config = replace(config, source_sampling=("moved-site=2",))
    folder, mended = Path(config.data[number]), []
    if break_data is forbid and os.geteuid() == 0:
        pytest.skip("the superuser may read everything")

    def act():
        mended.extend(break_data(folder))

    with pytest.raises(UnreadableShardError) as error:
        fit(config, At(3, act))
    found, mend = mended
    assert str(found) in error.value.message
    state = read_checkpoint(config.out / LAST)["training"]["train_state"]
    assert state["step"] >= 3
    assert f"This was after step {state['step']}; the state is saved." in error.value.message
    assert f"Then resume with: deepchest train --resume {config.out}" in error.value.hint
    mend()
    resume(config)
    for table in ("metrics.csv", "weights.csv"):
        ours, theirs = (
            [[v.removeprefix("moved-") for v in row.values()] for row in untimed(run / table)]
            for run in (config.out, undisturbed)
        )
        assert ours == theirs
    tensors = [read_checkpoint(run / LAST)["tensors"] for run in (config.out, undisturbed)]
    assert all(bool((tensors[0][k] == v).all()) for k, v in tensors[1].items())


def test_data_that_become_unreadable_before_validation_do_too(config, undisturbed, tmp_path):
    config = copied(config, tmp_path / "copies")
    config = replace(config, source_sampling=("moved-site=2",))
    mended = []
    last = build_components(config).steps_per_epoch
    with pytest.raises(UnreadableShardError) as error:
        fit(config, At(last, lambda: mended.extend(remove(Path(config.data[1])))))
    assert str(mended[0]) in error.value.message
    assert f"Then resume with: deepchest train --resume {config.out}" in error.value.hint
    state = read_checkpoint(config.out / LAST)["training"]["train_state"]
    assert (state["step"], state["epoch"]) == (last, 0)
    mended[1]()
    resume(config)
    tensors = [read_checkpoint(run / BEST)["tensors"] for run in (config.out, undisturbed)]
    assert all(bool((tensors[0][k] == v).all()) for k, v in tensors[1].items())


def test_a_process_stops_where_another_cannot_read_the_data(config, undisturbed, monkeypatch):
    """All save at the same step, and all say what the one that failed says."""
    trainer = Trainer(build_components(config), create_run(config))

    def start_maximum(self, number):
        return lambda: max(number, FAILED * (trainer.state.step == 4 and number == 0))

    def all_gather_object(self, value):
        return [value, UnreadableShardError("Shard 7 is gone.", "Put it back.")]

    with monkeypatch.context() as patch:
        patch.setattr(DistributedContext, "all_gather_object", all_gather_object)
        patch.setattr(DistributedContext, "start_maximum", start_maximum)
        with pytest.raises(UnreadableShardError) as error:
            trainer.fit()
    assert error.value.message == "Process 1 of 2 has failed: Shard 7 is gone."
    assert error.value.hint == "Put it back."
    resume(config)
    assert_equal_runs(config.out, undisturbed)


def test_data_that_are_kept_in_memory_may_go_until_the_end(config, tmp_path):
    config = copied(replace(config, cache="host"), tmp_path / "copies")
    config = replace(config, source_sampling=("moved-site=2",))
    mended = []
    with pytest.raises(UnreadableShardError) as error:
        fit(config, At(1, lambda: mended.extend(remove(Path(config.data[1])))))
    assert str(mended[0]) in error.value.message
    epochs = [row["epoch"] for row in rows_of(config.out / "metrics.csv")]
    assert epochs == ["1"] * 3 + ["2"] * 3  # of both data sets together, and of each
    mended[1]()
    resume(config)
    assert read_checkpoint(config.out / BEST)["reference"] is not None


@pytest.mark.parametrize("cache", ["host", "device"])
def test_a_run_on_data_in_memory_is_the_run_on_files(config, undisturbed, cache):
    fit(replace(config, cache=cache))
    assert untimed(config.out / "metrics.csv") == untimed(undisturbed / "metrics.csv")


def test_statistics_of_a_mixed_run_are_of_images_as_they_are_read(undisturbed, config):
    model = load_model(undisturbed, build_components(config).device)
    assert model.reference is not None
    assert len(model.training_images) == 2
    again = reference_statistics(build_components(config), model.classifier)
    for name, value in again.to_plain().items():
        assert np.allclose(model.reference[name], value), name


def test_a_source_smaller_than_a_batch_trains(config, recorder):
    """Its images come again within an epoch."""
    config = replace(
        config, batch_size=64, source_sampling=("shards=0.1",), max_steps=2, weighter="equal"
    )
    fit(config, recorder)
    assert [report.sources.keys() for report in recorder.epochs] == [set(SITES)] * 2


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("validation", "has no labeled validation split."),
        ("train", "The training split of .* has no image; a batch needs 2"),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_data_set_without_a_split_is_named(config, split, message, number):
    dataset = build_components(config).dataset
    splits = dataset.columns["split"].copy()
    splits[(splits == split) & (dataset.member == number)] = ""
    without = replace(dataset, columns={**dataset.columns, "split": splits})
    with pytest.raises(UsageError, match=message) as error:
        build_components(config, dataset=without)
    assert config.data[number] in error.value.message
    assert config.data[1 - number] not in error.value.message
