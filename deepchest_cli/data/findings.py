"""The fourteen findings of NIH ChestX-ray14 and how they are written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

# NIH's own order, which CheXNet and MedMNIST keep. Code never relies on it: names travel along.
FINDINGS: tuple[str, ...] = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
    "Hernia",
)  # fmt: skip
NO_FINDING = "No Finding"


def plain_name(name: str) -> str:
    """Return a name without case, spaces and signs, as names are compared."""
    return re.sub(r"[\W_]", "", name.lower())  # letters of any script


# what data sets call the findings, by plain names: the one table of aliases, for shards, tables of
# labels and of predictions, label maps and models alike
ALIASES = {plain_name(name): name for name in FINDINGS} | {
    "pleuraleffusion": "Effusion",
    "pulmonaryfibrosis": "Fibrosis",
    "pulmonaryedema": "Edema",
    "hiatalhernia": "Hernia",
    "infiltrate": "Infiltration",
    "infiltrates": "Infiltration",
    "pleural": "Pleural_Thickening",
}
HEALTHY = frozenset({"nofinding", "normal"})


def finding_name(name: str) -> str:
    """Return NIH's name of a finding where it has one, else the name that is given."""
    return ALIASES.get(plain_name(name), name.strip())


def finding_key(name: str) -> str:
    """Return what all names of a finding have in common, whatever their spelling."""
    return plain_name(finding_name(name))


@dataclass(frozen=True)
class MatchedFindings:
    """The findings that two sides share, and those that only one of them has."""

    shared: tuple[tuple[str, str], ...]  # spelled as each side does, in the order of the first
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def match_findings(first: Sequence[str], second: Sequence[str]) -> MatchedFindings:
    """Return which findings of two sides are the same, by the table of aliases.

    Raises `ValueError` where two names of one side are the same finding.
    """
    ours, theirs = _by_key(first), _by_key(second)
    return MatchedFindings(
        tuple((name, theirs[key]) for key, name in ours.items() if key in theirs),
        tuple(name for key, name in ours.items() if key not in theirs),
        tuple(name for key, name in theirs.items() if key not in ours),
    )


def _by_key(names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        key = finding_key(name)
        if key in found:
            raise ValueError(f"{found[key]!r} and {name!r} are the same finding")
        found[key] = name
    return found


def is_healthy(name: str) -> bool:
    """Whether a name says that nothing was found, which is no finding."""
    return plain_name(name) in HEALTHY


def parse_labels(text: str, findings: Sequence[str] = FINDINGS) -> frozenset[str]:
    """Return the findings in NIH's `A|B` notation, matched exactly; `No Finding` is the empty set.

    Raises `ValueError` for a name that is no finding, and for `No Finding` beside a finding.
    """
    names = [name.strip() for name in text.split("|")]
    for name in names:
        if name != NO_FINDING and name not in findings:
            nearest = get_close_matches(name, findings, n=1)
            hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
            raise ValueError(f"unknown finding {name!r}{hint}")
    if NO_FINDING in names and len(names) > 1:
        raise ValueError(f"{NO_FINDING!r} stands beside findings in {text!r}")
    return frozenset(names) - {NO_FINDING}
