import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from deepchest_cli.data.png import SIGNATURE, unpack_png
from deepchest_cli.data.radiograph import decode, open_image
from deepchest_cli.errors import UnreadableRadiographError

GRAY = np.random.default_rng(0).normal(120, 30, (61, 53)).clip(0, 255).astype(np.uint8)
HEADER = struct.pack(">IIBBBBB", 53, 61, 8, 0, 0, 0, 0)
PACKED = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GRAY))
# first column and row, and the steps, of the seven passes as the specification draws them
PASSES = ("0088", "4088", "0448", "2044", "0224", "1022", "0112")


def png(*chunks, spoilt=None):
    """Return a file of chunks; the checksum of one kind is wrong."""
    parts = [SIGNATURE]
    for kind, payload in chunks:
        check = zlib.crc32(kind + payload) ^ (kind == spoilt)
        parts.append(struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", check))
    return b"".join(parts)


def plain(*before, packed=(PACKED,), header=HEADER, after=(), spoilt=None):
    idats = [(b"IDAT", part) for part in packed]
    chunks = [(b"IHDR", header), *before, *idats, *after, (b"IEND", b"")]
    return png(*chunks, spoilt=spoilt)


def pieces(size):
    return [PACKED[at : at + size] for at in range(0, len(PACKED), size)]


def saved(image, **settings):
    memory = io.BytesIO()
    image.save(memory, format="PNG", **settings)
    return memory.getvalue()


def interlaced():
    steps = [map(int, each) for each in PASSES]
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in steps for row in GRAY[y::dy, x::dx]]
    header = HEADER[:-1] + b"\1"
    return plain(packed=[zlib.compress(b"".join(rows))], header=header)


TEXT = (b"tEXt", b"Comment\0some words")
ORIENTED = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
WHOLE = {
    "plain": plain(),
    "with bytes after its end": plain() + b"rubbish" * 99,
    "in small chunks": plain(packed=pieces(7)),
    "with an empty chunk": plain(packed=[b"", PACKED, b""]),
    "with text": plain(TEXT),
    "with damaged text": plain(TEXT, spoilt=b"tEXt"),
    "with a private chunk after its pixels": plain(after=[(b"prIv", b"1")]),
    "interlaced": interlaced(),
    "with a row too many": plain(packed=[zlib.compress(zlib.decompress(PACKED) + bytes(54))]),
    "with bytes after its stream": plain(packed=[PACKED + b"rubbish"]),
    "not compressed": plain(packed=[zlib.compress(zlib.decompress(PACKED), 0)]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_read_as_they_are(name):
    assert np.array_equal(np.asarray(decode(WHOLE[name])), GRAY)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_unpacked_file_is_the_same_image_in_every_mode(mode):
    deep = Image.fromarray(GRAY.astype(np.uint16) * 200)
    image = deep if mode == "I;16" else Image.fromarray(GRAY).convert(mode)
    settings = {"transparency": bytes(range(256))} if mode == "P" else {}
    data = saved(image, **settings)
    one, other = (Image.open(io.BytesIO(each)) for each in (data, unpack_png(data)))
    assert one.mode == other.mode and one.tobytes() == other.tobytes()


def test_an_animation_stays_one():
    frames = [Image.fromarray(np.roll(GRAY, by)) for by in (1, 2)]
    for default in (False, True):
        data = saved(
            Image.fromarray(GRAY), save_all=True, append_images=frames, default_image=default
        )
        opened = open_image(data)
        assert opened.frames == Image.open(io.BytesIO(data)).n_frames
        assert np.array_equal(np.asarray(opened.image), GRAY)


def test_warnings_of_pillow_do_not_reach_the_terminal():
    data = plain((b"acTL", bytes(8)))  # an animation of no image
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(np.asarray(decode(data)), GRAY)
    assert not caught


def test_orientation_after_the_pixels_is_obeyed():
    found = np.asarray(decode(plain(after=[(b"eXIf", ORIENTED)])))
    assert np.array_equal(found, np.rot90(GRAY, -1))


def chunks_in_disorder():
    one, two, *others = pieces(len(PACKED) // 5)
    return plain(packed=[two, one, *others])


DAMAGED = {
    "a checksum of pixels": plain(spoilt=b"IDAT"),
    "the header": plain(spoilt=b"IHDR"),
    "the palette": plain((b"PLTE", bytes(range(6))), spoilt=b"PLTE"),
    "the orientation": plain(after=[(b"eXIf", ORIENTED)], spoilt=b"eXIf"),
    "the end": plain(spoilt=b"IEND"),
    "the checksum of all pixels": plain(packed=[PACKED[:-1] + bytes([PACKED[-1] ^ 1])]),
    "chunks in disorder": chunks_in_disorder(),
    "a chunk that is missing": plain(packed=pieces(500)[1:]),
    "rows that are missing": plain(packed=[zlib.compress(zlib.decompress(PACKED)[: 54 * 40])]),
    "an end that is missing": plain()[:-12],
    "the last byte": plain()[:-1],
    "all but the signature": SIGNATURE,
    "no header": png((b"IDAT", PACKED), (b"IEND", b"")),
    "no pixels": plain(packed=[]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(name):
    with pytest.raises(UnreadableRadiographError, match="damaged: .*; fetch it again"):
        decode(DAMAGED[name])


def test_a_hole_is_refused_wherever_it_is():
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90), np.uint8))
    data = saved(image, compress_level=0)  # no code: Pillow reads whatever stands there
    for start in range(60, len(data) - 120, 97):
        with pytest.raises(UnreadableRadiographError, match="damaged"):
            decode(data[:start] + bytes(64) + data[start + 64 :])


def test_pixels_that_unpack_to_more_than_the_image_are_not_unpacked():
    data = plain(packed=[zlib.compress(bytes(10**7))])
    with pytest.raises(UnreadableRadiographError, match="more bytes than the image has"):
        decode(data)


def test_text_that_old_tools_wrote_with_a_wrong_checksum_is_dropped():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "words")
    data = bytearray(saved(Image.fromarray(GRAY), pnginfo=info))
    data[data.index(b"tEXt") + 6] ^= 1
    assert b"tEXt" not in unpack_png(bytes(data))
    assert np.array_equal(np.asarray(decode(bytes(data))), GRAY)
