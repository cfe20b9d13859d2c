from dataclasses import replace

import pytest

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import refuse_unfit_data


def origin(dataset, source=(), settings=()):
    manifest = dataset.manifest
    return {
        "source": {**manifest["source"], **dict(source)},
        "settings": {**manifest["settings"], **dict(settings)},
    }


def of_kind(dataset, kind):
    source = {**dataset.manifest["source"], "kind": kind}
    return replace(dataset, manifest={**dataset.manifest, "source": source})


def test_the_same_split_of_the_same_source_is_fit(shards):
    dataset = open_dataset(shards)
    refuse_unfit_data(origin(dataset), dataset, "validation")


def test_nihs_test_part_is_fit_whatever_the_seed(shards):
    dataset = open_dataset(shards)
    refuse_unfit_data(origin(dataset, settings={"seed": 9}), dataset, "test")
    with pytest.raises(UsageError, match=r"\(seed\): its validation part may hold trained"):
        refuse_unfit_data(origin(dataset, settings={"seed": 9}), dataset, "validation")


def test_another_source_is_fit_unless_its_patients_are_the_same(shards):
    dataset = open_dataset(shards)
    refuse_unfit_data(origin(dataset), of_kind(dataset, "chexpert"), "test")
    trained = origin(
        dataset, settings={"split_scheme": "chestmnist"}, source={"kind": "chestmnist"}
    )
    with pytest.raises(UsageError, match="split_scheme"):
        refuse_unfit_data(trained, dataset, "test")
