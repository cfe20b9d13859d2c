"""Which candidate images make a shard together, by what is there."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.shards import shard_name

Shards = dict[str, NDArray[np.int64]]  # a shard's file name to its candidate rows


def cut_shards(there: NDArray[np.bool_], most: int) -> Shards:
    """Return the rows of each shard: at most `most` of those whose images are there (N,).

    Blocks of `most` rows are the leaves of a binary tree, and a shard is the largest of its
    branches that holds no more than `most` images. So no shard is empty, shards with few images
    are put together, and an image that comes or goes changes the shard around it and no other. A
    shard has the number of the block of its first image.
    """
    blocks = -(-len(there) // most)
    before = np.concatenate([[0], np.cumsum(there)])[
        np.minimum(np.arange(blocks + 1) * most, len(there))
    ]
    shards: Shards = {}
    for first, last in _branches(before, 0, 1 << max(blocks - 1, 0).bit_length(), most):
        rows = np.flatnonzero(there[first * most : last * most]) + first * most
        shards[shard_name(int(rows[0]) // most)] = rows
    return shards


def full_blocks(there: NDArray[np.bool_], most: int) -> Shards:
    """Return the shards that stay as they are whichever images of other blocks are there."""
    return {name: rows for name, rows in cut_shards(there, most).items() if len(rows) == most}


def _branches(
    before: NDArray[np.int64], first: int, width: int, most: int
) -> Iterator[tuple[int, int]]:
    """Yield first and last block of each shard; before: images before each block."""
    last = min(first + width, len(before) - 1)
    images = before[last] - before[first] if first < last else 0
    if images and (images <= most or width == 1):
        yield first, last
    elif images:
        for half in (first, first + width // 2):
            yield from _branches(before, half, width // 2, most)
