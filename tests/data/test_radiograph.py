import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests_support import read_radiograph

from deepchest_cli.data.radiograph import RESAMPLING, fit, placement
from deepchest_cli.errors import UnreadableRadiographError

GRAY = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)


def saved(tmp_path, image, name="image.png"):
    path = tmp_path / name
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_modes_with_the_same_gray_values_read_the_same(tmp_path, mode):
    image = Image.fromarray(GRAY).convert(mode)
    assert np.abs(read_radiograph(saved(tmp_path, image), 64).astype(int) - GRAY).max() <= 1


def test_alpha_is_dropped_and_not_composited(tmp_path):
    image = Image.merge("LA", (Image.fromarray(GRAY), Image.new("L", (64, 64), 0)))
    assert np.array_equal(read_radiograph(saved(tmp_path, image), 64), GRAY)


@pytest.mark.parametrize("highest", [4095, 65535])
def test_deep_pixels_are_scaled_and_not_clipped(tmp_path, highest):
    deep = np.rint(GRAY.astype(np.float64) * highest / 255).astype(np.uint16)
    read = read_radiograph(saved(tmp_path, Image.fromarray(deep)), 64)
    assert np.abs(read.astype(int) - GRAY).max() <= 1


def test_one_bit_images_read(tmp_path):
    image = Image.fromarray(GRAY).convert("1")
    assert set(np.unique(read_radiograph(saved(tmp_path, image), 64))) == {0, 255}


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    stripes[0, 0] = 7
    read = read_radiograph(saved(tmp_path, Image.fromarray(stripes)), 8)
    assert np.abs(read[1:].astype(int) - 127).max() <= 16


def test_any_shape_is_squashed_to_a_square(tmp_path):
    image = Image.fromarray(GRAY).resize((100, 31))
    assert read_radiograph(saved(tmp_path, image, "image.jpg"), 28).shape == (28, 28)


def test_orientation_of_a_photograph_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = tmp_path / "image.png"
    Image.fromarray(GRAY).save(path, exif=exif)
    assert np.array_equal(read_radiograph(path, 64), np.rot90(GRAY, -1))


def test_missing(tmp_path):
    with pytest.raises(UnreadableRadiographError, match="missing"):
        read_radiograph(tmp_path / "none.png", 32)


def test_not_an_image(tmp_path):
    path = tmp_path / "image.png"
    path.write_text("<html>not found</html>")
    with pytest.raises(UnreadableRadiographError, match="cannot identify"):
        read_radiograph(path, 32)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated(tmp_path, share):
    path = saved(tmp_path, Image.fromarray(GRAY))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableRadiographError):
        read_radiograph(path, 32)


def test_one_value_only(tmp_path):
    with pytest.raises(UnreadableRadiographError, match=r"one value \(9\)"):
        read_radiograph(saved(tmp_path, Image.new("L", (50, 50), 9)), 32)


def test_values_that_are_no_gray_levels(tmp_path):
    image = Image.fromarray(np.full((8, 8), -3.0, np.float32))
    with pytest.raises(UnreadableRadiographError, match="outside"):
        read_radiograph(saved(tmp_path, image, "image.tiff"), 8)


def test_a_image_that_would_unpack_to_gigabytes_is_refused_by_its_header(tmp_path):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(10**6))
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableRadiographError, match="exceeds limit|too many"):
        read_radiograph(path, 32)


def test_a_git_lfs_pointer_is_named(tmp_path):
    path = tmp_path / "image.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(UnreadableRadiographError, match="git lfs pull"):
        read_radiograph(path, 32)


def test_padding_keeps_the_aspect_and_squashing_fills_the_square():
    image = Image.fromarray(GRAY).resize((100, 50))
    padded = fit(image, 40, pad=True)
    assert padded.shape == (40, 40)
    assert not padded[:10].any() and not padded[30:].any()
    assert np.array_equal(padded[10:30], np.asarray(image.resize((40, 20), RESAMPLING)))
    assert np.array_equal(fit(image, 40), np.asarray(image.resize((40, 40), RESAMPLING)))


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (64, 63), (28, 1024)])
def test_any_shape_has_a_place_within_the_square(width, height):
    place = placement(width, height, 28, pad=True)
    assert place.width >= 1 and place.height >= 1
    assert place.left >= 0 and place.left + place.width <= 28
    assert place.top >= 0 and place.top + place.height <= 28
    assert max(place.width, place.height) == 28


def test_a_large_deep_image_takes_little_more_than_its_own_room(tmp_path):
    import tracemalloc

    path = saved(tmp_path, Image.fromarray(np.arange(3000**2, dtype=np.uint16).reshape(3000, -1)))
    tracemalloc.start()
    read_radiograph(path, 32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 3000**2  # bytes; floats would take that alone


def test_a_deep_tiff_that_counts_from_white_is_turned(tmp_path):
    values = (255 - GRAY).astype(np.uint16) * 257
    path = tmp_path / "image.tif"
    Image.fromarray(values).save(path, tiffinfo={262: 0})
    assert np.abs(read_radiograph(path, 64).astype(int) - GRAY).max() <= 1
