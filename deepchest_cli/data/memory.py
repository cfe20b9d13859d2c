"""How much main memory this process can still take: the machine's, or what its job is allowed.

A batch system or a container gives a job a share of the machine by a control group and kills it
where it takes more. Sources: Linux, Documentation/admin-guide/cgroup-v2.rst, "Memory", and
cgroup-v1/memory.rst; proc(5).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class _Version:
    """The files of a version of control groups, and the keys of pages that only cache files."""

    limits: tuple[str, ...]
    usage: str
    cached: tuple[str, ...]


VERSIONS = {
    "cgroup2": _Version(
        ("memory.max", "memory.high"), "memory.current", ("active_file", "inactive_file")
    ),
    "cgroup": _Version(
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        ("total_active_file", "total_inactive_file"),
    ),
}


def free_main_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of main memory that are free for this process; None: nothing says it.

    What only caches files counts as free. The least of the machine and of all control groups that
    the process is in, up to the outermost, decides.
    """
    found = [*_of_machine(root), *_of_groups(root)]
    return max(min(found), 0) if found else None


def _of_machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what each group that holds this process leaves, where it has a limit."""
    for kind, top, group in _groups(root):
        version = VERSIONS[kind]
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):
                yield _left(folder, version)
            if folder == top:
                break


def _left(folder: Path, version: _Version) -> int:
    """Return the bytes that a group may still take; raises `ValueError` without a limit."""
    texts = [line for name in version.limits for line in _lines(folder / name)]
    limit = min(int(text) for text in texts if text != "max")
    counts = dict(line.split() for line in _lines(folder / "memory.stat"))
    cached = sum(int(counts.get(key, 0)) for key in version.cached)
    return limit - int((folder / version.usage).read_text()) + cached


def _groups(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield kind, mount point and folder of the groups of memory that this process is in."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            paths["cgroup2"] = path
        elif "memory" in controllers.split(","):
            paths["cgroup"] = path
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in paths and (kind == "cgroup2" or "memory" in options.split(",")):
            mounted, place = before.split()[3:5]
            top = root / place.lstrip("/")
            yield kind, top, top / _below(paths[kind], mounted)


def _below(path: str, mounted: str) -> PurePosixPath:
    """Return a group's path below what is mounted; a container may see its own group as `/`."""
    inner = PurePosixPath(path)
    if ".." in inner.parts or not inner.is_relative_to(mounted):
        return PurePosixPath()
    return inner.relative_to(mounted)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not Linux
        return []
