import io
import struct

import numpy as np
import pytest
from PIL import Image

from deepchest_cli.data.jpeg import layout_of
from deepchest_cli.data.radiograph import decode, open_image
from deepchest_cli.errors import UnreadableRadiographError

CHANCE = np.random.default_rng(0)
SLOPE = np.add.outer(np.linspace(20, 120, 227), np.linspace(0, 100, 213))
GRAY = (SLOPE + CHANCE.normal(0, 6, SLOPE.shape)).clip(0, 255).astype(np.uint8)
IMAGE = Image.fromarray(GRAY)
COLOR = Image.merge("RGB", (IMAGE, IMAGE.transpose(Image.Transpose.FLIP_LEFT_RIGHT), IMAGE))
BORDER = Image.fromarray(np.where(SLOPE < 150, GRAY, 0).astype(np.uint8))


def saved(image=IMAGE, kind="JPEG", **settings):
    memory = io.BytesIO()
    image.save(memory, format=kind, **settings)
    return memory.getvalue()


def before_end(data, extra):
    return data[:-2] + extra + data[-2:]


WHOLE = {
    "gray": saved(),
    "with its own codes": saved(optimize=True),
    "progressive": saved(progressive=True),
    "color, halved channels": saved(COLOR),
    "color, full channels": saved(COLOR, subsampling=0),
    "CMYK": saved(COLOR.convert("CMYK")),
    "restarted in each row": saved(restart_marker_rows=1),
    "restarted after each 5 units": saved(COLOR, restart_marker_blocks=5),
    "restarted after the last unit": before_end(saved(restart_marker_blocks=27 * 29), b"\xff\xd0"),
    "several in one file": saved(COLOR, "MPO", save_all=True, append_images=[COLOR]),
    "with bytes after its end": saved() + b"rubbish" * 9,
    "with another after its end": saved() + saved(COLOR),
    "filled up before its end": before_end(saved(), b"\xff" * 5),
    "with a byte too many": before_end(saved(), b"\0"),
    "black at the end": saved(BORDER, optimize=True, quality=30),
    "8 pixels": saved(IMAGE.resize((4, 2))),
    "one row": saved(IMAGE.resize((200, 1))),
    "with large notes": saved(comment=b"\xff\xd9" * 9000),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_read_as_pillow_reads_them(name):
    expected = np.asarray(Image.open(io.BytesIO(WHOLE[name])).convert("L"))
    assert np.array_equal(np.asarray(decode(WHOLE[name])), expected)


def test_several_images_in_one_file_are_counted():
    assert open_image(WHOLE["several in one file"]).frames == 2


def resized(data, height):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">H", height) + data[at + 2 :]


def without_a_restart(data):
    at = data.index(b"\xff\xd3")
    return data[:at] + data[at + 2 :]


DAMAGED = {
    "cut": saved()[:-40],
    "without its end": saved()[:-2],
    "higher than its data": resized(saved(), 300),
    "lower than its data": resized(saved(), 200),
    "without a restart": without_a_restart(saved(restart_marker_rows=1)),
    "restarted without leave": before_end(saved(), b"\xff\xd0" * 2),
    "a marker within": saved()[:3000] + b"\xff\x51" + saved()[3002:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(name):
    with pytest.raises(UnreadableRadiographError, match="damaged: .*; fetch it again"):
        decode(DAMAGED[name])


ONE_PASS = {
    "gray": (IMAGE, {}),
    "with its own codes": (IMAGE, {"optimize": True}),
    "restarted": (IMAGE, {"restart_marker_rows": 1}),
    "color": (COLOR, {}),
    "color, full channels": (COLOR, {"subsampling": 0}),
}


@pytest.mark.parametrize("name", ONE_PASS)
def test_a_hole_in_what_is_coded_in_one_pass_is_refused(name):
    image, settings = ONE_PASS[name]
    data = saved(image, quality=92, **settings)
    for start in range(1000, len(data) - 2100, 1999):
        with pytest.raises(UnreadableRadiographError):
            decode(data[:start] + bytes(2048) + data[start + 2048 :])


def test_the_layout_counts_what_is_coded_together():
    assert layout_of(saved()).units == 27 * 29
    assert layout_of(saved(COLOR)).units == 14 * 15
    assert layout_of(saved(COLOR, subsampling=0)).units == 27 * 29
    layout = layout_of(saved(progressive=True))
    assert (layout.width, layout.height, layout.channels, layout.frame) == (213, 227, 1, 0xC2)
    assert layout_of(b"\xff\xd8\xff\xe0\0\x10cut") is None
    assert layout_of(b"\xff\xd8no markers") is None
