"""The same radiographs in every layout in which people hold them give the same bytes."""

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import read_radiograph

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import DeepChestError, UsageError

CONFIG = PrepareConfig(size="32", workers=2)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of 20 rows, so that archives of 25 and 55 end within one."""
    monkeypatch.setattr("deepchest_cli.data.preparation.planning.rows_per_shard", lambda size: 20)


def prepare(source: Path, folder: Path, config: PrepareConfig = CONFIG, said=None):
    plan = plan_preparation(config, source)
    notes = [] if said is None else said
    notes += plan.notes
    (result,) = run_preparation(plan, config, folder, lambda *_: None, notes.append)
    return result


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.h5"))}


def chunks(source: Path) -> list[list[Path]]:
    files = sorted((source / "images").glob("*.png"))
    return [files[:25], files[25:]]


def nest(source: Path) -> None:
    for number, files in enumerate(chunks(source), start=1):
        folder = source / f"images_{number:03d}" / "images"
        folder.mkdir(parents=True)
        for path in files:
            path.rename(folder / path.name)
    (source / "images").rmdir()


def pack_tar(source: Path, suffix: str = ".tar.gz", shuffled: bool = False) -> None:
    for number, files in enumerate(chunks(source), start=1):
        order = np.random.default_rng(0).permutation(len(files)) if shuffled else range(len(files))
        mode = "w:gz" if suffix != ".tar" else "w"
        with tarfile.open(source / f"images_{number:03d}{suffix}", mode) as archive:
            for place in order:
                archive.add(files[place], arcname=f"images/{files[place].name}")
    shutil.rmtree(source / "images")


def pack_zip(source: Path) -> None:
    data = source / "data"
    (data / "images").mkdir(parents=True)
    for number, files in enumerate(chunks(source), start=1):
        path = data / "images" / f"images_{number:03d}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"images/{file.name}")
    shutil.rmtree(source / "images")
    for path in [*source.glob("*.csv"), *source.glob("*.txt")]:
        path.rename(data / path.name)


def nest_twice(source: Path) -> None:
    (source / "sample").mkdir()
    (source / "images").rename(source / "sample" / "images")
    shutil.copytree(source / "sample" / "images", source / "images")


def pack_tables(source: Path) -> None:
    for path in [*source.glob("*.csv"), *source.glob("*.txt")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    table = source / "BBox_List_2017.csv.gz"
    assert table.is_file()


LAYOUTS = {
    "nested": nest,
    "tar.gz": pack_tar,
    "tar.gz, in disorder": lambda source: pack_tar(source, shuffled=True),
    "tgz": lambda source: pack_tar(source, ".tgz"),
    "tar": lambda source: pack_tar(source, ".tar"),
    "zip below data, as from Hugging Face": pack_zip,
    "images twice, as in Kaggle's sample": nest_twice,
    "tables in gzip": pack_tables,
}


PLACES = ("nested", "tar.gz", "tar", "zip below data, as from Hugging Face")


@pytest.mark.parametrize("layout", PLACES)
def test_a_damaged_image_is_refused_whatever_it_lies_in(nih_folder, tmp_path, layout):
    path = nih_folder / "images" / "00000003_000.png"
    data = path.read_bytes()
    path.write_bytes(data[:-14] + bytes(2) + data[-12:])  # the checksum of its pixels
    LAYOUTS[layout](nih_folder)
    with pytest.raises(DeepChestError, match="00000003_000.png: damaged: the checksum of its"):
        prepare(nih_folder, tmp_path / "shards")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bytes(nih_folder, tmp_path, layout):
    one = prepare(nih_folder, tmp_path / "flat").manifest
    LAYOUTS[layout](nih_folder)
    other = prepare(nih_folder, tmp_path / "other").manifest
    assert shards(tmp_path / "flat") == shards(tmp_path / "other")
    assert one["counts"] == other["counts"]


def test_unpacked_files_win_over_the_archives_beside_them(nih_folder, tmp_path):
    images = shutil.copytree(nih_folder / "images", tmp_path / "kept")
    pack_tar(nih_folder)
    shutil.copytree(images, nih_folder / "images")
    (nih_folder / "images_001.tar.gz").write_bytes(b"damaged, and never looked at")
    assert prepare(nih_folder, tmp_path / "out").manifest["counts"]["all"]["images"] == 80


def test_what_is_lost_in_an_archive_is_missing_and_the_archive_is_named(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "undisturbed")
    pack_tar(nih_folder)
    path = nih_folder / "images_002.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    said = []
    with pytest.raises(DeepChestError, match="images are missing or unreadable"):
        prepare(nih_folder, tmp_path / "out", said=said)
    assert any("images_002.tar.gz is damaged" in text for text in said)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-00000.h5")}
    path.write_bytes(whole)  # downloaded again
    prepare(nih_folder, tmp_path / "out")
    assert shards(tmp_path / "out") == shards(tmp_path / "undisturbed")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_an_archive_that_comes_later_is_taken_up(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "undisturbed")
    pack_tar(nih_folder)
    second = nih_folder / "images_002.tar.gz"
    second.rename(tmp_path / "later")
    missing = PrepareConfig(size="32", workers=2, allow_missing=True)
    manifest = prepare(nih_folder, tmp_path / "out", missing).manifest
    assert manifest["counts"]["all"]["images"] == 25
    assert prepare(nih_folder, tmp_path / "out", missing).unchanged
    (tmp_path / "later").rename(second)
    assert prepare(nih_folder, tmp_path / "out").manifest["counts"]["all"]["images"] == 80
    assert shards(tmp_path / "out") == shards(tmp_path / "undisturbed")


def test_an_image_in_two_archives_is_refused_by_name(nih_folder, tmp_path):
    pack_tar(nih_folder)
    shutil.copy(nih_folder / "images_001.tar.gz", nih_folder / "images_009.tar.gz")
    with pytest.raises(
        UsageError, match=r"00000001_000.png is there twice: in images_001.tar.gz and in images_009"
    ):
        prepare(nih_folder, tmp_path / "out")


def test_surplus_and_refused_members_are_counted(nih_folder, tmp_path):
    Image.new("L", (5, 5)).save(nih_folder / "images" / "99999999_000.png")
    (nih_folder / "images" / "99999999_001.png").symlink_to("99999999_000.png")
    pack_tar(nih_folder)
    said = []
    prepare(nih_folder, tmp_path / "out", said=said)
    assert any("2 images have no row in the table: images/9" in text for text in said)


def test_archives_are_opened_once_and_in_order(nih_folder, tmp_path, monkeypatch):
    from deepchest_cli.data import archives

    opened = []
    original = archives.gzip_ng.GzipNGFile
    monkeypatch.setattr(
        archives.gzip_ng, "GzipNGFile", lambda path: (opened.append(path.name), original(path))[1]
    )
    pack_tar(nih_folder)
    prepare(nih_folder, tmp_path / "out")
    assert opened == ["images_001.tar.gz", "images_002.tar.gz"]
    assert prepare(nih_folder, tmp_path / "out").unchanged
    assert len(opened) == 2


def test_several_sizes_in_one_pass_are_each_what_a_pass_of_their_own_gives(nih_folder, tmp_path):
    both = PrepareConfig(size="32,48", workers=2)
    plan = plan_preparation(both, nih_folder)
    results = run_preparation(plan, both, tmp_path / "both", lambda *_: None)
    assert [result.folder.name for result in results] == ["32", "48"]
    for size in ("32", "48"):
        prepare(nih_folder, tmp_path / size, PrepareConfig(size=size, workers=1))
        assert shards(tmp_path / size) == shards(tmp_path / "both" / size)
    again = run_preparation(plan, both, tmp_path / "both", lambda *_: None)
    assert all(result.unchanged for result in again)
    with pytest.raises(UsageError, match="holds 2 data sets") as error:
        open_dataset(tmp_path / "both")
    assert f"--data {tmp_path / 'both' / '32'} or" in error.value.hint


def test_with_padding_images_keep_their_aspect_and_boxes_move_along(nih_folder, tmp_path):
    name = "00000004_001.png"
    image = Image.open(nih_folder / "images" / name).resize((96, 48))
    image.save(nih_folder / "images" / name)
    prepare(nih_folder, tmp_path / "out", PrepareConfig(size="32", pad=True))
    dataset = open_dataset(tmp_path / "out")
    row = list(dataset.columns["image_index"]).index(name)
    stored = dataset.gather(np.array([row]))[0]
    assert not stored[:8].any() and not stored[24:].any() and stored[8:24].any()
    # of the 1024 px frame: x 256, y 512, width 128, height 64; the image is 32 x 16, from row 8
    assert dataset.boxes.box[dataset.boxes.row == row].tolist() == [[8.0, 16.0, 4.0, 1.0]]
    assert dataset.manifest["settings"]["aspect"] == "pad"


def test_equal_pixels_in_one_part_are_reported(nih_folder, tmp_path):
    images = nih_folder / "images"
    shutil.copy(images / "00000001_000.png", images / "00000001_001.png")
    said = []
    manifest = prepare(nih_folder, tmp_path / "out", said=said).manifest
    (group,) = manifest["duplicates"]
    assert group["images"] == ["00000001_000.png", "00000001_001.png"]
    assert len(group["splits"]) == 1
    assert any("00000001_000.png = 00000001_001.png" in text for text in said)


def test_equal_pixels_in_two_splits_publish_nothing_unless_allowed(nih_folder, tmp_path):
    images = nih_folder / "images"
    shutil.copy(images / "00000001_000.png", images / "00000004_000.png")  # 4 is in test
    with pytest.raises(DeepChestError, match="stand in two splits") as error:
        prepare(nih_folder, tmp_path / "out")
    assert "00000001_000.png = 00000004_000.png: in test and train" in error.value.message
    with pytest.raises(UsageError):
        open_dataset(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}
    allowed = PrepareConfig(size="32", workers=1, allow_duplicates=True)
    assert len(prepare(nih_folder, tmp_path / "out", allowed).manifest["duplicates"]) == 1
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}


def test_messages_name_a_few_of_many_equal_images(nih_folder, tmp_path):
    images = sorted((nih_folder / "images").iterdir())
    for path in images[1:]:
        shutil.copy(images[0], path)
    with pytest.raises(DeepChestError) as error:
        prepare(nih_folder, tmp_path / "out")
    assert error.value.message.count(".png") == 5 and "and 75 more" in error.value.message
    said = []
    allowed = PrepareConfig(size="32", workers=1, allow_duplicates=True)
    (group,) = prepare(nih_folder, tmp_path / "out", allowed, said).manifest["duplicates"]
    assert len(group["images"]) == 80
    (text,) = [text for text in said if "the same pixels" in text]
    assert text.count(".png") == 5 and text.startswith("1 group of images")


def test_nearly_constant_images_are_kept_and_warned_about(nih_folder, tmp_path):
    gray = np.full((48, 48), 90, np.uint8)
    gray[:, 24:] += 8
    Image.fromarray(gray).save(nih_folder / "images" / "00000002_000.png")
    said = []
    config = PrepareConfig(size="48", workers=2)
    manifest = prepare(nih_folder, tmp_path / "out", config, said).manifest
    assert manifest["counts"]["all"]["images"] == 80
    assert manifest["shards"][0]["near_constant"] == ["00000002_000.png"]
    assert any("almost one gray value" in text and "00000002_000" in text for text in said)


def test_sixteen_bits_and_dicom_are_sources_too(tmp_path, nih_folder):
    images = tmp_path / "images"
    images.mkdir()
    gray = np.asarray(Image.open(nih_folder / "images" / "00000001_000.png"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(images / "deep.png")
    Image.fromarray(gray).save(images / "plain.tif")
    rows = "deep.png,A,1\nplain.tif,B,0\n"
    (tmp_path / "labels.csv").write_text("Path,patient_id,Mass\n" + rows)
    config = PrepareConfig(
        size="48", labels_csv=tmp_path / "labels.csv", allow_duplicates=True, test_fraction=0
    )
    prepare(tmp_path, tmp_path / "out", config)
    dataset = open_dataset(tmp_path / "out")
    stored = dataset.gather(np.array([0, 1]))
    expected = read_radiograph(nih_folder / "images" / "00000001_000.png", 48)
    assert np.array_equal(stored[0], expected) and np.array_equal(stored[1], expected)
    assert list(dataset.columns["original_width"]) == [48, 48]
    assert dataset.findings == ("Mass",)
