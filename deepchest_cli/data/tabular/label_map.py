"""Label maps: which findings a source's own labels or terms stand for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import (
    NO_FINDING,
    finding_key,
    finding_name,
    is_healthy,
    plain_name,
)
from deepchest_cli.data.tabular.cells import ABSENT, BLANK, PRESENT, UNCERTAIN
from deepchest_cli.data.tabular.label_map_file import MapFile, read_map_file, shipped_map
from deepchest_cli.data.tabular.labels import (
    NO_DISEASE,
    LabelTable,
    Policy,
    looks_like_labels,
    read_cells,
)
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError, unknown_name

# what a label says of a finding where the label is present; the first of several labels wins
Says = dict[str, dict[str, int]]  # what labels say where they are present, by finding_key
STRENGTH = {PRESENT: 2, UNCERTAIN: 1, ABSENT: 0}


@dataclass(frozen=True)
class LabelMap:
    """Which findings L labels of a source stand for, and which T findings are wanted.

    A label that the map does not name stands for itself, by the table of aliases. It also counts as
    each term that it stands below; what the map says of the label goes before what it says of a
    term above.
    """

    file: MapFile = field(default_factory=MapFile)
    wanted: tuple[str, ...] = ()  # as they are to be spelled; empty: those of the file, or all
    is_own: bool = False  # a file that the user gave, of which we say what the table lacks

    def describe(self) -> dict[str, str]:
        """Return which map this is, with its hash, for a manifest; nothing where it is none."""
        path = self.file.path
        return {} if path is None else {"label_map": f"{path.name}, sha256 {self.file.sha256}"}

    def says(self, label: str) -> dict[str, int]:
        """Return what a label says where it is present: states by the findings' keys."""
        plain = plain_name(label)
        found: dict[str, int] = {}
        for above in self.file.parents.get(plain, ()):
            for key, state in self.says(self.file.spelled[above]).items():
                if key not in found or STRENGTH[state] > STRENGTH[found[key]]:
                    found[key] = state
        own = {finding_key(name): state for name, state in self.file.labels.get(plain, {}).items()}
        itself = {} if self._is_another(label) else {finding_key(label): PRESENT}
        return {**found, **itself, **own}

    def findings_of(self, label: str, findings: Sequence[str]) -> tuple[str, ...]:
        """Return those of the findings that are present where a label is, for its boxes."""
        says = self.says(label)
        return tuple(name for name in findings if says.get(finding_key(name)) == PRESENT)

    def apply(
        self,
        names: Sequence[str],
        states: NDArray[np.int8],
        policy: Policy,
        file: Path,
        lists_terms: bool = False,
    ) -> LabelTable:
        """Return the labels of N images for the wanted findings.

        names: the source's labels or terms (L,); states: PRESENT, ABSENT, UNCERTAIN or BLANK
        (N, L); lists_terms: whether the source lists what is present, so that a term of the map
        which no image has is absent. Where labels disagree, positive wins, then unknown, then
        negative; a blank says nothing. Raises `UsageError` where two labels are the same, where a
        wanted finding has none and where there are no findings.
        """
        healthy = _any_present(names, states, self._is_healthy)
        incomplete = _any_present(names, states, self._is_incomplete)
        states = np.where(incomplete[:, None] & (states == ABSENT), BLANK, states)
        every = {
            name: self.says(name)
            for name in names
            if not (self._is_healthy(name) or self._is_incomplete(name))
        }
        findings = self._choose(every, file, lists_terms)
        self._refuse_same_labels(every, findings, file)
        policy.refuse_others(findings)
        shape = (len(states), len(findings))
        votes = {state: np.zeros(shape, dtype=bool) for state in STRENGTH}
        spoken = (states != BLANK).any(axis=1) & ~incomplete
        for column, finding in enumerate(findings):
            key, silent = finding_key(finding), True
            ruled_out = healthy & (finding not in NO_DISEASE)
            for name, said in ((name, says[key]) for name, says in every.items() if key in says):
                silent = False
                cells = states[:, names.index(name)]
                cells = np.where(ruled_out & (cells == BLANK), ABSENT, cells)
                for state, rows in _votes(cells, said, policy, finding):
                    votes[state][:, column] |= rows
            if silent and lists_terms:
                votes[ABSENT][:, column] = spoken
            votes[ABSENT][:, column] |= ruled_out
        labels = votes[PRESENT]
        known = labels | (votes[ABSENT] & ~votes[UNCERTAIN])
        disease = np.array([name not in NO_DISEASE for name in findings])
        contradictory = int((healthy & labels[:, disease].any(axis=1)).sum())
        return LabelTable(
            findings,
            labels.astype(np.uint8),
            known.astype(np.uint8),
            contradictory,
            self._notes(names),
        )

    def _is_healthy(self, label: str) -> bool:
        return is_healthy(label) or plain_name(label) in self.file.healthy

    def _is_incomplete(self, label: str) -> bool:
        return plain_name(label) in self.file.incomplete

    def _is_another(self, label: str) -> bool:
        """Whether the map renames a label, and calls another one as this one is called."""
        plain, key = plain_name(label), finding_key(label)
        return self._is_listed(label) and any(
            finding_key(name) == key and state == PRESENT
            for other, says in self.file.labels.items()
            if other != plain
            for name, state in says.items()
        )

    def _is_listed(self, label: str) -> bool:
        return plain_name(label) in self.file.labels

    def _choose(self, every: Says, file: Path, lists_terms: bool) -> tuple[str, ...]:
        """Return the findings to take, spelled as they were asked for, else as in the map."""
        if lists_terms:
            every = {**{self.file.spelled[term]: {} for term in self._terms()}, **every}
            every = {label: self.says(label) for label in every}
        known = {finding_key(label): finding_name(label) for label in every}
        for label in every:
            said_of = (*self._default_findings(label), *self.file.labels.get(plain_name(label), {}))
            known |= {finding_key(name): name for name in said_of}
        said = {key for says in every.values() for key in says}
        asked = self.wanted or self.file.findings
        for name in asked:
            if finding_key(name) not in said:
                raise _unknown_finding(name, known, self.file.path or file)
        present = {key for says in every.values() for key, s in says.items() if s == PRESENT}
        default = [name for label in every for name in self._default_findings(label)]
        findings = asked or _once(name for name in default if finding_key(name) in present)
        if not findings:
            raise UsageError(
                f"{file} has no column of labels (1, 0, -1 or blank) besides {NO_FINDING!r}.",
                "Give a column for each finding, or name them: prepare --label-columns A,B,C",
            )
        return findings

    def _terms(self) -> set[str]:
        """Return all that the map names but for labels that are no finding."""
        terms = {*self.file.labels, *self.file.parents, *sum(self.file.parents.values(), ())}
        return {term for term in terms if term not in self.file.healthy | self.file.incomplete}

    def _default_findings(self, label: str) -> tuple[str, ...]:
        """Return what a label and the terms above it make present, but for renamed labels."""
        plain = plain_name(label)
        own = self.file.labels.get(plain)
        names = [finding_name(label)] if own is None else [n for n in own if own[n] == PRESENT]
        for above in self.file.parents.get(plain, ()):
            names += self._default_findings(self.file.spelled[above])
        return _once(names)

    def _refuse_same_labels(self, every: Says, findings: Sequence[str], file: Path) -> None:
        """Raise where two labels are one by the table of aliases, unless the map names both."""
        wanted = {finding_key(name): name for name in findings}
        first: dict[str, str] = {}
        for label in every:
            listed = self._is_listed(label)
            key = plain_name(label) if listed else finding_key(label)
            other = first.setdefault(key, label)
            used = wanted.keys() & every[label]
            if other != label and used:
                raise UsageError(
                    f"{file}: the columns {other!r}, {label!r} are all about "
                    f"{wanted[used.pop()]!r}.",
                    "Keep one of them, or name it: prepare --label-columns A,B,C",
                )

    def _notes(self, names: Iterable[str]) -> tuple[str, ...]:
        there = set(map(plain_name, names))
        missing = [self.file.spelled[one] for one in self.file.labels if one not in there]
        said = f"{self.file.path}: labels that no image has: {few(map(repr, missing))}."
        return (said,) * bool(missing and self.is_own)


def load_label_map(kind: str, given: Path | None, findings: str | None) -> LabelMap:
    """Return the label map of a kind of source, or the one that is given instead.

    findings: names separated by commas, of findings, labels or terms; None: the map's own.
    """
    path = given or shipped_map(kind)
    names = [name.strip() for name in (findings or "").split(",")]
    wanted = _once(finding_name(name) for name in names if name)
    if findings is not None and not wanted:
        raise UsageError("--findings names nothing.", "For instance: --findings Mass,Nodule")
    file = MapFile() if path is None else read_map_file(path)
    return LabelMap(file, wanted, given is not None)


def read_label_columns(
    raw: pd.DataFrame,
    columns: Iterable[str],
    path: Path,
    policy: Policy | None = None,
    label_map: LabelMap | None = None,
) -> LabelTable:
    """Return the labels of columns; a healthy image has no finding where a column is blank.

    Raises `UsageError` naming row and column for what is no label, where two columns are about one
    finding, and where there is no column of labels.
    """
    chosen = [name for name in columns if not is_healthy(name)]
    healthy = [name for name in map(str, raw.columns) if is_healthy(name)]
    names = [*chosen, *(name for name in healthy if looks_like_labels(raw[name]))]
    cells = [read_cells(raw[name], path) for name in names]
    states = np.stack(cells, axis=1) if cells else np.zeros((len(raw), 0), dtype=np.int8)
    return (label_map or LabelMap()).apply(names, states, policy or Policy(), path)


def _any_present(
    names: Sequence[str], states: NDArray[np.int8], which: Callable[[str], bool]
) -> NDArray[np.bool_]:
    """Return the images (N,) that have one of some labels."""
    return np.asarray((states[:, [which(name) for name in names]] == PRESENT).any(axis=1))


def _votes(
    cells: NDArray[np.int8], said: int, policy: Policy, finding: str
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield what a label's cells (N,) say of a finding and in which images.

    said: what the label says where it is present. One that rules a finding out says nothing where
    it is absent.
    """
    yield said, cells == PRESENT
    if said == ABSENT:
        return
    doubt = policy.of(finding) if said == PRESENT else "ignore"
    yield {"ignore": UNCERTAIN, "zero": ABSENT, "one": PRESENT}[doubt], cells == UNCERTAIN
    yield ABSENT, cells == ABSENT
    if policy.blank != "ignore":
        yield {"zero": ABSENT, "one": said}[policy.blank], cells == BLANK


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Return each finding once, as it is spelled first."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(finding_key(name), name)
    return tuple(found.values())


def _unknown_finding(name: str, known: dict[str, str], file: Path) -> UsageError:
    unknown = unknown_name("finding", name, known.values())
    return UsageError(f"{file}: {unknown.message}", f"Known: {few(known.values())}.")
