"""What reading the images of shards asks of the system, and what it makes of its answers."""

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from deepchest_cli.data import shard_images
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import UnreadableShardError

ROWS = np.array([70, 3, 41, 3])


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order; nothing is in memory unless the list says so."""
    made = {"calls": [], "in memory": False, "error": errno.EAGAIN}
    preadv = os.preadv

    def read(descriptor, buffers, offset, flags=0):
        if flags and not made["in memory"]:
            raise OSError(made["error"], os.strerror(made["error"]))
        made["calls"].append("now" if flags else "read")
        return preadv(descriptor, buffers, offset)

    def advise(descriptor, offset, count, advice):
        made["calls"].append((offset, count))

    monkeypatch.setattr(shard_images, "NOWAIT", 8)
    monkeypatch.setattr(os, "preadv", read, raising=False)
    monkeypatch.setattr(os, "posix_fadvise", advise, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    return made


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_a_whole_batch_is_asked_for_before_the_first_image_is_waited_for(
    dataset, calls, shards, error
):
    expected = [image for row in ROWS for image in open_dataset(shards).gather(np.array([row]))]
    calls.update(error=error, calls=[])
    assert np.array_equal(dataset.gather(ROWS), expected)
    start = dataset.shards[0].start
    assert calls["calls"] == [(start + int(row) * 1024, 1024) for row in ROWS] + ["read"] * 4


def test_what_is_in_memory_is_not_asked_for(dataset, calls):
    calls["in memory"] = True
    dataset.gather(ROWS)
    assert calls["calls"] == ["now"] * 4


def test_large_images_are_asked_for_in_pieces_that_the_system_takes_whole(
    dataset, calls, monkeypatch
):
    monkeypatch.setattr(shard_images, "ASKED", 400)
    dataset.gather(np.array([2]))
    first = dataset.shards[0].start + 2 * 1024
    assert calls["calls"] == [(first, 400), (first + 400, 400), (first + 800, 224), "read"]


def test_a_whole_data_set_is_asked_for_a_few_images_at_a_time(dataset, calls, monkeypatch):
    monkeypatch.setattr(shard_images, "AT_A_TIME", 3)
    images = dataset.gather(np.arange(5))
    kinds = ["read" if call == "read" else "ask" for call in calls["calls"]]
    assert kinds == ["ask"] * 3 + ["read"] * 3 + ["ask"] * 2 + ["read"] * 2
    assert np.array_equal(images[3], dataset.gather(np.array([3]))[0])


def test_a_system_without_such_calls_reads_the_same(dataset, monkeypatch):
    expected = dataset.gather(ROWS)
    monkeypatch.setattr(shard_images, "NOWAIT", 0)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert np.array_equal(dataset.gather(ROWS), expected)


def test_an_image_that_comes_in_pieces_is_put_together(dataset, calls, monkeypatch):
    expected, preadv = dataset.gather(ROWS), os.preadv
    monkeypatch.setattr(os, "preadv", lambda d, b, at, *rest: preadv(d, [b[0][:300]], at, *rest))
    monkeypatch.setattr(shard_images, "NOWAIT", 0)
    assert np.array_equal(dataset.gather(ROWS), expected)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_error_of_storage_names_the_shard(dataset, monkeypatch, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(UnreadableShardError) as error:
        dataset.gather(ROWS)
    assert str(dataset.shards[0].path) in error.value.message
    assert os.strerror(number) in error.value.message


def test_a_file_that_ends_within_an_image_is_cut_short(dataset, monkeypatch):
    monkeypatch.setattr(os, "preadv", lambda *arguments: 0)  # as at the end of a file
    with pytest.raises(UnreadableShardError, match="was cut short while it was read"):
        dataset.gather(ROWS)


@pytest.mark.parametrize("rows", [[0, 80], [-1]])
def test_rows_that_are_not_there_are_refused(dataset, rows):
    with pytest.raises(IndexError, match="of 80 images"):
        dataset.gather(np.array(rows))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc on this system")
def test_files_are_open_as_long_as_their_data_set_and_not_mapped(shards):
    def found():
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        files = sum(str(path.readlink()).startswith(str(shards)) for path in links)
        return files, Path("/proc/self/maps").read_text().count(str(shards))

    gc.collect()
    files, maps = found()
    dataset = open_dataset(shards)
    assert found() == (files + 1, maps)
    del dataset
    gc.collect()
    assert found() == (files, maps)
