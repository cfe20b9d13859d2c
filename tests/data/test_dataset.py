import errno
import os
import shutil

import numpy as np
import pytest
import torch

from deepchest_cli.data import dataset as dataset_module
from deepchest_cli.data.batches import batches
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import DeepChestError, UnreadableShardError, UsageError

CPU = torch.device("cpu")


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


def test_images_are_gathered_in_any_order(dataset):
    rows = np.array([79, 0, 40, 40, 3])
    expected = np.stack([dataset.gather(np.array([row]))[0] for row in rows])
    assert np.array_equal(dataset.gather(rows), expected)
    assert dataset.gather(rows).dtype == np.uint8


def test_parts_are_disjoint_and_complete(dataset):
    rows = [dataset.rows(part) for part in ("train", "validation", "test")]
    assert sorted(np.concatenate(rows)) == dataset.rows("all").tolist() == list(range(80))
    patients = [set(dataset.columns["patient_id"][part]) for part in rows]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]


def test_findings_are_chosen_and_renamed_with_their_boxes(dataset):
    assert dataset.boxes.finding.tolist() == ["Infiltration"]
    names = {"infiltrate": "Infiltration", "Mass": "Mass"}
    found = dataset.of_findings(names)
    assert found.findings == ("infiltrate", "Mass")
    for column, name in enumerate(names.values()):
        assert np.array_equal(
            found.labels[:, column], dataset.labels[:, dataset.findings.index(name)]
        )
    assert found.boxes.finding.tolist() == ["infiltrate"]
    assert dataset.of_findings({"Mass": "Mass"}).boxes.finding.tolist() == ["Infiltration"]


def test_batches_carry_images_and_labels_of_their_rows(dataset):
    rows = np.array([5, 70, 31, 8, 2])
    found = list(batches(ImageReader(dataset, CPU), rows, 2))
    assert [len(batch.images) for batch in found] == [2, 2, 1]
    assert np.array_equal(np.concatenate([b.images for b in found]), dataset.gather(rows))
    assert np.array_equal(np.concatenate([b.labels for b in found]), dataset.labels[rows])


def test_batches_begin_where_they_are_told(dataset):
    rows = np.arange(10)
    late = list(batches(ImageReader(dataset, CPU), rows, 3, start=2))
    whole = list(batches(ImageReader(dataset, CPU), rows, 3))
    assert len(late) == 2
    assert np.array_equal(late[0].images, whole[2].images)


def test_no_data_set_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError) as error:
        open_dataset(tmp_path)
    assert "deepchest prepare" in error.value.hint


def test_a_data_set_of_another_format_version(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": "deepchest-shards", "format_version": 9}')
    with pytest.raises(UsageError, match="version 9"):
        open_dataset(tmp_path)


def test_a_damaged_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": ')
    with pytest.raises(UsageError, match="damaged"):
        open_dataset(tmp_path)


def test_too_many_open_files_are_no_damage(shards, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(dataset_module, "read_shard", refuse)
    with pytest.raises(DeepChestError, match="too many files are open in this process") as error:
        open_dataset(shards)
    assert error.value.hint == "Allow more: ulimit -n 65536"


@pytest.mark.parametrize(("change", "said"), [("cut", "was cut short"), ("gone", "No such file")])
def test_a_shard_that_changes_while_it_is_read_is_named(shards, tmp_path, change, said):
    copy = shutil.copytree(shards, tmp_path / "copy")
    opened = open_dataset(copy)
    (shard,) = copy.glob("*.h5")
    assert len(opened.gather(np.arange(3))) == 3
    if change == "cut":
        os.truncate(shard, 1000)
    else:
        shard.unlink()
    with pytest.raises(UnreadableShardError, match=said) as error:
        opened.gather(np.arange(3))
    assert str(shard) in error.value.message
