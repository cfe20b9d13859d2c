"""A folder as slow storage shows it: a read-only FUSE file system with a latency and a bandwidth.

The system reads it as it reads any file system (page cache, readahead, several requests at a time),
and each answer comes `latency` after the request has had its share of `bandwidth`. Needs Linux and
the superuser, who may mount; nothing else. The files below lie in the page cache, or should.

The protocol is that of linux/fuse.h, version 7.31, for a flat folder of files.
"""

import ctypes
import errno
import heapq
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH = 1, 2, 3, 14, 15, 17, 18, 25
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 26, 27, 28, 29, 36, 38, 42
ASYNC_READ, PARALLEL_DIROPS, MAX_PAGES, KEEP_CACHE = 1, 1 << 18, 1 << 22, 2
REQUEST = 131_072  # bytes of a read, as NFS and FUSE have by default
VALID = 60  # seconds that the system trusts names and attributes, as NFS does at most
READ_ONLY = 1
LIBRARY = ctypes.CDLL(None, use_errno=True)


@contextmanager
def slow_folder(source: Path, place: Path, latency: float, bandwidth: float) -> Iterator[Path]:
    """Yield `place`, where the files of `source` are read at so many seconds and bytes/s.

    Raises `OSError` where nothing can be mounted.
    """
    place.mkdir()
    words = [sys.executable, __file__, source, place, latency, bandwidth]
    server = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE)
    try:
        if server.stdout is None or not server.stdout.readline():
            raise OSError(f"FUSE cannot be mounted at {place}: that takes Linux and the superuser.")
        yield place
    finally:
        LIBRARY.umount2(os.fsencode(place), 2)  # MNT_DETACH
        server.send_signal(signal.SIGKILL)
        server.wait()
        place.rmdir()


class Server:
    """Answers the requests of the system, each of them when it is due."""

    def __init__(self, source: Path, device: int, latency: float, bandwidth: float) -> None:
        self.device, self.latency, self.bandwidth = device, latency, bandwidth
        self.paths = sorted(path for path in source.iterdir() if path.is_file())
        self.names = {path.name: number for number, path in enumerate(self.paths, 2)}
        self.files = {number: os.open(self.paths[number - 2], os.O_RDONLY) for number in self.nodes}
        self.idle_from = 0.0  # when the bandwidth is free again
        self.due: list[tuple[float, int, int, int, int]] = []  # when, request, node, offset, size

    @property
    def nodes(self) -> range:
        """The numbers of the files; 1 is the folder."""
        return range(2, len(self.paths) + 2)

    def serve(self) -> None:
        """Answer until the file system is unmounted."""
        while True:
            wait = max(0.0, self.due[0][0] - time.monotonic()) if self.due else None
            if select.select([self.device], [], [], wait)[0]:
                try:
                    request = os.read(self.device, REQUEST + 4096)
                except OSError:
                    return
                self.take(request)
            while self.due and self.due[0][0] <= time.monotonic():
                _, unique, node, offset, size = heapq.heappop(self.due)
                self.answer(unique, os.pread(self.files[node], size, offset))

    def take(self, request: bytes) -> None:
        """Answer a request, or note when a read is due."""
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        body = request[40:]
        if code == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            now = time.monotonic()
            self.idle_from = max(now, self.idle_from) + size / self.bandwidth
            heapq.heappush(self.due, (self.idle_from + self.latency, unique, node, offset, size))
        elif code not in (FORGET, BATCH_FORGET, INTERRUPT):
            self.answer(unique, *self.reply(code, node, body))

    def reply(self, code: int, node: int, body: bytes) -> tuple[bytes] | tuple[bytes, int]:
        """Return the body of an answer, and the number of an error."""
        if code == INIT:
            most = struct.unpack_from("<IIII", body)[2]
            flags = ASYNC_READ | PARALLEL_DIROPS | MAX_PAGES
            sizes = (7, 31, most, flags, 256, 192, REQUEST, 1, REQUEST // 4096)
            return (struct.pack("<IIIIHHIIH", *sizes).ljust(64, b"\0"),)
        if code == LOOKUP:
            found = self.names.get(os.fsdecode(body.rstrip(b"\0")))
            if found is None:
                return b"", errno.ENOENT
            return (struct.pack("<QQQQII", found, 0, VALID, VALID, 0, 0) + self.attributes(found),)
        bodies = {
            GETATTR: lambda: struct.pack("<QII", VALID, 0, 0) + self.attributes(node),
            **dict.fromkeys((OPEN, OPENDIR), lambda: struct.pack("<QII", node, KEEP_CACHE, 0)),
            STATFS: lambda: bytes(80),
            **dict.fromkeys((READDIR, RELEASE, RELEASEDIR, FLUSH, DESTROY), bytes),
        }
        return (bodies[code](),) if code in bodies else (b"", errno.ENOSYS)

    def attributes(self, node: int) -> bytes:
        """Return the attributes of a file or of the folder."""
        folder = node == 1
        size = 0 if folder else os.fstat(self.files[node]).st_size
        mode = stat.S_IFDIR | 0o555 if folder else stat.S_IFREG | 0o444
        times = (0, 0, 0, 0, 0, 0)
        return struct.pack("<6Q10I", node, size, -(-size // 512), *times, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, unique: int, body: bytes, error: int = 0) -> None:
        """Send an answer; one to a request that was given up is dropped."""
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            return


def main() -> None:
    source, place, latency, bandwidth = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={REQUEST}"
    mounted = LIBRARY.mount(
        b"slow-storage", os.fsencode(place), b"fuse", READ_ONLY, options.encode()
    )
    if mounted == 0:
        server = Server(Path(source), device, float(latency), float(bandwidth))
        print("mounted", flush=True)
        server.serve()


if __name__ == "__main__":
    main()
