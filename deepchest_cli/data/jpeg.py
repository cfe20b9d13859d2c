"""JPEG files whose coded data must fill the image: libjpeg only warns, and Pillow hides it."""

import io
import re
from dataclasses import dataclass

from deepchest_cli.data.image_checks import damaged

START = b"\xff\xd8\xff"
# FF may be repeated before a marker; in coded data FF 00 is a byte FF, and D0 to D7 restart markers
MARKER = re.compile(rb"\xff+([^\x00\xff])")
AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # a first byte alone is found fast
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # the last is JPEG-LS's
SEQUENTIAL = (0xC0, 0xC1)  # frames that are coded in one pass, by Huffman's codes
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
DRI, SOS, EOI = 0xDD, 0xDA, 0xD9
# bytes; libjpeg looks up to 8 ahead of what it needs, and some writers append a byte or two
SLACK = 16


@dataclass(frozen=True)
class Layout:
    """What the markers up to the first scan say."""

    frame: int  # the marker that says how the image is coded
    precision: int  # bits
    width: int
    height: int
    channels: int
    units: int  # what is coded together: a block, or those of all channels in one place
    interval: int  # units between restart markers; 0: there are none
    is_whole: bool  # whether the first scan has all channels
    scan: int  # the byte where its coded data begin


def layout_of(data: bytes) -> Layout | None:
    """Return what the markers of a file say; None where they are no chain up to a scan."""
    at, frame, interval = 2, (0, b""), 0
    while marker := MARKER.match(data, at):
        kind, at = marker[1][0], marker.end()
        if kind in ALONE:
            continue
        length = int.from_bytes(data[at : at + 2])
        segment = data[at + 2 : at + length]
        at += length
        if kind == EOI or length < 2 or at > len(data):
            return None
        if kind in FRAMES:
            frame = (kind, segment)
        elif kind == DRI:
            interval = int.from_bytes(segment[:2])
        elif kind == SOS:
            return _layout(*frame, interval, segment[0] if segment else 0, at)
    return None


def _layout(kind: int, segment: bytes, interval: int, scanned: int, scan: int) -> Layout | None:
    channels = segment[5] if len(segment) > 5 else 0
    if not channels or len(segment) < 6 + 3 * channels:
        return None
    height, width = int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
    sampling = [divmod(value, 16) for value in segment[7 : 6 + 3 * channels : 3]]
    across, down = map(max, zip(*sampling, strict=True)) if channels > 1 else (1, 1)
    units = -(-width // (8 * max(across, 1))) * -(-height // (8 * max(down, 1)))
    is_whole = scanned == channels
    return Layout(kind, segment[0], width, height, channels, units, interval, is_whole, scan)


class JpegFile(io.BytesIO):
    """A file that tells whether a decoder found its coded data as long as the image.

    Damaged codes are codes of something else: nearly always the decoder has too few or too many of
    them for the image's last pixel. The file ends one read shortly before the end of the coded
    data, and one shortly after it, where some bytes are put in: who reads a whole file asks for
    the first and second, and not for the third. That works for an image coded in one pass; in
    others only the order of the markers is looked at.
    """

    def __init__(self, data: bytes) -> None:
        """Raise `UnreadableRadiographError` where the markers are not those of a whole file."""
        self.stops: tuple[int, ...] = ()
        self.furthest = 0  # byte up to which was read
        layout = layout_of(data)
        if layout is None:
            super().__init__(data)  # Pillow says what is wrong
            return
        marker = AFTER_SCAN.search(data, layout.scan)
        if not marker:
            raise damaged("the file is truncated, it has no end of the image (EOI)")
        end = marker.start()
        while data[end - 1] == 0xFF:  # that fills up to the marker
            end -= 1
        if layout.frame not in SEQUENTIAL or not layout.is_whole:
            super().__init__(data)
            return
        if data[marker.end() - 1] != EOI:
            raise damaged(f"there is a marker within its pixel data, at byte {end:,}")
        _refuse_restarts(RESTART.findall(data, layout.scan, end), layout)
        self.stops = (max(layout.scan, end - SLACK), end + SLACK)
        super().__init__(b"".join((data[:end], bytes(SLACK), data[end:])))

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, at most up to a stop."""
        at = self.tell()
        for stop in self.stops:
            if at < stop:
                size = stop - at if size is None or size < 0 else min(size, stop - at)
                break
        found = io.BytesIO.read(self, size)
        self.furthest = max(self.furthest, at + len(found))
        return found

    def refuse_misfit(self) -> None:
        """Raise `UnreadableRadiographError` where a decoder found too few or too many data."""
        if self.stops and self.furthest != self.stops[1]:
            which = "short" if self.furthest > self.stops[1] else "long"
            raise damaged(f"its coded data are too {which} for the image")


def _refuse_restarts(markers: list[bytes], layout: Layout) -> None:
    """Raise where restart markers are missing or out of order; one may follow the last unit."""
    wanted = -(-layout.units // layout.interval) - 1 if layout.interval else 0
    ordered = all(marker[0] & 7 == at % 8 for at, marker in enumerate(markers))
    if len(markers) not in (wanted, wanted + 1) or not ordered:
        raise damaged("restart markers are missing or out of order")
