"""Tables of which most images are not there: a data set of those that are, and each loss once."""

import json
import shutil

import numpy as np
import pytest
from test_layouts import LAYOUTS, pack_tar, pack_zip, shards
from test_layouts import prepare as prepare_source
from tests_support import rows_of

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data import archives
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation.checking import check_shards
from deepchest_cli.errors import DeepChestError

ALLOWED = PrepareConfig(size="32", workers=2, allow_missing=True)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Four blocks of 20 rows."""
    monkeypatch.setattr("deepchest_cli.data.preparation.planning.rows_per_shard", lambda size: 20)


@pytest.fixture
def sparse(nih_folder):
    """A folder that lacks two thirds of its images, and one of the others is damaged."""
    for number, path in enumerate(sorted((nih_folder / "images").iterdir())):
        if number % 3:
            path.unlink()
    (nih_folder / "images" / "00000002_001.png").write_text("damaged")
    return nih_folder


def prepare(source, folder, config=ALLOWED):
    return prepare_source(source, folder, config)


def counts(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return [entry["images"] for entry in manifest["shards"]]


def test_shards_are_cut_by_the_images_that_are_there(sparse, tmp_path):
    result = prepare(sparse, tmp_path / "out")
    assert counts(tmp_path / "out") == [13, 13]  # of 14 with the damaged one, and of 13
    assert list(shards(tmp_path / "out")) == ["shard-00000.h5", "shard-00002.h5"]
    assert result.manifest["excluded"]["images"] == 54
    assert len(open_dataset(tmp_path / "out").labels) == 26


def test_each_loss_is_listed_once_and_the_manifest_has_a_few_names(sparse, tmp_path):
    prepare(sparse, tmp_path / "out")
    listed = rows_of(tmp_path / "out" / "excluded.csv")
    assert len(listed) == 54 == len({row["image"] for row in listed})
    text = (tmp_path / "out" / "manifest.json").read_text()
    named = [row["image"] for row in listed if row["image"] in text]
    assert named == [row["image"] for row in listed[:5]]
    summary = json.loads(text)["excluded"]
    assert summary["reasons"] == {"the file is missing": 53, "cannot identify it as an image": 1}
    assert summary["first"] == named and summary["file"] == "excluded.csv"


def test_what_is_written_does_not_grow_with_the_rows_that_have_no_image(
    nih_folder, tmp_path, monkeypatch
):
    from deepchest_cli.data.preparation import folder

    written = []
    original = folder.write_json
    monkeypatch.setattr(
        folder,
        "write_json",
        lambda path, document: (
            written.append(len(json.dumps(document))),
            original(path, document),
        ),
    )
    sizes = []
    for rows in (0, 4000):
        written.clear()
        table = nih_folder / "Data_Entry_2017_v2020.csv"
        names = [f"{90000000 + number:08d}_000.png" for number in range(rows)]
        more = "".join(f"{name},Mass,0,{int(name[:8])},050Y,M,PA,1,1,1,1\n" for name in names)
        table.write_text(table.read_text() + more)
        lists = nih_folder / "train_val_list.txt"
        lists.write_text(lists.read_text() + "\n" + "\n".join(names))
        prepare(nih_folder, tmp_path / str(rows))
        sizes.append(sum(written) + (tmp_path / str(rows) / "manifest.json").stat().st_size)
    assert counts(tmp_path / "4000") == counts(tmp_path / "0") == [20, 20, 20, 20]
    assert sizes[1] < sizes[0] + 1000


@pytest.mark.parametrize("layout", ["tar.gz", "tar.gz, in disorder", "tar", "zip below data"])
def test_every_layout_gives_the_same_bytes(sparse, tmp_path, layout):
    prepare(sparse, tmp_path / "flat")
    pack = next(pack for name, pack in LAYOUTS.items() if name.startswith(layout))
    pack(sparse)
    prepare(sparse, tmp_path / "other")
    assert shards(tmp_path / "flat") == shards(tmp_path / "other")
    for name in ("excluded.csv", "contact-sheet.png"):
        assert (tmp_path / "flat" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_same_again_changes_nothing_and_reads_no_archive(sparse, tmp_path, monkeypatch):
    pack_tar(sparse)
    prepare(sparse, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(archives.gzip_ng, "GzipNGFile", None)  # whoever opens one fails
    assert prepare(sparse, tmp_path / "out").unchanged
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("pack", [None, pack_tar, pack_zip])
def test_a_shard_that_was_lost_is_made_again(sparse, tmp_path, pack):
    if pack is not None:
        pack(sparse)
    prepare(sparse, tmp_path / "out")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "shard-00002.h5").unlink()
    prepare(sparse, tmp_path / "out")
    assert whole == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_an_image_that_comes_between_changes_the_shard_around_it_alone(sparse, tmp_path):
    with pytest.raises(DeepChestError, match="54 images are missing or unreadable") as error:
        prepare(sparse, tmp_path / "out", PrepareConfig(size="32", workers=1))
    assert str(tmp_path / "out" / "excluded.csv") in error.value.hint
    first = tmp_path / "out" / "shard-00002.h5"
    kept = (first.stat().st_ino, first.stat().st_mtime_ns)
    shutil.copy(sparse / "images" / "00000001_000.png", sparse / "images" / "00000001_001.png")
    prepare(sparse, tmp_path / "out")
    assert counts(tmp_path / "out") == [14, 13]
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == kept
    prepare(sparse, tmp_path / "undisturbed")
    assert shards(tmp_path / "out") == shards(tmp_path / "undisturbed")


def test_a_shard_of_an_earlier_cut_is_removed(nih_folder, tmp_path):
    first, *others = sorted((nih_folder / "images").iterdir())
    kept = first.read_bytes()
    for path in (first, *others[:59]):
        path.unlink()
    prepare(nih_folder, tmp_path / "out")
    assert list(shards(tmp_path / "out")) == ["shard-00003.h5"]
    others[-1].unlink()  # room for another in the shard
    shutil.rmtree(tmp_path / "out")
    prepare(nih_folder, tmp_path / "out")
    first.write_bytes(kept)
    prepare(nih_folder, tmp_path / "out")
    assert counts(tmp_path / "out") == [20]
    assert list(shards(tmp_path / "out")) == ["shard-00000.h5"]
    (found,) = check_shards(tmp_path / "out", lambda *_: None)
    assert not found.problems


def test_images_that_are_gone_after_they_were_stored_are_not_missed(sparse, tmp_path):
    prepare(sparse, tmp_path / "out")
    before = shards(tmp_path / "out")
    for number, path in enumerate(sorted((sparse / "images").iterdir())):
        if number % 2:
            path.unlink()
    result = prepare(sparse, tmp_path / "out")
    assert shards(tmp_path / "out") == before
    assert result.manifest["excluded"]["images"] == 54


def test_a_block_of_unreadable_images_leaves_no_empty_shard(nih_folder, tmp_path):
    for path in sorted((nih_folder / "images").iterdir())[20:40]:
        path.write_text("damaged")
    result = prepare(nih_folder, tmp_path / "out")
    assert counts(tmp_path / "out") == [20, 20, 20]
    assert result.manifest["excluded"]["images"] == 20
    assert prepare(nih_folder, tmp_path / "out").unchanged


def test_a_data_set_of_an_early_version_0_1_is_read_and_checked(nih_folder, tmp_path):
    """It listed each missing image in the manifest, and again with its shard."""
    (nih_folder / "images" / "00000001_000.png").unlink()
    prepare(nih_folder, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["excluded"], manifest["shards"][0]["excluded"]
    lost = [{"image": "00000001_000.png", "reason": "the file is missing"}]
    manifest["left_out"] = manifest["shards"][0]["left_out"] = lost
    manifest["format_version"] = 2
    (tmp_path / "out" / "excluded.csv").unlink()
    path.write_text(json.dumps(manifest))
    assert len(open_dataset(tmp_path / "out").labels) == 79
    (found,) = check_shards(tmp_path / "out", lambda *_: None)
    assert not found.problems


def test_check_finds_a_list_of_losses_that_was_changed(sparse, tmp_path):
    prepare(sparse, tmp_path / "out")
    (found,) = check_shards(tmp_path / "out", lambda *_: None)
    assert not found.problems
    (tmp_path / "out" / "excluded.csv").write_text("image,reason\n")
    (found,) = check_shards(tmp_path / "out", lambda *_: None)
    assert [p for p in found.problems if "excluded.csv is missing or has other bytes" in p]
    prepare(sparse, tmp_path / "out")
    (found,) = check_shards(tmp_path / "out", lambda *_: None)
    assert not found.problems


def test_workers_and_passes_do_not_matter(sparse, tmp_path):
    prepare(sparse, tmp_path / "one", PrepareConfig(size="32", workers=1, allow_missing=True))
    prepare(sparse, tmp_path / "three", PrepareConfig(size="32", workers=3, allow_missing=True))
    both = [{p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "three")]
    assert both[0] == both[1]
    rows = open_dataset(tmp_path / "one").columns["image_index"]
    assert np.array_equal(rows, np.sort(rows))
