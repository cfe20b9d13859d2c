"""Files of label maps: what they may say, and what is wrong with one.

docs/data.md describes the format.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepchest_cli.data.findings import FINDINGS, finding_key, finding_name, plain_name
from deepchest_cli.data.tabular.cells import ABSENT, PRESENT, UNCERTAIN
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_toml_file

SHIPPED = Path(__file__).parents[1] / "label_maps"
KEYS = ("extends", "findings", "healthy", "incomplete", "labels", "children")
SAYS = {"positive": PRESENT, "negative": ABSENT, "unknown": UNCERTAIN}
ALIKE = 0.85  # difflib's ratio from which a name of a finding is a slip of the pen
EXAMPLE = (
    f'For instance: [labels] "Pleural Effusion" = "Effusion". The maps in {SHIPPED} are examples.'
)
Says = dict[str, int]  # PRESENT, ABSENT or UNCERTAIN of findings, by their names


@dataclass(frozen=True)
class MapFile:
    """What a label map says; labels and terms by plain name, findings by their names."""

    path: Path | None = None
    findings: tuple[str, ...] = ()  # those taken unless others are asked for; empty: all
    healthy: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()
    labels: Mapping[str, Says] = field(default_factory=dict)
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each term
    spelled: Mapping[str, str] = field(default_factory=dict)  # of each plain name

    @property
    def sha256(self) -> str:
        """The hash of what it says, whatever the order and the comments of its file."""
        said = {
            "findings": self.findings,
            "healthy": sorted(self.healthy),
            "incomplete": sorted(self.incomplete),
            "labels": self.labels,
            "parents": {term: sorted(above) for term, above in self.parents.items()},
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def shipped_map(kind: str) -> Path | None:
    """Return the map that comes with the package for a kind of source, where it needs one."""
    path = SHIPPED / f"{kind}.toml"
    return path if path.is_file() else None


def read_map_file(path: Path) -> MapFile:
    """Read a label map and the one that it extends.

    Raises `UsageError` naming file and key for an unknown key, a value of another type, a label
    that says two things of one finding, a slip of the pen in a finding's name and a circle of
    terms.
    """
    document = read_toml_file(path, f"label map (those of the package are in {SHIPPED})")
    for key in document:
        if key not in KEYS:
            unknown = unknown_name("key", key, KEYS)
            raise UsageError(f"{path}: {unknown.message}", unknown.hint)
    base = _extended(document.get("extends"), path)
    labels = _section(document, "labels", path)
    children = _section(document, "children", path)
    terms = {name: _names(kinds, f"[children] {name!r}", path) for name, kinds in children.items()}
    said = {name: _says(value, f"[labels] {name!r}", path) for name, value in labels.items()}
    lists = {key: _names(document.get(key, []), key, path) for key in KEYS[1:4]}
    every = (*labels, *terms, *(kind for kinds in terms.values() for kind in kinds))
    spelled = {plain_name(name): name for name in (*every, *lists["healthy"], *lists["incomplete"])}
    _refuse_two_spellings((*labels, *terms), path)
    _refuse_repeated_findings(lists["findings"], path)
    read = replace(
        base,
        path=path,
        findings=tuple(map(finding_name, lists["findings"])) or base.findings,
        healthy=base.healthy | set(map(plain_name, lists["healthy"])),
        incomplete=base.incomplete | set(map(plain_name, lists["incomplete"])),
        labels={**base.labels, **{plain_name(name): says for name, says in said.items()}},
        parents=_with_children(base.parents, terms),
        spelled={**base.spelled, **spelled},
    )
    _refuse_slips(read, said, path)
    _refuse_circle(read, path)
    return read


def _extended(name: Any, path: Path) -> MapFile:
    if name is None:
        return MapFile()
    shipped = shipped_map(name) if isinstance(name, str) else None
    if shipped is None:
        unknown = unknown_name("label map", str(name), sorted(p.stem for p in SHIPPED.glob("*")))
        raise UsageError(f"{path}: extends: {unknown.message}", unknown.hint)
    if shipped == path:
        raise UsageError(f"{path} extends itself.", "Leave `extends` out.")
    return read_map_file(shipped)


def _section(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = document.get(key, {})
    if not isinstance(section, dict):
        raise UsageError(f"{path}: {key!r} should be a section [{key}].", EXAMPLE)
    return section


def _names(value: Any, where: str, path: Path) -> tuple[str, ...]:
    """Return a name or a list of names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) and plain_name(n) for n in names):
        raise UsageError(
            f"{path}: {where} should be a name or a list of names. Found {value!r}.", EXAMPLE
        )
    return tuple(name.strip() for name in names)


def _says(value: Any, where: str, path: Path) -> Says:
    """Return what a label says where it is present, by the findings' names."""
    given = value if isinstance(value, dict) else {"positive": value}
    says: Says = {}
    for word, names in given.items():
        if word not in SAYS:
            unknown = unknown_name("value", word, SAYS)
            raise UsageError(f"{path}: {where}: {unknown.message}", unknown.hint)
        for name in map(finding_name, _names(names, f"{where}, {word},", path)):
            same = next((one for one in says if finding_key(one) == finding_key(name)), name)
            if says.setdefault(same, SAYS[word]) != SAYS[word]:
                other = next(key for key, state in SAYS.items() if state == says[same])
                raise UsageError(
                    f"{path}: {where} makes {same!r} both {other} and {word}.",
                    "Keep one of the two.",
                )
    return says


def _with_children(
    parents: Mapping[str, tuple[str, ...]], children: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return the terms right above each term, with more children; those given anew replace."""
    below = {plain_name(term): set(map(plain_name, kinds)) for term, kinds in children.items()}
    found = {term: [one for one in above if one not in below] for term, above in parents.items()}
    for term, kinds in below.items():
        for kind in sorted(kinds):
            found.setdefault(kind, []).append(term)
    return {term: tuple(above) for term, above in found.items() if above}


def _refuse_two_spellings(names: Iterable[str], path: Path) -> None:
    """TOML itself refuses one spelling that stands in one section twice."""
    spelled: dict[str, str] = {}
    for name in names:
        first = spelled.setdefault(plain_name(name), name)
        if first != name:
            raise UsageError(
                f"{path}: {first!r} and {name!r} are the same label: case, spaces and signs do not "
                "matter.",
                "Keep one of the two.",
            )


def _refuse_repeated_findings(names: Iterable[str], path: Path) -> None:
    first: dict[str, str] = {}
    for name in names:
        key = finding_key(name)
        if key in first:
            raise UsageError(
                f"{path}: findings: {first[key]!r} and {name!r} are the same finding.",
                "Keep one of the two.",
            )
        first[key] = name


def _refuse_slips(read: MapFile, said: Mapping[str, Says], path: Path) -> None:
    """Raise for a finding that nothing else names and that is nearly spelled as another one."""
    from difflib import get_close_matches

    known = {plain_name(name): name for name in (*FINDINGS, *read.findings)}
    for label, says in said.items():
        for name in says:
            plain = plain_name(name)
            if plain in known or plain in read.spelled:
                continue
            near = get_close_matches(plain, known, n=1, cutoff=ALIKE)
            if near:
                raise UsageError(
                    f"{path}: [labels] {label!r}: unknown finding {name!r}. Did you mean "
                    f"{known[near[0]]!r}?",
                    f"To make it a finding of its own, add it to the list `findings` of {path}.",
                )


def _refuse_circle(read: MapFile, path: Path) -> None:
    """Raise for a term that stands below itself, with the way from it to itself."""

    def follow(term: str, way: tuple[str, ...]) -> None:
        if term in way:
            circle = [read.spelled[one] for one in (*way[way.index(term) :], term)]
            raise UsageError(
                f"{path}: [children] goes in a circle: {' -> '.join(map(repr, circle[::-1]))}.",
                "Remove one of these terms from the list of the one before it.",
            )
        for above in read.parents.get(term, ()):
            follow(above, (*way, term))

    for term in read.parents:
        follow(term, ())
