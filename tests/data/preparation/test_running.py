import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from tests_support import read_radiograph, rows_of

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import locked

CONFIG = PrepareConfig(size="32", workers=1)


def prepare(source: Path, folder: Path, config: PrepareConfig = CONFIG):
    plan = plan_preparation(config, source)
    (result,) = run_preparation(plan, config, folder, lambda *_: None)
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_shards(monkeypatch):
    """Several shards from a small folder; in this process, where the patch holds."""
    monkeypatch.setattr("deepchest_cli.data.preparation.planning.rows_per_shard", lambda size: 20)


def test_images_labels_and_metadata_arrive(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "shards")
    dataset = open_dataset(tmp_path / "shards")
    names = list(dataset.columns["image_index"])
    assert len(names) == 80
    assert names == sorted(names)
    rows = np.array([60, 3, 17])
    for row, image in zip(rows, dataset.gather(rows), strict=True):
        assert np.array_equal(image, read_radiograph(nih_folder / "images" / names[row], 32))
    row = names.index("00000004_001.png")
    assert {f for f, on in zip(dataset.findings, dataset.labels[row], strict=True) if on} == {
        "Mass"
    }
    assert dataset.columns["patient_id"][row] == 4
    assert dataset.columns["age"][row] == 51
    assert dataset.columns["split"][row] == "test"
    assert dataset.known.all()


def test_boxes_are_scaled_to_the_stored_frame(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "shards")
    with h5py.File(tmp_path / "shards" / "shard-00000.h5") as file:
        assert file["box"][:].tolist() == [[8.0, 16.0, 4.0, 2.0]]
        assert file["box_finding"][0] == b"Infiltration"
        assert file["image_index"][file["box_row"][0]] == b"00000004_001.png"
        assert file["images"].chunks is None


def test_the_bytes_depend_on_source_and_settings_only(nih_folder, tmp_path, small_shards):
    prepare(nih_folder, tmp_path / "one")
    prepare(nih_folder, tmp_path / "two", PrepareConfig(size="32", workers=3))
    assert len(contents(tmp_path / "one")) == 6
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    prepare(nih_folder, tmp_path / "other", PrepareConfig(size="32", workers=1, seed=1))
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_the_same_again_changes_nothing(nih_folder, tmp_path):
    assert not prepare(nih_folder, tmp_path / "shards").unchanged
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    assert prepare(nih_folder, tmp_path / "shards").unchanged
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}


def test_other_settings_are_refused_by_name_and_replaced_on_demand(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "shards")
    before = contents(tmp_path / "shards")
    other = PrepareConfig(size="40", workers=1)
    with pytest.raises(UsageError, match="size 32, not 40"):
        prepare(nih_folder, tmp_path / "shards", other)
    assert contents(tmp_path / "shards") == before
    forced = PrepareConfig(size="40", workers=1, force=True)
    prepare(nih_folder, tmp_path / "shards", forced)
    assert open_dataset(tmp_path / "shards").size == 40


def test_a_folder_with_other_files_is_left_alone(nih_folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        prepare(nih_folder, tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"precious"}


def test_a_damaged_manifest_is_replaced_on_demand(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "shards")
    whole = contents(tmp_path / "shards")
    (tmp_path / "shards" / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        prepare(nih_folder, tmp_path / "shards")
    prepare(nih_folder, tmp_path / "shards", PrepareConfig(size="32", workers=1, force=True))
    assert contents(tmp_path / "shards") == whole


def test_a_second_process_waits_its_turn(nih_folder, tmp_path):
    (tmp_path / "shards").mkdir()
    with locked(tmp_path / "shards"), pytest.raises(UsageError, match="Another deepchest process"):
        prepare(nih_folder, tmp_path / "shards")


def test_without_leave_a_data_set_with_lost_images_is_withdrawn(nih_folder, tmp_path):
    spoil(nih_folder)
    prepare(
        nih_folder, tmp_path / "shards", PrepareConfig(size="32", workers=1, allow_missing=True)
    )
    with pytest.raises(DeepChestError, match="nothing is published"):
        prepare(nih_folder, tmp_path / "shards")
    with pytest.raises(UsageError):
        open_dataset(tmp_path / "shards")


def test_a_damaged_shard_is_refused_and_mended(nih_folder, tmp_path, small_shards):
    prepare(nih_folder, tmp_path / "shards")
    whole = contents(tmp_path / "shards")
    path = tmp_path / "shards" / "shard-00001.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DeepChestError, match="shard-00001.h5 is missing or cut short"):
        open_dataset(tmp_path / "shards")
    prepare(nih_folder, tmp_path / "shards")
    assert contents(tmp_path / "shards") == whole


def test_a_shard_without_its_hash_does_not_count(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "shards")
    path = tmp_path / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["sha256"] = None
    path.write_text(json.dumps(manifest))
    with pytest.raises(DeepChestError, match="no hash of shard-00000.h5"):
        open_dataset(tmp_path / "shards")


def test_an_unfinished_preparation_is_no_data_set(nih_folder, tmp_path, small_shards, monkeypatch):
    undisturbed = prepare(nih_folder, tmp_path / "undisturbed")
    plan = plan_preparation(CONFIG, nih_folder)

    class CutError(Exception):
        pass

    def cut(done, total):
        if (tmp_path / "shards" / "shard-00001.h5").exists():
            raise CutError

    with pytest.raises(CutError):
        run_preparation(plan, CONFIG, tmp_path / "shards", cut)
    with pytest.raises(UsageError, match="preparation was not finished"):
        open_dataset(tmp_path / "shards")
    assert not prepare(nih_folder, tmp_path / "shards").unchanged
    assert contents(tmp_path / "shards") == contents(tmp_path / "undisturbed")
    assert undisturbed.manifest["counts"]["all"]["images"] == 80


def spoil(nih_folder: Path) -> None:
    images = nih_folder / "images"
    (images / "00000001_000.png").unlink()
    (images / "00000002_000.png").write_bytes((images / "00000002_000.png").read_bytes()[:900])
    (images / "00000003_000.png").write_text("not an image")
    Image.new("L", (48, 48), 0).save(images / "00000005_000.png")


def test_lost_images_publish_nothing(nih_folder, tmp_path):
    spoil(nih_folder)
    with pytest.raises(DeepChestError, match="4 images are missing or unreadable") as error:
        prepare(nih_folder, tmp_path / "shards")
    assert "00000001_000.png: the file is missing" in error.value.message
    assert "00000005_000.png: all pixels have one value (0)" in error.value.message
    assert "--allow-missing" in error.value.hint
    with pytest.raises(UsageError):
        open_dataset(tmp_path / "shards")


def test_lost_images_are_listed_and_not_turned_black(nih_folder, tmp_path):
    spoil(nih_folder)
    config = PrepareConfig(size="32", workers=1, allow_missing=True)
    manifest = prepare(nih_folder, tmp_path / "shards", config).manifest
    assert manifest["excluded"]["images"] == 4
    assert manifest["excluded"]["reasons"]["the file is missing"] == 1
    listed = rows_of(tmp_path / "shards" / "excluded.csv")
    assert listed[0] == {"image": "00000001_000.png", "reason": "the file is missing"}
    assert [row["image"] for row in listed] == manifest["excluded"]["first"]
    assert manifest["counts"]["all"]["images"] == 76
    dataset = open_dataset(tmp_path / "shards")
    assert len(dataset.labels) == 76
    assert "00000003_000.png" not in dataset.columns["image_index"]
    assert dataset.gather(np.arange(76)).reshape(76, -1).std(axis=1).min() > 0


def test_restored_images_are_taken_up(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "undisturbed")
    lost = nih_folder / "images" / "00000001_000.png"
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DeepChestError):
        prepare(nih_folder, tmp_path / "shards")
    lost.write_bytes(kept)
    prepare(nih_folder, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "undisturbed")


def test_nested_images_and_surplus_ones(nih_folder, tmp_path):
    nested = nih_folder / "images_001" / "images"
    nested.parent.mkdir()
    shutil.move(nih_folder / "images", nested)
    Image.new("L", (5, 5)).save(nested / "99999999_000.png")
    plan = plan_preparation(CONFIG, nih_folder)
    assert all(plan.place(row) for row in range(len(plan.table)))
    assert any("1 image has no row" in note for note in plan.notes)


def test_an_image_in_two_places_is_refused(nih_folder, tmp_path):
    shutil.copytree(nih_folder / "images", nih_folder / "copy")
    plan = plan_preparation(CONFIG, nih_folder)
    assert "80 files are there twice with the same bytes; one is used." in plan.notes
    Image.new("L", (5, 5)).save(nih_folder / "copy" / "00000001_000.png")
    with pytest.raises(UsageError, match="00000001_000.png is there twice: in .*copy"):
        plan_preparation(CONFIG, nih_folder)


def test_random_split_needs_no_lists(nih_folder, tmp_path):
    (nih_folder / "test_list.txt").unlink()
    (nih_folder / "train_val_list.txt").unlink()
    config = PrepareConfig(size="32", workers=1, split_scheme="random")
    manifest = prepare(nih_folder, tmp_path / "shards", config).manifest
    assert manifest["settings"]["split_scheme"] == "random"
    assert manifest["counts"]["test"]["patients"] == 8


def test_no_space_left_keeps_nothing_half_written(nih_folder, tmp_path, monkeypatch):
    def full(path, *arguments):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device.*shard-00000\.h5"):
        prepare(nih_folder, tmp_path / "shards")
    assert list(contents(tmp_path / "shards")) == ["preparation.json"]
    monkeypatch.undo()
    prepare(nih_folder, tmp_path / "undisturbed")
    prepare(nih_folder, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "undisturbed")


# `deepchest` that is killed once it has recorded its first shard: who watched it from outside could
# be too late
KILLED = """
import os, signal
from pathlib import Path
from deepchest_cli.app import main
replace = Path.replace
def record(self, target):
    replaced = replace(self, target)
    if replaced.name == "preparation.json" and "shard-00000.h5" in replaced.read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return replaced
Path.replace = record
main()
"""


def test_kill_and_the_same_command_again(nih_folder, tmp_path):
    arguments = ["prepare", "--source", nih_folder, "--size", "1024", "--workers", "1"]
    folder, first = tmp_path / "shards", tmp_path / "shards" / "shard-00000.h5"

    def run(folder, *program):  # 32 rows a shard at this size
        command = [sys.executable, *program, *arguments, "--data", folder]
        return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode

    assert run(tmp_path / "undisturbed", "-m", "deepchest_cli") == 0
    assert run(folder, "-c", KILLED) == -signal.SIGKILL
    assert not (folder / "manifest.json").exists()
    (folder / ".shard-00001.h5.1.tmp").touch()  # as one that is killed while it writes leaves it
    written = first.stat()
    assert run(folder, "-m", "deepchest_cli") == 0
    kept = first.stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert len(list(folder.glob("shard-*.h5"))) == 3
    assert contents(folder) == contents(tmp_path / "undisturbed")


def test_no_image_at_all_publishes_nothing(nih_folder, tmp_path):
    shutil.rmtree(nih_folder / "images")
    with pytest.raises(DeepChestError, match="None of the images"):
        prepare(nih_folder, tmp_path / "shards", PrepareConfig(size="32", allow_missing=True))


def test_linked_folders_are_followed_and_loops_are_not(nih_folder, tmp_path):
    shutil.move(nih_folder / "images", tmp_path / "elsewhere")
    (nih_folder / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(nih_folder)
    plan = plan_preparation(CONFIG, nih_folder)
    assert all(plan.place(row) for row in range(len(plan.table)))


def test_what_is_no_file_is_no_image(nih_folder, tmp_path):
    (nih_folder / "images" / "00000001_000.png").unlink()
    os.mkfifo(nih_folder / "images" / "00000001_000.png")
    with pytest.raises(DeepChestError, match="00000001_000.png: the file is missing"):
        prepare(nih_folder, tmp_path / "shards")


@pytest.mark.parametrize("text", ['{"format_version": 2}', '{"format_version": 2, "shards": 3}'])
def test_a_manifest_without_its_parts_is_damaged(nih_folder, tmp_path, text):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        open_dataset(tmp_path / "shards")
    prepare(nih_folder, tmp_path / "shards", PrepareConfig(size="32", workers=1, force=True))
    assert len(open_dataset(tmp_path / "shards").labels) == 80
