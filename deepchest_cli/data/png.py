"""PNG files whose checksums are verified: Pillow reads over a hole in the pixel data."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from zlib_ng import zlib_ng

from deepchest_cli.data.image_checks import LARGEST_PIXELS, damaged
from deepchest_cli.errors import UnreadableRadiographError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
# the passes of an interlaced file: first column and row, and the steps from each to the next
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
SURPLUS = 2**16  # bytes of pixel data that some writers append to the last row
LARGEST_AT_ONCE = 2**26  # bytes of pixel data; a thread takes twice that to unpack them
LARGEST_BLOCK = 65535  # bytes of a block that is stored and not compressed
HEEDED = (b"tRNS", b"eXIf")  # beside the critical ones: transparency and orientation


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file; its payload lies from `start` to `end`."""

    kind: bytes
    start: int
    end: int


def unpack_png(data: bytes) -> bytes:
    """Return the same image as a PNG file whose pixel data are stored without compression.

    All checksums are verified: the CRC-32 of each chunk, the Adler-32 of the pixel data, and that
    these are as long as the image needs. Unpacking at once is faster than Pillow's row by row,
    so that the checks cost nothing. Ancillary chunks with a wrong CRC-32 are dropped, as libpng
    drops them. A file of more than `LARGEST_AT_ONCE` bytes of pixel data is returned as it is,
    its CRC-32 verified. Raises `UnreadableRadiographError`.
    """
    chunks = list(_chunks(data))
    if not chunks or chunks[0].kind != b"IHDR" or chunks[0].end - chunks[0].start != 13:
        raise damaged("it has no PNG header (IHDR)")
    view = memoryview(data)
    length = _raw_length(data[chunks[0].start : chunks[0].end])
    if length > LARGEST_AT_ONCE:
        return data
    raw = _inflated([view[one.start : one.end] for one in chunks if one.kind == b"IDAT"], length)
    kinds = [chunk.kind for chunk in chunks]
    kept = [b"" if one.kind == b"IDAT" else view[one.start - 8 : one.end + 4] for one in chunks]
    before = kinds.index(b"IDAT")
    return b"".join([SIGNATURE, *kept[:before], *_stored(raw), *kept[before:]])


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND; what follows is no part of the image."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        chunk = Chunk(data[at + 4 : at + 8], at + 8, at + 8 + int.from_bytes(view[at : at + 4]))
        if chunk.end + 4 > len(data):
            break
        check = int.from_bytes(view[chunk.end : chunk.end + 4])
        name = chunk.kind.decode("ascii", "replace")
        if zlib_ng.crc32(view[at + 4 : chunk.end]) == check:
            yield chunk
        elif chunk.kind[:1].isupper() or chunk.kind in HEEDED or not chunk.kind.isalpha():
            raise damaged(f"the checksum of its chunk {name!r} at byte {at:,} is wrong")
        if chunk.kind == b"IEND":
            return
        at = chunk.end + 4
    raise damaged("the file is truncated, it has no end of the image (IEND)")


def _raw_length(header: bytes) -> int:
    """Return the bytes of the pixel data when unpacked: each row has a byte before its pixels."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if width * height > LARGEST_PIXELS:
        raise UnreadableRadiographError(f"{width} × {height} pixels are too many")
    bits, total = depth * CHANNELS.get(color, 4), 0
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(packed: list[memoryview], length: int) -> memoryview:
    inflater = zlib_ng.decompressobj()
    try:
        raw = inflater.decompress(b"".join(packed), length + SURPLUS)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls it an instance
        raise damaged("its pixel data cannot be unpacked, or have another checksum") from error
    if len(raw) < length or not inflater.eof:
        found = "fewer" if len(raw) < length else "more"
        raise damaged(f"its pixel data are {found} bytes than the image has")
    return memoryview(raw)[:length]


def _stored(raw: memoryview) -> list[bytes | memoryview]:
    """Return an IDAT chunk whose zlib stream holds the bytes as they are."""
    stream: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, len(raw), LARGEST_BLOCK):
        block = raw[at : at + LARGEST_BLOCK]
        is_last = at + LARGEST_BLOCK >= len(raw)
        stream += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    stream.append(struct.pack(">I", zlib_ng.adler32(raw)))
    check = zlib_ng.crc32(b"IDAT")
    for part in stream:
        check = zlib_ng.crc32(part, check)
    length = sum(map(len, stream))
    return [struct.pack(">I4s", length, b"IDAT"), *stream, struct.pack(">I", check)]
