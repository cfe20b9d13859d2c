import errno
import os

import numpy as np
import pytest

from deepchest_cli.data.preparation.scratch import Scratch


def image(value):
    return np.full((4, 4), value, np.uint8)


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    scratch = Scratch(tmp_path, rows=3, size=4)
    for shard, row in ((1, 2), (0, 1), (1, 0), (0, 0), (1, 1)):
        scratch.put(shard, row, image(10 * shard + row))
    assert scratch.take(1, np.array([0, 1, 2]))[:, 0, 0].tolist() == [10, 11, 12]
    assert scratch.take(0, np.array([1, 0]))[:, 0, 0].tolist() == [1, 0]
    scratch.close()


def test_room_is_used_again_and_no_file_is_seen(tmp_path):
    scratch = Scratch(tmp_path, rows=2, size=4)
    for shard in range(50):
        scratch.put(shard, 0, image(shard))
        scratch.put(shard, 1, image(shard))
        assert (scratch.take(shard, np.arange(2)) == shard).all()
    assert os.fstat(scratch._file.fileno()).st_size == 2 * 16
    assert list(tmp_path.iterdir()) == []
    scratch.close()


def test_a_shard_without_images_takes_no_room(tmp_path):
    scratch = Scratch(tmp_path, rows=2, size=4)
    assert scratch.take(7, np.array([], dtype=np.int64)).shape == (0, 4, 4)
    scratch.close()


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    scratch = Scratch(tmp_path, rows=2, size=4)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        scratch.put(0, 0, image(1))
    scratch.close()
