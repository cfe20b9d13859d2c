from dataclasses import replace

import pytest

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.compatibility import (
    is_training_data_set,
    names_are_comparable,
    same_patient_numbers,
    same_patients,
    split_changes,
)


def origin(dataset, source=(), settings=()):
    manifest = dataset.manifest
    return {
        "source": {**manifest["source"], **dict(source)},
        "settings": {**manifest["settings"], **dict(settings)},
        "data_sha256": dataset.sha256,
    }


def of_kind(dataset, kind):
    source = {**dataset.manifest["source"], "kind": kind}
    return replace(dataset, manifest={**dataset.manifest, "source": source})


def test_the_same_split_of_the_same_source_fits(shards):
    dataset = open_dataset(shards)
    assert split_changes(origin(dataset), dataset, "validation") == []
    assert is_training_data_set(origin(dataset), dataset)


def test_a_fold_is_another_split_of_the_same_data(shards):
    dataset = open_dataset(shards)
    view = dataset.folded(0, 3, seed=1)
    fold = origin(view)
    assert not is_training_data_set(fold, dataset)
    assert is_training_data_set(fold, view)
    for other in (dataset.folded(1, 3, seed=1), dataset.folded(0, 3, seed=2)):
        assert not is_training_data_set(fold, other)
    assert split_changes(fold, dataset, "test") == ["split_scheme"]


def test_nihs_test_split_fits_whatever_the_seed(shards):
    dataset = open_dataset(shards)
    other = origin(dataset, settings={"seed": 9})
    assert split_changes(other, dataset, "test") == []
    assert split_changes(other, dataset, "validation") == ["seed"]


def test_another_source_fits_unless_its_patients_are_the_same(shards):
    dataset = open_dataset(shards)
    assert split_changes(origin(dataset), of_kind(dataset, "chexpert"), "test") == []
    mnist = {"kind": "chestmnist"}
    trained = origin(dataset, settings={"split_scheme": "chestmnist"}, source=mnist)
    assert "split_scheme" in split_changes(trained, dataset, "test")


def source(kind, sha="a", synthetic=False, patients=True):
    return {
        "kind": kind, "sha256": {"t.csv": sha}, "synthetic": synthetic, "patients": patients,
    }  # fmt: skip


SOURCES = {  # two sources: same patients, same patient numbers, comparable names
    "the public set": (source("nih"), source("nih", "b"), (True, True, True)),
    "its arrays": (source("nih"), source("chestmnist", "b", patients=False), (True, False, True)),
    "its images read again": (
        source("nih"),
        source("rsna", "b", patients=False),
        (True, False, True),
    ),
    "read again twice": (
        source("siim", patients=False),
        source("rsna", "b", patients=False),
        (True, False, True),
    ),
    "its Parquet files": (source("nih"), source("nih-parquet", "b"), (True, True, True)),
    "another public set": (source("nih"), source("padchest", "b"), (False, False, False)),
    "one's own table": (source("csv"), source("csv"), (True, True, True)),
    "another table": (source("csv"), source("csv", "b"), (False, False, True)),
    "a table of a public set": (source("nih"), source("csv", "b"), (False, False, True)),
    "synthetic and real": (source("nih"), source("nih", synthetic=True), (False, False, False)),
    "two demos": (
        source("nih", synthetic=True),
        source("nih", "b", synthetic=True),
        (False, False, False),
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_two_sources_have_in_common(name):
    one, other, expected = SOURCES[name]
    for pair in ((one, other), (other, one)):
        found = (same_patients(*pair), same_patient_numbers(*pair), names_are_comparable(*pair))
        assert found == expected
