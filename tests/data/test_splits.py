import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepchest_cli.data.splits import SPLITS, fold_split, listed_split, random_split
from deepchest_cli.errors import DeepChestError


@st.composite
def populations(draw):
    """Patients with one to five images and three findings."""
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=60))
    patients = np.repeat(np.arange(len(counts)) * 7, counts)
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    order = chance.permutation(len(patients))
    labels = (chance.random((len(patients), 3)) < [0.5, 0.1, 0.02]).astype(np.uint8)
    return patients[order], labels


fractions = st.floats(0, 0.9)


def parts_of_patients(patients, parts):
    return [set(parts[patients == patient]) for patient in np.unique(patients)]


@settings(max_examples=200)
@given(populations(), fractions, fractions, st.integers(0, 2**32))
def test_no_patient_stands_in_two_random_parts(population, validation, test, seed):
    patients, labels = population
    parts = random_split(patients, labels, validation, test, seed)
    assert all(len(found) == 1 for found in parts_of_patients(patients, parts))
    assert set(parts) <= set(SPLITS)
    assert np.array_equal(parts, random_split(patients, labels, validation, test, seed))


@settings(max_examples=200)
@given(populations(), fractions, st.integers(0, 2**32), st.sets(st.integers(0, 59)))
def test_no_patient_stands_in_two_official_parts(population, validation, seed, test_patients):
    patients, labels = population
    in_test = np.isin(patients, [patient * 7 for patient in test_patients])
    listed = np.where(in_test, "test", "train_val")
    parts = listed_split(listed, patients, labels, validation, seed)
    assert all(len(found) == 1 for found in parts_of_patients(patients, parts))
    assert np.array_equal(parts == "test", in_test)


def test_shares_are_kept_for_rare_findings_too():
    chance = np.random.default_rng(0)
    labels = (chance.random((5000, 4)) < [0.3, 0.1, 0.02, 0.01]).astype(np.uint8)
    parts = random_split(np.arange(5000), labels, 0.1, 0.2, 3)
    assert np.mean(parts == "test") == pytest.approx(0.2, abs=0.001)
    assert np.mean(parts == "validation") == pytest.approx(0.08, abs=0.001)
    rare = labels[:, 3] == 1
    assert abs((parts[rare] == "test").sum() - 0.2 * rare.sum()) <= 1
    assert abs((parts[rare] == "validation").sum() - 0.08 * rare.sum()) <= 1


def test_seeds_differ():
    labels = np.zeros((200, 2), np.uint8)
    one, other = (random_split(np.arange(200), labels, 0.1, 0.2, seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_rows_in_neither_list_have_no_part():
    listed = np.array(["test", "train_val", ""])
    labels = np.zeros((3, 1), np.uint8)
    assert list(listed_split(listed, np.array([1, 2, 3]), labels, 0, 0)) == ["test", "train", ""]


def test_a_patient_in_both_lists_is_refused():
    listed = np.array(["test", "train_val"])
    with pytest.raises(DeepChestError, match="the first, 5, in test and in train"):
        listed_split(listed, np.array([5, 5]), np.zeros((2, 1), np.uint8), 0.1, 0)


def test_a_list_with_a_validation_part_is_taken_as_it_is():
    listed = np.array(["test", "train", "validation", "train_val", ""])
    parts = listed_split(listed, np.arange(5), np.zeros((5, 1), np.uint8), 0.5, 0)
    assert list(parts) == ["test", "train", "validation", "train", ""]


@settings(max_examples=100)
@given(populations(), st.integers(2, 5), fractions, st.integers(0, 2**31))
def test_folds_test_every_patient_once(population, folds, fraction, seed):
    patients, labels = population
    found = [fold_split(patients, labels, fold, folds, fraction, seed) for fold in range(folds)]
    tested = np.stack([parts == "test" for parts in found])
    assert (tested.sum(axis=0) == 1).all()
    for parts in found:
        assert all(len(one) == 1 for one in parts_of_patients(patients, parts))
    sizes = [len(np.unique(patients[mine])) for mine in tested]
    assert max(sizes) - min(sizes) <= 1


def test_each_seed_has_folds_of_its_own_which_are_alike_in_rare_findings():
    labels = (np.random.default_rng(0).random((300, 2)) < [0.4, 0.05]).astype(np.uint8)
    found = []
    for seed in (0, 1, 0):
        parts = [fold_split(np.arange(300), labels, fold, 3, 0.1, seed) for fold in range(3)]
        rare = [labels[one == "test", 1].sum() for one in parts]
        assert max(rare) - min(rare) <= 1
        found.append(np.stack(parts))
    one, other, again = found
    assert np.array_equal(one, again)
    # of patients that one seed tests in a fold, another seed tests a third there
    both = ((one == "test") & (other == "test")).sum() / 300
    assert both == pytest.approx(1 / 3, abs=0.1)
