"""The fourteen findings of NIH ChestX-ray14 and how they are written."""

from collections.abc import Sequence
from difflib import get_close_matches

# NIH's own order, which CheXNet and MedMNIST keep. Code never relies on it: names travel along.
FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"


def parse_labels(text: str, findings: Sequence[str] = FINDINGS) -> frozenset[str]:
    """Return the findings in NIH's `A|B` notation, matched exactly; `No Finding` is the empty set.

    Raises `ValueError` for a name that is no finding, and for `No Finding` beside a finding.
    """
    names = [name.strip() for name in text.split("|")]
    for name in names:
        if name != NO_FINDING and name not in findings:
            raise ValueError(f"unknown finding {name!r}{_suggestion(name, findings)}")
    if NO_FINDING in names and len(names) > 1:
        raise ValueError(f"{NO_FINDING!r} stands beside findings in {text!r}")
    return frozenset(names) - {NO_FINDING}


def _suggestion(name: str, findings: Sequence[str]) -> str:
    nearest = get_close_matches(name, findings, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
