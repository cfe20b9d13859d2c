"""TIFF files packed with Deflate: libtiff does not look at the checksum of a strip or tile."""

from PIL import Image
from zlib_ng import zlib_ng

from deepchest_cli.data.picture import LARGEST_PIXELS, damaged

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSION = 259
DEFLATE = (8, 32946)
STRIPS, TILES = (273, 279), (324, 325)  # the tags of their offsets and lengths
BLOCK = 2**20  # bytes that are unpacked at a time
MOST_BLOCKS = 8 * LARGEST_PIXELS // BLOCK


def refuse_wrong_checksums(image: Image.Image, data: bytes) -> None:
    """Raise `UnreadableRadiographError` where the Adler-32 of a strip or tile is wrong.

    image: an opened TIFF file, whose tags tell where they lie; others pass.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION) not in DEFLATE:
        return
    for offsets, lengths in (STRIPS, TILES):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            _unpack(memoryview(data)[offset : offset + length], offset)


def _unpack(packed: memoryview, offset: int) -> None:
    inflater = zlib_ng.decompressobj()
    rest: memoryview | bytes = packed
    try:
        for _ in range(MOST_BLOCKS):
            unpacked = inflater.decompress(rest, BLOCK)
            rest = inflater.unconsumed_tail
            if inflater.eof:
                return
            if len(unpacked) < BLOCK and not rest:
                break
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls it an instance
        raise damaged(f"the checksum of the pixel data at byte {offset:,} is wrong") from error
    raise damaged(f"the pixel data at byte {offset:,} do not end")
