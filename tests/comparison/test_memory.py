"""What a comparison keeps in memory between its runs, and what it reads for them."""

import gc
import weakref

import pytest
from simulated_device import simulated

from deepchest_cli.commands.compare_weighters import compare_weighters
from deepchest_cli.comparison.running import checks, costs, run
from deepchest_cli.config import CompareConfig
from deepchest_cli.data import reader
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.terminal import Terminal
from deepchest_cli.training.loop import Trainer

SETTINGS = {
    "backbone": "small_cnn", "batch_size": 16, "epochs": 1, "max_steps": 2, "learning_rate": 1e-3,
    "bootstrap_replicates": 100, "cost_rounds": 2, "seeds": 1, "device": "cpu",
}  # fmt: skip


def compare(shards, out, **more):
    config = CompareConfig(data=(str(shards),), out=out, **{**SETTINGS, **more})
    compare_weighters(config, Terminal(quiet=True))


@pytest.fixture
def built(monkeypatch):
    """References to every model and every reader, weak ones."""
    found = []
    for kind in (Classifier, ImageReader):

        def begin(self, *given, begin=kind.__init__, **named):
            found.append(weakref.ref(self))
            begin(self, *given, **named)

        monkeypatch.setattr(kind, "__init__", begin)
    return found


@pytest.fixture
def alive(monkeypatch, built):
    """How many models and readers are alive each time that memory is freed."""
    counts = []
    for module in (checks, costs, run):

        def free(free=module.free_memory):
            free()
            counts.append(sum(reference() is not None for reference in built))

        monkeypatch.setattr(module, "free_memory", free)
    return counts


def test_nothing_is_left_of_a_run_where_memory_is_freed_for_the_next(
    shards, tmp_path, monkeypatch, built, alive, no_rendering
):
    fit = Trainer.fit

    def fail_in_the_middle(self):
        if self.components.config.weighter == "dwa":
            raise RuntimeError("CUDA out of memory.")
        return fit(self)

    monkeypatch.setattr(Trainer, "fit", fail_in_the_middle)
    compare(shards, tmp_path / "c", weighters="dwa,rlw")
    # after planning, three runs, predictions of the two that end, and the costs
    assert alive == [0] * 7
    assert len(built) > 10


def test_images_are_kept_for_runs_alone(shards, tmp_path, monkeypatch, no_rendering):
    """Neither planning, nor predictions, nor costs read more than they compute with."""
    kept, read = [], ImageReader._from_files

    def keep(self, rows):
        gc.collect()
        assert all(reference() is None for reference in kept)  # those of the run before are gone
        kept.append(weakref.ref(self))
        return read(self, rows)

    monkeypatch.setattr(ImageReader, "_from_files", keep)
    compare(shards, tmp_path / "c", weighters="dwa,rlw", cache="host")
    assert len(kept) == 3


def test_images_that_do_not_fit_are_refused_before_there_is_a_folder(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("deepchest_cli.data.reader.free_bytes", lambda device: 1000)
    with pytest.raises(UsageError, match="--cache device: .* are needed, and cpu has 1.0 KB free"):
        compare(shards, tmp_path / "c", weighters="dwa", cache="device")
    assert not (tmp_path / "c").exists()


@pytest.fixture
def gpu():
    """A simulated GPU; a process asks it once how much is free."""
    reader._room.cache_clear()
    with simulated("cuda") as device:
        yield device
    reader._room.cache_clear()


@pytest.fixture
def places(monkeypatch):
    """Where each reader keeps images."""
    found = []
    begin = ImageReader.__init__

    def record(self, *given, **named):
        begin(self, *given, **named)
        found.append(self.place)

    monkeypatch.setattr(ImageReader, "__init__", record)
    return found


def test_runs_keep_their_images_in_one_place_whatever_the_gpu_says_later(
    shards, tmp_path, monkeypatch, gpu, places, no_rendering
):
    fit = Trainer.fit

    def leave_memory_behind(self):
        gpu.free_memory = 1000
        return fit(self)

    monkeypatch.setattr(Trainer, "fit", leave_memory_behind)
    compare(shards, tmp_path / "c", weighters="dwa", device="cuda")
    # planning, then two runs, each with its predictions of the test split, and the costs
    assert places[0] == places[-1] == "none"
    assert [place for place in places if place != "none"] == ["device"] * 2


def test_a_comparison_on_a_full_gpu_keeps_images_in_their_files(
    shards, tmp_path, gpu, places, no_rendering
):
    gpu.free_memory = 100_000  # the images need 65 KB, which is more than half of it
    compare(shards, tmp_path / "c", weighters="dwa", device="cuda")
    assert set(places) == {"none"}


def test_device_on_a_full_gpu_is_refused_before_there_is_a_folder(shards, tmp_path, gpu):
    gpu.free_memory = 30_000
    with pytest.raises(UsageError) as error:
        compare(shards, tmp_path / "c", weighters="dwa", device="cuda", cache="device")
    assert "are needed, and cuda:0 has 30 KB free" in error.value.message
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_memory_that_ends_while_images_are_uploaded_leaves_no_run(
    deepchest, shards, tmp_path, monkeypatch, kind
):
    words = {"cuda": "CUDA out of memory.", "mps": "MPS backend out of memory"}[kind]
    monkeypatch.setattr(reader, "CHUNK", 7)
    with simulated(kind) as device:
        upload = ImageReader._from_files

        def fill(self, rows):
            device.fail(RuntimeError(words), after=2)
            try:
                return upload(self, rows)
            finally:
                device.repair()

        monkeypatch.setattr(ImageReader, "_from_files", fill)
        outcome = deepchest(
            "train", "--data", shards, "--device", kind, "--cache", "device", "--out",
            tmp_path / "run", "--backbone", "small_cnn", "--batch-size", 16, "--weights", "none",
        )  # fmt: skip
    assert outcome.code == 2
    assert "do not fit on" in outcome.err
    assert "--cache host, or --cache none" in outcome.err
    assert not (tmp_path / "run").exists()
