"""The shards of one size while they fill: boxes, and pixels on disk."""

import errno
import os

import numpy as np
import pytest
from PIL import Image
from test_layouts import prepare

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation.filling import Scratch
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.errors import UsageError

CONFIG = PrepareConfig(size="32", workers=1, split_scheme="random", test_fraction=0.3)
HEAD = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
# on an original of 800 × 400 pixels
BOXES = ("Cardiomegaly,3,R1,200,100,600,300", "Cardiomegaly,3,R2,400,0,800,400")


def write_vindr(folder, shape=(400, 800), sizes="", count=8):
    """Write images with two boxes each; shape: of the files; sizes: more cells of each row."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    head = HEAD + (",width,height" if sizes else "")
    rows = [f"i{n},{box}{sizes}" for n in range(count) for box in BOXES]
    (folder / "train.csv").write_text("\n".join([head, *rows]) + "\n")
    for number in range(count):
        pixels = chance.integers(0, 255, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"i{number}.png")
    return folder


def stored(folder):
    dataset = open_dataset(folder)
    return {tuple(box) for box in dataset.boxes.box.tolist()}


ON_32 = {(8.0, 8.0, 16.0, 16.0), (16.0, 0.0, 16.0, 32.0)}


def test_boxes_of_originals_are_scaled_by_the_size_of_the_file(tmp_path):
    prepare(write_vindr(tmp_path / "vindr"), tmp_path / "out", CONFIG)
    assert stored(tmp_path / "out") == ON_32


@pytest.mark.parametrize("shape", [(64, 64), (200, 400), (1024, 1024)])
def test_boxes_on_copies_are_scaled_by_the_sizes_in_the_table(tmp_path, shape):
    prepare(write_vindr(tmp_path / "vindr", shape, ",800,400"), tmp_path / "out", CONFIG)
    assert stored(tmp_path / "out") == ON_32
    columns = open_dataset(tmp_path / "out").columns
    assert set(columns["original_width"]) == {800} and set(columns["original_height"]) == {400}


def test_sizes_come_from_the_table_beside_too(tmp_path):
    folder = write_vindr(tmp_path / "vindr", (64, 64))
    rows = "\n".join(f"i{number},400,800" for number in range(8))
    (folder / "train_meta.csv").write_text(f"image_id,dim0,dim1\n{rows}\n")
    prepare(folder, tmp_path / "out", CONFIG)
    assert stored(tmp_path / "out") == ON_32


def test_with_padding_a_copy_of_the_same_aspect_has_its_boxes_in_the_image(tmp_path):
    folder = write_vindr(tmp_path / "vindr", (200, 400), ",800,400")
    padded = PrepareConfig(size="32", workers=1, split_scheme="random", pad=True)
    prepare(folder, tmp_path / "out", padded)
    assert stored(tmp_path / "out") == {(8.0, 12.0, 16.0, 8.0), (16.0, 8.0, 16.0, 16.0)}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_box_that_leaves_its_image_is_refused_with_its_row_and_the_remedy(tmp_path, workers):
    folder = write_vindr(tmp_path / "vindr", (64, 64))
    config = PrepareConfig(size="32", workers=workers, split_scheme="random")
    with pytest.raises(UsageError) as error:
        prepare(folder, tmp_path / "out", config)
    assert str(folder / "train.csv") + ", row 2: the box of Cardiomegaly" in error.value.message
    assert "from (200, 100) to (600, 300) leaves image i0, which has 64 × 64" in error.value.message
    assert "columns `width` and `height` in train.csv" in error.value.hint
    with pytest.raises(UsageError):
        open_dataset(tmp_path / "out")


def test_that_no_sizes_are_known_is_said(tmp_path):
    said = []
    prepare(write_vindr(tmp_path / "vindr"), tmp_path / "out", CONFIG, said)
    assert any("boxes are taken to be in the pixels of the image files" in text for text in said)
    said.clear()
    prepare(write_vindr(tmp_path / "sized", sizes=",800,400"), tmp_path / "out2", CONFIG, said)
    assert not any("boxes are taken" in text for text in said)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (",700,400", r"row 3: a box needs .* of an image of 700 × 400 pixels"),
        (",800,300", r"row 3: a box needs .* of an image of 800 × 300 pixels"),
        (",800,", r"row 2: column 'height' should be a whole number"),
        (",-1,400", r"row 2: column 'width' should be a whole number"),
    ],
)
def test_a_box_outside_the_size_in_the_table_and_a_size_that_is_none(tmp_path, cells, message):
    folder = write_vindr(tmp_path / "vindr", (64, 64), cells)
    with pytest.raises(UsageError, match=message):
        read_source(folder, CONFIG)


def test_an_image_with_two_sizes_is_refused(tmp_path):
    folder = write_vindr(tmp_path / "vindr", (64, 64), ",800,400")
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace(",800,400\n", ",900,400\n", 1))
    with pytest.raises(UsageError, match="image 'i0' has several sizes"):
        read_source(folder, CONFIG)


@pytest.mark.parametrize(
    "corners",
    ["200,100,200,300", "200,100,100,300", "-5,100,600,300", "200,nan,600,300", "200,100,inf,300"],
)
def test_boxes_that_are_none(tmp_path, corners):
    folder = write_vindr(tmp_path / "vindr")
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace("200,100,600,300", corners, 1))
    with pytest.raises(UsageError, match=r"row 2: a box needs x_min < x_max and y_min < y_max"):
        read_source(folder, CONFIG)


def test_rounding_by_less_than_a_pixel_ends_at_the_edge(tmp_path):
    folder = write_vindr(tmp_path / "vindr")
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace("400,0,800,400", "400,0,800.6,400.9"))
    prepare(folder, tmp_path / "out", CONFIG)
    assert stored(tmp_path / "out") == ON_32


@pytest.mark.parametrize(
    "box",
    ["10,10,0,20", "10,10,20,-1", "1000,10,30,20", "10,10,inf,20", "nan,10,20,20", "-1,0,9,9"],
)
def test_nihs_boxes_that_leave_its_frame_or_have_no_area(nih_folder, box):
    (nih_folder / "BBox_List_2017.csv").write_text(
        f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000004_001.png,Mass,{box}\n"
    )
    with pytest.raises(UsageError, match=r"row 2: a box needs an image, a finding, and x, y"):
        read_source(nih_folder, PrepareConfig())


def image(value):
    return np.full((4, 4), value, np.uint8)


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    scratch = Scratch(tmp_path, size=4)
    for row in (12, 1, 10, 0, 11):
        scratch.put(row, image(row))
    assert scratch.take(np.array([10, 11, 12]))[:, 0, 0].tolist() == [10, 11, 12]
    assert scratch.take(np.array([1, 0]))[:, 0, 0].tolist() == [1, 0]
    scratch.file.close()


def test_room_is_used_again_and_no_file_is_seen(tmp_path):
    scratch = Scratch(tmp_path, size=4)
    for shard in range(50):
        rows = np.arange(2) + 1000 * shard  # a row far away takes no more room
        for row in rows.tolist():
            scratch.put(row, image(shard))
        assert (scratch.take(rows) == shard).all()
    assert os.fstat(scratch.file.fileno()).st_size == 2 * 16
    assert list(tmp_path.iterdir()) == []
    scratch.file.close()


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    scratch = Scratch(tmp_path, size=4)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        scratch.put(0, image(1))
    scratch.file.close()
