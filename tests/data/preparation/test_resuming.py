import numpy as np
import pytest

from deepchest_cli.data.preparation.resuming import cut_shards, full_blocks


def draw(share, rows=1030, seed=0):
    return np.random.default_rng(seed).random(rows) < share


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.45, 0.6, 0.99, 1])
def test_every_image_that_is_there_is_in_one_shard_and_no_shard_is_empty_or_too_large(share):
    there = draw(share)
    shards = cut_shards(there, 16)
    rows = np.concatenate([*shards.values(), np.array([], dtype=np.int64)])
    assert rows.tolist() == np.flatnonzero(there).tolist()
    assert all(0 < len(rows) <= 16 for rows in shards.values())
    assert len(shards) <= 2 * there.sum() // 16 + 10


def test_where_all_are_there_a_shard_is_a_block_of_rows():
    shards = cut_shards(np.ones(50, dtype=bool), 16)
    assert {name: (rows[0], rows[-1]) for name, rows in shards.items()} == {
        "shard-00000.h5": (0, 15),
        "shard-00001.h5": (16, 31),
        "shard-00002.h5": (32, 47),
        "shard-00003.h5": (48, 49),
    }


def test_few_images_of_many_rows_are_one_shard():
    there = np.zeros(100_000, dtype=bool)
    there[::2000] = True
    assert [len(rows) for rows in cut_shards(there, 512).values()] == [50]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_an_image_that_comes_changes_the_shard_around_it_alone(share):
    there = draw(share)
    before = {tuple(rows) for rows in cut_shards(there, 16).values()}
    for row in np.flatnonzero(~there)[::37]:
        more = there.copy()
        more[row] = True
        after = {tuple(rows) for rows in cut_shards(more, 16).values()}
        assert len(before - after) <= 1


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_full_blocks_stay_whatever_is_missing_elsewhere(share):
    maybe = np.ones(1030, dtype=bool)
    certain = full_blocks(maybe, 16)
    there = draw(share)
    there[160:192] = True  # two that are full in the end
    final = cut_shards(there, 16)
    kept = [name for name, rows in certain.items() if there[rows].all()]
    assert {"shard-00010.h5", "shard-00011.h5"} <= set(kept)
    assert all(np.array_equal(final[name], certain[name]) for name in kept)
    assert "shard-00064.h5" not in certain  # the last block is not full: it may go with another
