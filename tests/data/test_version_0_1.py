"""Shards that version 0.1 wrote (`prepare --demo --images 40 --size 32`): format 2."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.demo import Demo, make_demo
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.preparation.checking import check_shards
from deepchest_cli.data.shards import MANIFEST, NUMBER_COLUMNS, read_shard
from deepchest_cli.errors import UsageError
from deepchest_cli.files import to_json

SHARDS = Path(__file__).parents[1] / "files" / "version-0.1" / "shards"


def test_they_open_and_give_the_same_arrays():
    dataset = open_dataset(SHARDS)
    with h5py.File(SHARDS / "shard-00000.h5") as file:
        assert "digest" in file and "study" not in file and "source" not in file
        stored = {name: dataset_of[:] for name, dataset_of in file.items()}
    assert np.array_equal(dataset.gather(np.arange(40)), stored["images"])
    assert hashlib.sha256(stored["images"].tobytes()).hexdigest().startswith("276070579b481d6e")
    for name in ("labels", "known"):
        assert np.array_equal(getattr(dataset, name), stored[name])
    assert np.array_equal(dataset.pixel_hash, stored["digest"])
    for name in NUMBER_COLUMNS:
        np.testing.assert_array_equal(dataset.columns[name], stored[name])
    for name in ("image_index", "sex", "view", "split"):
        assert np.array_equal(dataset.columns[name], stored[name].astype(str))
    assert np.array_equal(dataset.boxes.row, stored["box_row"])
    assert np.array_equal(dataset.boxes.box, stored["box"])
    assert [len(dataset.rows(split)) for split in ("train", "validation", "test")] == [27, 1, 12]


def test_the_demo_of_today_has_the_same_radiographs(tmp_path):
    demo = Demo(images=40, seed=0, long_tail=False)
    make_demo(tmp_path / "demo", demo, 1, lambda done, total: None)
    config = PrepareConfig(size="32", workers=1)
    plan = plan_preparation(config, tmp_path / "demo")
    run_preparation(plan, config, tmp_path / "shards", lambda *_: None)
    then, now = open_dataset(SHARDS), open_dataset(tmp_path / "shards")
    rows = np.arange(40)
    # processors round sines differently in the last place
    assert np.abs(now.gather(rows).astype(int) - then.gather(rows)).max() <= 1
    assert np.array_equal(now.labels, then.labels)
    for name in ("image_index", "patient_id", "age", "sex", "view", "split"):
        assert np.array_equal(now.columns[name], then.columns[name]), name
    assert now.manifest["source"]["sha256"] == then.manifest["source"]["sha256"]


def test_what_format_2_lacks_is_filled_in():
    dataset = open_dataset(SHARDS)
    assert np.array_equal(dataset.columns["study"], dataset.columns["image_index"])
    assert set(dataset.columns["source"]) == {"nih"}
    assert dataset.soft is None


def test_the_hash_of_the_data_set_is_that_of_version_0_1():
    document = to_json(json.loads((SHARDS / MANIFEST).read_text()))
    assert open_dataset(SHARDS).sha256 == hashlib.sha256(document.encode()).hexdigest()


def test_they_are_checked_against_their_manifest():
    (checked,) = check_shards(SHARDS, lambda done, total: None)
    assert (checked.images, checked.problems) == (40, ())


def test_a_preparation_into_their_folder_says_so_and_asks_for_force(nih_folder, tmp_path):
    folder = Path(shutil.copytree(SHARDS, tmp_path / "shards"))
    for force in (False, True):
        config = PrepareConfig(size="32", workers=1, force=force)
        plan = plan_preparation(config, nih_folder)
        if not force:
            with pytest.raises(UsageError, match="format 2, which version 0.1 wrote") as error:
                run_preparation(plan, config, folder, lambda *_: None)
            assert "--force" in error.value.hint
            assert len(open_dataset(folder).labels) == 40
    (result,) = run_preparation(plan, config, folder, lambda *_: None)
    assert result.manifest["format_version"] == 3
    content = read_shard(folder / "shard-00000.h5")
    assert np.array_equal(content.columns["study"], content.columns["image_index"])
    assert set(content.columns["source"]) == {"nih"} and content.soft is None
