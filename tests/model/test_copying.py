import os

import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.files import temporary_path
from deepchest_cli.model.copying import copy_target


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "run" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"model")
    (path.parent / "config.toml").touch()
    return path


@pytest.mark.parametrize(
    ("out", "target"),
    [("site", "site/best.pt"), ("v1.2", "v1.2/best.pt"), ("deep/site.pt", "deep/site.pt")],
)
def test_a_checkpoint_goes_into_a_folder_or_a_file(model, tmp_path, out, target):
    assert copy_target(model, tmp_path / out, False) == tmp_path / target
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # nothing is made


def test_an_onnx_file_goes_into_a_file(tmp_path):
    onnx = tmp_path / "model.onnx"
    onnx.touch()
    assert copy_target(onnx, tmp_path / "b.onnx", False) == tmp_path / "b.onnx"
    for out in ("site", "site.pt"):
        with pytest.raises(UsageError, match=r"ends in \.onnx") as caught:
            copy_target(onnx, tmp_path / out, False)
        assert f"{out}.onnx" in caught.value.hint


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_checkpoint_does_not_become_an_exported_file(model, tmp_path, suffix):
    with pytest.raises(UsageError, match="is a folder, or a file") as caught:
        copy_target(model, tmp_path / f"site{suffix}", False)
    assert "deepchest export" in caught.value.hint


@pytest.mark.parametrize("out", ["site", "site.pt"])
def test_what_is_there_is_replaced_by_force_alone(model, tmp_path, out):
    target = copy_target(model, tmp_path / out, False)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"earlier")
    with pytest.raises(UsageError, match="exists already") as caught:
        copy_target(model, tmp_path / out, False)
    assert "--force" in caught.value.hint
    assert copy_target(model, tmp_path / out, True) == target


def test_an_empty_folder_and_what_a_killed_process_left_are_nothing(model, tmp_path):
    (tmp_path / "site").mkdir()
    temporary_path(tmp_path / "site" / "best.pt", process=2**22 + 1).touch()
    assert copy_target(model, tmp_path / "site", False) == tmp_path / "site" / "best.pt"


def test_the_model_itself_is_never_written(model, tmp_path):
    os.link(model, tmp_path / "same.pt")
    (tmp_path / "latest").symlink_to(model.parent)
    for out in (model, tmp_path / "same.pt", tmp_path / "latest", model.parent):
        with pytest.raises(UsageError, match="the model itself|the folder of a run"):
            copy_target(model, out, True)


def test_the_folder_of_a_run_and_of_other_files_are_never_written(model, tmp_path):
    other = tmp_path / "other.pt"
    other.touch()
    with pytest.raises(UsageError, match="the folder of a run"):
        copy_target(other, model.parent, True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text.md").touch()
    with pytest.raises(UsageError, match=r"it holds text\.md"):
        copy_target(other, tmp_path / "notes", True)
    with pytest.raises(UsageError, match="exists already"):
        copy_target(other, tmp_path / "notes" / "text.md", True)
