"""The same command again, after something of the source changed: never a stale data set."""

import io
import shutil
import tarfile

import pytest
from PIL import Image
from test_layouts import pack_tar, pack_zip, prepare, shards

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import DeepChestError, UsageError

HEAD = "Path,patient,family,Effusion,Pleural Effusion\n"


@pytest.fixture
def table(nih_folder, tmp_path):
    rows = [f"{n:08d}_000.png,P{n},F{n // 5},{n % 2},{(n + 1) % 2}\n" for n in range(1, 31)]
    (tmp_path / "labels.csv").write_text(HEAD + "".join(rows))
    return tmp_path / "labels.csv"


def config(table, **settings):
    values = {"patient_column": "patient", "label_columns": "Effusion", **settings}
    return PrepareConfig(size="32", workers=1, labels_csv=table, **values)


@pytest.mark.parametrize(
    "changed", [{"patient_column": "family"}, {"label_columns": "Pleural Effusion"}, {"seed": 3}]
)
def test_other_columns_of_the_same_table_are_another_source(nih_folder, tmp_path, table, changed):
    prepare(nih_folder, tmp_path / "out", config(table))
    with pytest.raises(UsageError, match="holds data prepared from"):
        prepare(nih_folder, tmp_path / "out", config(table, **changed))


def test_a_table_and_a_split_file_of_one_name_both_count(nih_folder, tmp_path, table):
    (tmp_path / "parts").mkdir()
    parts = tmp_path / "parts" / "labels.csv"
    rows = "".join(f"{n:08d}_000.png,{('train', 'test')[n % 2]}\n" for n in range(1, 31))
    parts.write_text("Path,split\n" + rows)
    given = config(table, split_scheme=str(parts))
    manifest = prepare(nih_folder, tmp_path / "out", given).manifest
    assert set(manifest["source"]["sha256"]) == {"labels.csv", "split:labels.csv"}
    table.write_text(table.read_text().replace(",0,1\n", ",1,1\n"))
    with pytest.raises(UsageError, match="other sources"):
        prepare(nih_folder, tmp_path / "out", given)


@pytest.mark.parametrize("packed", [False, True])
def test_a_changed_image_is_converted_anew_and_its_shard_alone(nih_folder, tmp_path, packed):
    kept = shutil.copytree(nih_folder / "images", tmp_path / "kept")
    if packed:
        pack_zip(nih_folder)
    prepare(nih_folder, tmp_path / "out")
    before = shards(tmp_path / "out")
    name = "00000002_000.png"
    with Image.open(kept / name) as image:
        image.rotate(90).resize((50, 50)).save(kept / name)
    if packed:
        shutil.rmtree(nih_folder / "data" / "images")
    shutil.copytree(kept, nih_folder / "images", dirs_exist_ok=True)
    if packed:
        shutil.copytree(nih_folder / "data", nih_folder, dirs_exist_ok=True)
        shutil.rmtree(nih_folder / "data")
        pack_zip(nih_folder)
    assert not prepare(nih_folder, tmp_path / "out").unchanged
    after = shards(tmp_path / "out")
    assert [name for name in before if before[name] != after[name]] == ["shard-00000.h5"]


def test_images_that_are_gone_after_they_were_stored_are_not_missed(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "out")
    for path in (nih_folder / "images").iterdir():
        path.unlink()
    assert prepare(nih_folder, tmp_path / "out").unchanged


def test_an_archive_that_was_damaged_is_read_again_though_its_length_is_the_same(
    nih_folder, tmp_path
):
    prepare(nih_folder, tmp_path / "undisturbed")
    pack_tar(nih_folder)
    path = nih_folder / "images_001.tar.gz"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for place in (len(whole) // 2, len(whole) // 2 + 1):
        damaged[place] ^= 255
    path.write_bytes(damaged)
    allowed = PrepareConfig(size="32", workers=2, allow_missing=True)
    manifest = prepare(nih_folder, tmp_path / "out", allowed).manifest
    assert manifest["damaged_archives"] == ["images_001.tar.gz"]
    assert manifest["excluded"]["images"]
    with pytest.raises(DeepChestError):  # not without leave
        prepare(nih_folder, tmp_path / "out")
    path.write_bytes(whole)
    assert prepare(nih_folder, tmp_path / "out").manifest["counts"]["all"]["images"] == 80
    assert shards(tmp_path / "out") == shards(tmp_path / "undisturbed")


def test_an_archive_that_repeats_an_image_and_is_cut_short_is_damaged(nih_folder, tmp_path):
    pack_tar(nih_folder)
    path = nih_folder / "images_001.tar.gz"
    with tarfile.open(path) as archive:
        members = [(one, archive.extractfile(one).read()) for one in archive.getmembers()]
    with tarfile.open(path, "w:gz") as archive:
        for member, content in (members[0], *members):
            archive.addfile(member, io.BytesIO(content))
    repeated = path.read_bytes()
    path.write_bytes(repeated[:-9])
    allowed = PrepareConfig(size="32", workers=2, allow_missing=True)
    manifest = prepare(nih_folder, tmp_path / "out", allowed).manifest
    assert manifest["damaged_archives"] == ["images_001.tar.gz"]
    path.write_bytes(repeated)
    with pytest.raises(UsageError, match="is there twice: in images_001.tar.gz and in images_001"):
        prepare(nih_folder, tmp_path / "other")


def test_a_list_that_names_no_image_of_the_table_is_refused(nih_folder, tmp_path):
    (nih_folder / "test_list.txt").write_text("<html>404</html>")
    with pytest.raises(UsageError, match=r"test_list.txt names none of the 80 images"):
        prepare(nih_folder, tmp_path / "out")


def test_a_size_does_not_depend_on_the_others(nih_folder, tmp_path):
    speck = Image.new("L", (1000, 1000), 90)
    speck.putpixel((0, 0), 91)  # gone when it is shrunk
    speck.paste(200, (480, 480, 520, 520))
    speck.save(nih_folder / "images" / "00000001_000.png")
    prepare(nih_folder, tmp_path / "64", PrepareConfig(size="64", workers=1))
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    both = PrepareConfig(size="28,64", workers=1)
    run_preparation(plan_preparation(both, nih_folder), both, tmp_path / "both", lambda *_: None)
    assert shards(tmp_path / "64") == shards(tmp_path / "both" / "64")


def test_no_finding_means_that_all_findings_are_known(nih_folder, tmp_path, table):
    rows = [f"{n:08d}_000.png,P{n},F{n},{cell}," for n, cell in enumerate(("0", "0", "1", ""), 1)]
    table.write_text(HEAD + "\n".join(rows))
    counts = prepare(nih_folder, tmp_path / "out", config(table)).manifest["counts"]["all"]
    assert (counts["images"], counts["no_finding"]) == (4, 2)
    assert counts["known"] == {"Effusion": 3} and counts["positives"] == {"Effusion": 1}


def test_force_keeps_what_is_not_its_own_and_replaces_only_when_there_is_room(
    nih_folder, tmp_path, monkeypatch
):
    prepare(nih_folder, tmp_path / "out")
    (tmp_path / "out" / "shard-mine.h5").write_text("precious")
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    forced = PrepareConfig(size="600", workers=1, force=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    before = shards(tmp_path / "out")
    with pytest.raises(UsageError, match="has 10 KB left"):
        prepare(nih_folder, tmp_path / "out", forced)
    assert shards(tmp_path / "out") == before
    monkeypatch.undo()
    prepare(nih_folder, tmp_path / "out", PrepareConfig(size="40", workers=1, force=True))
    assert (tmp_path / "out" / "shard-mine.h5").read_text() == "precious"


def test_a_data_set_does_not_hold_others(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "out")
    with pytest.raises(UsageError, match="is a data set itself"):
        prepare(nih_folder, tmp_path / "out", PrepareConfig(size="32,40"))
    assert len(open_dataset(tmp_path / "out").labels) == 80


def test_a_data_set_inside_its_source_does_not_disturb_it(nih_folder, tmp_path, table):
    inside = nih_folder / "shards"
    prepare(nih_folder, inside, config(table))
    prepare(nih_folder, nih_folder / "more", config(table, seed=1))
    assert prepare(nih_folder, inside, config(table)).unchanged
