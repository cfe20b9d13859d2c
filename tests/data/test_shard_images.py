"""When images are prefetched before they are copied, and what the system is then asked."""

import gc
import mmap
import os
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deepchest_cli.data import shard_images
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.shard_images import ImageCopies, Shard

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)


class Storage:
    """A shard that notes what is done with it; pages are waited for unless asked for."""

    def __init__(self):
        self.events = []
        self.in_memory, self.cached = False, set()
        self.asked, self.waits = set(), 0

    def refuse_cut(self):
        self.events.append("look")

    def prefetch(self, place):
        self.asked.add(place)
        self.events.append(f"prefetch {place}")

    @property
    def images(self):
        return self

    def __getitem__(self, place):
        self.waits += not self.in_memory and place not in self.asked | self.cached
        self.events.append(f"copy {place}")
        return IMAGES[place]


@pytest.fixture
def storage(monkeypatch):
    storage = Storage()
    monkeypatch.setattr(shard_images, "_major_faults", lambda: storage.waits)
    monkeypatch.setattr(shard_images, "MIN_INTERVAL", 8)
    return storage


def read(copies, *places):
    """Copy a batch; return whether it was asked for as a whole."""
    storage, out = copies.shards[0], np.empty((len(places), 8, 8), np.uint8)
    storage.events, storage.asked = [], set()
    copies.copy([0] * len(places), list(places), out)
    assert np.array_equal(out, IMAGES[list(places)])
    return storage.asked == set(places)


def asked(copies, batches):
    """Return which of some batches were asked for as a whole, a letter each."""
    return "".join("a" if read(copies, 1, 2) else "." for _ in range(batches))


def test_a_batch_is_asked_for_as_a_whole_before_it_is_copied(storage):
    copies = ImageCopies([storage])
    assert not read(copies, 3, 9, 5)  # nothing is known before the first is copied
    assert storage.events == ["look", "copy 3", "prefetch 9", "prefetch 5", "copy 9", "copy 5"]
    assert read(copies, 7, 3, 3)
    assert storage.events == [
        "look", "prefetch 7", "prefetch 3", "prefetch 3", "copy 7", "copy 3", "copy 3"
    ]  # fmt: skip


def test_one_batch_in_ever_more_is_begun_without(storage):
    copies = ImageCopies([storage])
    assert asked(copies, 60) == "." + "a" * 8 + "." + "a" * 16 + "." + "a" * 32 + "."
    copies.interval, copies.prefetches_left = 1024, 0
    assert not read(copies, 1, 2)
    assert (copies.prefetches_left, copies.interval) == (1024, 1024)


def test_nothing_is_asked_for_once_all_is_in_memory(storage):
    copies = ImageCopies([storage])
    assert asked(copies, 10) == "." + "a" * 8 + "."
    storage.in_memory = True
    assert asked(copies, 30) == "a" * 16 + "." * 14
    storage.in_memory = False  # others have taken the memory
    assert asked(copies, 10) == "." + "a" * 8 + "."


def test_a_batch_of_which_a_later_image_is_waited_for_is_noticed_too(storage):
    copies = ImageCopies([storage])
    storage.cached = {1}
    assert not read(copies, 1, 2, 3)
    assert storage.events == ["look", "copy 1", "copy 2", "copy 3"]
    assert read(copies, 1, 2, 3)


def test_a_whole_data_set_is_asked_for_a_few_images_at_a_time(storage, monkeypatch):
    monkeypatch.setattr(shard_images, "PREFETCH_IMAGES", 3)
    read(ImageCopies([storage]), *range(8))
    events = ["look", "copy 0", "prefetch 1", "prefetch 2", "copy 1", "copy 2"]
    for some in ((3, 4, 5), (6, 7)):
        events += [*(f"prefetch {place}" for place in some), *(f"copy {place}" for place in some)]
    assert storage.events == events


@pytest.mark.parametrize("side", [30, 64, 224, 512])
def test_the_system_is_asked_for_whole_pages_no_more_than_it_takes_at_a_time(side):
    asked = []

    class Mapping:
        def madvise(self, advice, start, length):
            assert advice == mmap.MADV_WILLNEED
            assert start % mmap.PAGESIZE == 0
            assert 0 < length <= 128 * 1024
            asked.append((start, start + length))

    images = np.zeros((5, side, side), np.uint8)
    shard = Shard(Path("none"), images, 0, Mapping(), 2048)
    shard.prefetch(3)
    first = 2048 + 3 * side * side
    assert first - mmap.PAGESIZE < asked[0][0] <= first
    assert asked[-1][1] == first + side * side
    assert all(one[1] == other[0] for one, other in pairwise(asked))
    replace(shard, mapping=None).prefetch(3)  # nothing to prefetch


def test_pages_that_are_waited_for_are_counted(shards, tmp_path):
    """Files that are not in memory are noticed, and are read the same when asked for."""
    paths = sorted(shards.iterdir())
    for path in paths:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copy = open_dataset(tmp_path)
    expected = open_dataset(shards).gather(np.arange(80))
    flags = getattr(os, "RWF_NOWAIT", None)
    if flags is None:
        pytest.skip("no way to see what is in memory on this system")
    with copy.shards[0].path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = copy.shards[0].start + 40 * 1024
        try:
            if os.preadv(file.fileno(), [bytearray(1)], start, flags):
                pytest.skip("this file system keeps all in memory")
        except BlockingIOError:
            pass
        except OSError:
            pytest.skip("this file system cannot tell what is in memory")
        assert copy._copies.prefetches_left == 0
        assert np.array_equal(copy.gather(np.arange(40, 44)), expected[40:44])
        assert copy._copies.prefetches_left == shard_images.MIN_INTERVAL
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert np.array_equal(copy.gather(np.arange(80)), expected)
    assert copy._copies.prefetches_left == shard_images.MIN_INTERVAL - 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc on this system")
def test_a_shard_takes_one_open_file_as_long_as_its_data_set_lives(shards):
    def found():
        targets = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile, by another thread
                targets.append(str(link.readlink()))
        return sum(target.startswith(str(shards)) for target in targets)

    gc.collect()
    before = found()
    dataset = open_dataset(shards)
    assert found() == before + 1
    del dataset
    gc.collect()
    assert found() == before
