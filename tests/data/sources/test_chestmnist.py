import numpy as np
import pytest
from PIL import Image

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import DeepChestError, UsageError

COUNTS = {"train": 30, "val": 8, "test": 12}


def arrays(size=28):
    chance = np.random.default_rng(0)
    found = {}
    for part, count in COUNTS.items():
        found[f"{part}_images"] = chance.integers(0, 256, (count, size, size), dtype=np.uint8)
        found[f"{part}_labels"] = chance.integers(0, 2, (count, 14)).astype(np.uint8)
    return found


@pytest.fixture
def npz(tmp_path):
    np.savez_compressed(tmp_path / "chestmnist.npz", **arrays())
    return tmp_path / "chestmnist.npz"


def prepare(source, folder, **settings):
    config = PrepareConfig(**{"size": "28", **settings})
    plan = plan_preparation(config, source)
    (result,) = run_preparation(plan, config, folder, lambda *_: None)
    return result.manifest


@pytest.mark.parametrize("named", ["file", "folder"])
def test_pixels_labels_and_the_split_of_its_own_arrive(npz, tmp_path, named):
    manifest = prepare(npz if named == "file" else npz.parent, tmp_path / "out")
    assert manifest["settings"]["split_scheme"] == "chestmnist"
    assert manifest["source"]["kind"] == "chestmnist" and not manifest["source"]["patients"]
    dataset = open_dataset(tmp_path / "out")
    assert dataset.findings == FINDINGS
    for ours, theirs in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = dataset.rows(ours)
        assert np.array_equal(dataset.gather(rows), arrays()[f"{theirs}_images"])
        assert np.array_equal(dataset.labels[rows], arrays()[f"{theirs}_labels"])


def test_another_size_is_made_from_the_stored_one(npz, tmp_path):
    prepare(npz, tmp_path / "out", size="40")
    dataset = open_dataset(tmp_path / "out")
    first = Image.fromarray(arrays()["test_images"][0]).resize((40, 40), Image.Resampling.BILINEAR)
    assert np.array_equal(dataset.gather(dataset.rows("test")[:1])[0], np.asarray(first))


def test_two_files_in_a_folder_are_not_guessed_about(npz):
    np.savez(npz.with_name("chestmnist_64.npz"), **arrays(64))
    with pytest.raises(UsageError, match=r"chestmnist.npz, chestmnist_64.npz") as error:
        plan_preparation(PrepareConfig(), npz.parent)
    assert "--source" in error.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_labels": np.zeros((8, 3), np.uint8)}, r"val_labels should be 0 and 1.*\(8, 3\)"),
        ({"val_labels": np.full((8, 14), 2, np.uint8)}, "val_labels should be 0 and 1"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "chestmnist.npz", **(arrays() | change))
    with pytest.raises(UsageError, match=message):
        plan_preparation(PrepareConfig(), tmp_path)


def test_a_file_that_is_missing_cut_or_something_else(npz, tmp_path):
    with pytest.raises(UsageError, match="There is no file or folder"):
        plan_preparation(PrepareConfig(), tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UsageError, match="is no file of ChestMNIST"):
        plan_preparation(PrepareConfig(), tmp_path / "other.npz")
    npz.write_bytes(npz.read_bytes()[:-2000])
    with pytest.raises(UsageError, match="is no file of ChestMNIST"):
        plan_preparation(PrepareConfig(), npz)


def test_images_that_are_fewer_than_labels_are_missing(tmp_path):
    short = arrays() | {"test_images": arrays()["test_images"][:9]}
    np.savez(tmp_path / "chestmnist.npz", **short)
    with pytest.raises(DeepChestError, match="3 images are missing") as error:
        prepare(tmp_path, tmp_path / "out")
    assert "test_000009: the file is missing" in error.value.message
