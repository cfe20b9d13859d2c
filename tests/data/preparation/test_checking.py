import h5py
import pytest

from deepchest_cli.data.preparation.checking import check_shards
from deepchest_cli.errors import UsageError


@pytest.fixture
def prepared(shards, tmp_path):
    import shutil

    return shutil.copytree(shards, tmp_path / "shards")


def problems(folder):
    return [
        problem for found in check_shards(folder, lambda *_: None) for problem in found.problems
    ]


def test_what_is_whole_has_no_problems(prepared):
    (found,) = check_shards(prepared, lambda *_: None)
    assert not found.problems and found.shards == 1 and found.images > 0


def test_one_changed_byte_is_found(prepared):
    path = prepared / "shard-00000.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert problems(prepared) == [f"{path} has other bytes than when it was written"]


def test_missing_cut_and_strange_files_are_named(prepared):
    path = prepared / "shard-00000.h5"
    (prepared / "shard-00007.h5").write_bytes(b"?")
    path.write_bytes(path.read_bytes()[:-5])
    cut, strange = problems(prepared)
    assert "bytes, not" in cut and "shard-00007.h5 is not in the manifest" in strange
    path.unlink()
    assert problems(prepared)[0] == f"{path} is missing"


def test_several_sizes_are_checked_together(prepared, tmp_path):
    (tmp_path / "both").mkdir()
    prepared.rename(tmp_path / "both" / "32")
    (found,) = check_shards(tmp_path / "both", lambda *_: None)
    assert found.folder.endswith("32")


def test_a_folder_without_data_is_said(tmp_path):
    with pytest.raises(UsageError, match="is not a prepared data set"):
        check_shards(tmp_path, lambda *_: None)


def test_shards_open_in_plain_hdf5(prepared):
    with h5py.File(prepared / "shard-00000.h5") as file:
        assert file.attrs["format_version"] == 3
        assert len(file["pixel_hash"]) == len(file["images"])
