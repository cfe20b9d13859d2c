"""What a run with folds is refused for, before anything is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.errors import UsageError
from deepchest_cli.training.folds import folds_of, refuse_images_in_two_folds


def config(folds):
    return TrainConfig(folds=folds, batch_size=2)


def of_rows(dataset, rows):
    """Return a data set of which only some images have a split."""
    splits = np.where(np.isin(np.arange(len(dataset.labels)), rows), "train", "")
    return replace(dataset, columns={**dataset.columns, "split": splits})


def test_each_patient_is_tested_in_one_fold_and_chooses_nothing_there(shards):
    dataset = open_dataset(shards)
    folds = folds_of(config(4), Path("run"), dataset)
    assert [fold.folder for fold in folds] == [Path(f"run/fold-{n}") for n in range(1, 5)]
    assert [(fold.config.folds, fold.config.fold) for fold in folds] == [
        (4, n) for n in range(1, 5)
    ]
    patients = dataset.columns["patient_id"]
    tested = [set(patients[fold.dataset.rows("test")]) for fold in folds]
    assert sum(map(len, tested)) == len(set().union(*tested)) == len(set(patients))
    for fold, own in zip(folds, tested, strict=True):
        assert not own & set(patients[fold.dataset.rows("validation")])
        assert not own & set(patients[fold.dataset.rows("train")])


def test_fewer_patients_than_folds_are_refused(shards):
    few = of_rows(open_dataset(shards), np.arange(8))  # of four patients
    folds_of(config(4), Path("run"), few)
    with pytest.raises(UsageError, match=r"Fold 5 of 5: .* has fewer patients than folds") as error:
        folds_of(config(5), Path("run"), few)
    assert error.value.hint == "Use fewer --folds."


def test_a_fold_without_a_batch_to_train_on_is_refused(shards):
    few = of_rows(open_dataset(shards), np.arange(20))
    with pytest.raises(UsageError, match=r"Fold 1 of 2: --batch-size 32 is larger than"):
        folds_of(replace(config(2), batch_size=32), Path("run"), few)


def test_images_of_two_data_sets_in_different_folds_are_refused(shards, site_shards):
    both = open_datasets((str(shards), str(site_shards)))
    refuse_images_in_two_folds(both)
    hashes, (one, other) = both.pixel_hash.copy(), (3, len(both.labels) - 2)
    hashes[other] = hashes[one]
    with pytest.raises(UsageError, match="1 image is .by pixel hash. in two of them") as error:
        folds_of(config(2), Path("run"), replace(both, pixel_hash=hashes))
    assert error.value.hint.endswith("or leave --folds out.")
