"""Folds, and sampling by source, of several data sets."""

from dataclasses import replace

import numpy as np
import pytest
from site_data import prepare_site, write_site

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.merging import merge_datasets
from deepchest_cli.data.sampling import choose_sampling


@pytest.fixture(scope="module")
def both(shards, tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    site = prepare_site(write_site(root / "site", patients=30), root / "site-2")
    return merge_datasets([open_dataset(shards), open_dataset(site)])


def splits_of_patients(dataset, fold):
    view = dataset.folded(fold, 3, seed=4)
    splits = view.columns["split"]
    return {
        patient: set(splits[dataset.columns["patient_id"] == patient])
        for patient in np.unique(dataset.columns["patient_id"])
    }


def test_data_sets_of_other_patients_have_the_folds_that_each_has_alone(both, shards):
    alone, view = open_dataset(shards).folded(1, 3, seed=4), both.folded(1, 3, seed=4)
    assert (view.columns["split"][both.member == 0] == alone.columns["split"]).all()
    schemes = {one.manifest["settings"]["split_scheme"] for one in view.members}
    assert schemes == {"fold 2 of 3, seed 4"}


def test_patients_whom_data_sets_share_are_in_one_split_of_a_fold(both):
    patients = both.columns["patient_id"].copy()
    ours = np.unique(patients[both.member == 0])[:20]
    theirs = np.unique(patients[both.member == 1])[:20]
    for one, other in zip(ours, theirs, strict=True):
        patients[patients == other] = one
    shared = replace(both, columns={**both.columns, "patient_id": patients})
    tested = []
    for fold in range(3):
        splits = splits_of_patients(shared, fold)
        assert all(len(found) == 1 for found in splits.values())
        tested += [patient for patient, found in splits.items() if found == {"test"}]
    assert sorted(tested) == np.unique(patients).tolist()


@pytest.mark.parametrize("by_source", [("balanced",), ("site-2=3",)])
def test_a_data_set_without_training_images_is_not_sampled(both, by_source):
    rows = both.rows("train")
    rows = rows[both.member[rows] == 0]
    sampling = choose_sampling(both, rows, by_source, class_balanced=False)
    assert sorted(sampling.order(0, 0)) == rows.tolist()
