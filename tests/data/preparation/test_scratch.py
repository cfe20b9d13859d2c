import errno
import os

import numpy as np
import pytest

from deepchest_cli.data.preparation.filling import Scratch


def image(value):
    return np.full((4, 4), value, np.uint8)


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    scratch = Scratch(tmp_path, size=4)
    for row in (12, 1, 10, 0, 11):
        scratch.put(row, image(row))
    assert scratch.take(np.array([10, 11, 12]))[:, 0, 0].tolist() == [10, 11, 12]
    assert scratch.take(np.array([1, 0]))[:, 0, 0].tolist() == [1, 0]
    scratch.close()


def test_room_is_used_again_and_no_file_is_seen(tmp_path):
    scratch = Scratch(tmp_path, size=4)
    for shard in range(50):
        rows = np.arange(2) + 1000 * shard  # a row far away takes no more room
        for row in rows.tolist():
            scratch.put(row, image(shard))
        assert (scratch.take(rows) == shard).all()
    assert os.fstat(scratch._file.fileno()).st_size == 2 * 16
    assert list(tmp_path.iterdir()) == []
    scratch.close()


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    scratch = Scratch(tmp_path, size=4)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        scratch.put(0, image(1))
    scratch.close()
