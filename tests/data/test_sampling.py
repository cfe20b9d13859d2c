from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.sampling import (
    Group,
    Sampling,
    balanced_probabilities,
    choose_sampling,
    uniform,
)
from deepchest_cli.errors import UsageError
from deepchest_cli.training.losses import label_counts

EPOCHS = 4000  # over which means are taken


@pytest.fixture(scope="module")
def mixed(shards, site_shards):
    return open_datasets([str(shards), str(site_shards)])


def drawn(mixed, *by_source, class_balanced=False):
    """Return a sampling of the training rows, and these."""
    rows = mixed.rows("train")
    return choose_sampling(mixed, rows, by_source, class_balanced), rows


def counts_of(mixed, order):
    """Return how many images of each data set an epoch has."""
    return np.bincount(mixed.member[order], minlength=len(mixed.members)).tolist()


def test_an_epoch_has_every_row_once_in_an_order_of_its_own():
    rows = np.arange(5, 60)
    sampling = uniform(rows)
    order = sampling.order(1, 2)
    assert np.array_equal(order, sampling.order(1, 2))
    assert sorted(order) == list(rows)
    assert not np.array_equal(order, sampling.order(1, 3))
    assert not np.array_equal(order, sampling.order(2, 2))


def test_probabilities_draw_rows_with_replacement_the_same_every_time():
    sampling = Sampling((Group(np.arange(100), 100, np.repeat([0.019, 0.001], 50)),))
    order = sampling.order(0, 3)
    assert np.array_equal(order, sampling.order(0, 3))
    assert len(order) == 100
    assert np.mean(order < 50) > 0.85
    assert len(set(order)) < 100


@pytest.mark.parametrize("by_source", [(), ("natural",)])
def test_natural_sampling_is_that_of_one_data_set(mixed, by_source):
    sampling, rows = drawn(mixed, *by_source)
    for epoch in range(3):
        assert np.array_equal(sampling.order(4, epoch), uniform(rows).order(4, epoch))


@pytest.mark.parametrize(
    ("by_source", "shares"),
    [
        (("balanced",), (1, 1)),
        (("site=2",), (48, 2 * 58)),
        (("shards=0.5", "site=3"), (24, 174)),
        (("site=1",), (48, 58)),
    ],
)
@pytest.mark.parametrize("class_balanced", [False, True])
def test_every_epoch_has_its_number_of_images_of_each_source(
    mixed, by_source, shares, class_balanced
):
    sampling, rows = drawn(mixed, *by_source, class_balanced=class_balanced)
    own = counts_of(mixed, rows)
    assert own == [48, 58]
    exact = np.array(shares) / sum(shares) * len(rows)
    for epoch in range(4):
        order = sampling.order(7, epoch)
        counts = counts_of(mixed, order)
        assert sum(counts) == len(order) == len(rows)
        assert np.abs(counts - exact).max() < 1
        assert np.array_equal(order, sampling.order(7, epoch))
        assert not np.array_equal(order, sampling.order(7, epoch + 1))
        # the sources are mixed: neither stands first
        assert 0 < np.mean(mixed.member[order[: len(order) // 2]]) < 1
        if not class_balanced:  # no image again before all others of its source were there
            times = np.bincount(order, minlength=len(mixed.member))[rows]
            for number in (0, 1):
                some = times[mixed.member[rows] == number]
                assert some.max() - some.min() <= 1


@pytest.mark.parametrize("by_source", [(), ("balanced",), ("site=2.5",)])
@pytest.mark.parametrize("class_balanced", [False, True])
def test_expected_draws_are_the_mean_over_many_epochs(mixed, by_source, class_balanced):
    sampling, rows = drawn(mixed, *by_source, class_balanced=class_balanced)
    expected = sampling.expected_draws(rows)
    total = np.zeros(len(mixed.member))
    for epoch in range(EPOCHS):
        total += np.bincount(sampling.order(0, epoch), minlength=len(total))
    # draws of a row vary about as a Poisson number's do; five standard deviations
    assert np.abs(total[rows] / EPOCHS - expected).max() < 5 * np.sqrt(expected.max() / EPOCHS)
    assert expected.sum() == pytest.approx(len(rows))
    assert not total[np.setdiff1d(np.arange(len(total)), rows)].any()


def test_class_balanced_sampling_within_a_source_is_that_of_the_source(mixed):
    sampling, rows = drawn(mixed, "balanced", class_balanced=True)
    expected = sampling.expected_draws(rows)
    for number in (0, 1):
        own = mixed.member[rows] == number
        some = rows[own]
        found = expected[own] / expected[own].sum()
        assert found == pytest.approx(balanced_probabilities(mixed.labels[some], mixed.known[some]))


@pytest.mark.parametrize(
    ("by_source", "message"),
    [
        (("balanced", "site=2"), "--source-sampling balanced stands alone. Found balanced and"),
        (("sites=2",), "Unknown data set in --source-sampling 'sites'. Did you mean 'site'"),
        (("balancd",), "Did you mean 'balanced'"),
        (("site",), "Unknown --source-sampling 'site'"),
        (("site=0",), "--source-sampling site=0: a factor is a number above 0"),
        (("site=-1",), "a factor is a number above 0"),
        (("site=nan",), "a factor is a number above 0"),
        (("site=inf",), "a factor is a number above 0"),
        (("site=two",), "a factor is a number above 0"),
        (("site=1e-9",), "site would have no image in an epoch"),
        (("site=1e9",), "shards would have no image in an epoch"),
        (("site=2", "site=3"), "--source-sampling has two factors for site"),
    ],
)
def test_a_sampling_that_does_not_fit_the_data_sets_is_refused(mixed, by_source, message):
    with pytest.raises(UsageError, match=message):
        drawn(mixed, *by_source)


def test_a_sampling_by_source_of_one_data_set_is_refused(shards):
    one = open_datasets([str(shards)])
    for by_source in ("balanced", "shards=2"):
        with pytest.raises(UsageError, match="is for several data sets, and there is one"):
            choose_sampling(one, one.rows("train"), (by_source,), False)


def test_a_name_may_hold_an_equals_sign(mixed):
    renamed = replace(mixed.members[1], name="a=b/site")
    mixed = replace(mixed, members=(mixed.members[0], renamed))
    sampling, _ = drawn(mixed, "a=b/site=2")
    assert counts_of(mixed, sampling.order(0, 0)) == [31, 75]


def test_balanced_sampling_gives_every_finding_and_none_the_same_share():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 0], [0, 0]], dtype=np.uint8)
    probabilities = balanced_probabilities(labels, np.ones_like(labels))
    assert probabilities.sum() == pytest.approx(1)
    assert (
        probabilities[0]
        == pytest.approx(probabilities[1:4].sum())
        == pytest.approx(probabilities[4:].sum())
    )


def test_an_image_with_two_findings_is_drawn_for_both():
    labels = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.uint8)
    assert balanced_probabilities(labels, np.ones_like(labels)) == pytest.approx([0.5, 0.25, 0.25])


def test_an_unknown_positive_counts_as_none():
    labels, known = np.array([[1], [1]], dtype=np.uint8), np.array([[1], [0]], dtype=np.uint8)
    assert balanced_probabilities(labels, known) == pytest.approx([0.5, 0.5])
    assert balanced_probabilities(labels[1:], known[1:]) == pytest.approx([1])


def test_counts_under_balanced_sampling_are_those_of_an_epoch():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 0], [0, 0]], dtype=np.uint8)
    known = np.ones_like(labels)
    positives, negatives = label_counts(labels, known, 6 * balanced_probabilities(labels, known))
    assert positives == pytest.approx([2, 2])  # a third of six draws each
    assert negatives == pytest.approx([4, 4])
