from dataclasses import replace

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.compatibility import is_training_data_set, split_changes


def origin(dataset, source=(), settings=()):
    manifest = dataset.manifest
    return {
        "source": {**manifest["source"], **dict(source)},
        "settings": {**manifest["settings"], **dict(settings)},
        "sha256": dataset.sha256,
    }


def with_manifest(dataset, manifest):
    return replace(dataset, members=(replace(dataset.only, manifest=manifest),))


def of_kind(dataset, kind):
    source = {**dataset.manifest["source"], "kind": kind}
    return with_manifest(dataset, {**dataset.manifest, "source": source})


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
