"""Which image shows which findings: exact quotas, dealt out by likeness to NIH's mixture."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.catalog import CATALOGUE
from deepchest_cli.data.synthetic.specification import Numbers, RadiographSpec

Marks = npt.NDArray[np.bool_]

_MOST_FINDINGS = 5
_PERSISTENCE = 6.0
# How much likelier a finding becomes beside another one, either way round.
_TOGETHER: dict[tuple[str, str], float] = {
    ("Infiltration", "Effusion"): 1.8,
    ("Infiltration", "Atelectasis"): 1.8,
    ("Infiltration", "Pneumonia"): 3.0,
    ("Infiltration", "Edema"): 3.0,
    ("Effusion", "Atelectasis"): 2.5,
    ("Effusion", "Consolidation"): 2.2,
    ("Effusion", "Cardiomegaly"): 2.5,
    ("Atelectasis", "Consolidation"): 2.0,
    ("Edema", "Pneumonia"): 3.0,
    ("Pneumothorax", "Emphysema"): 4.0,
    ("Fibrosis", "Pleural_Thickening"): 4.0,
    ("Mass", "Nodule"): 3.0,
    # An over-inflated chest has no room for what a heart failure shows.
    ("Emphysema", "Cardiomegaly"): 0.05,
    ("Emphysema", "Edema"): 0.2,
    ("Pneumothorax", "Cardiomegaly"): 0.4,
}
_ALONE = {"Hernia": 0.3, "Fibrosis": 0.7, "Nodule": 0.7}
# How much likelier a finding is on a portable AP picture.
_PORTABLE = {
    "Edema": 8.0,
    "Infiltration": 1.7,
    "Effusion": 1.6,
    "Atelectasis": 1.4,
    "Consolidation": 1.6,
    "Pneumonia": 1.5,
    "Hernia": 0.5,
    "Fibrosis": 0.4,
    "Nodule": 0.6,
    "Mass": 0.7,
}


def assign_findings(
    radiographs: Sequence[RadiographSpec],
    ill: float,
    chance: np.random.Generator,
    long_tail: bool = False,
) -> list[tuple[str, ...]]:
    """The findings of each image of one part, a fraction `ill` of which has any."""
    patients = np.array([spec.patient for spec in radiographs])
    portable = np.array([spec.view == "AP" for spec in radiographs])
    sick = _choose_sick(patients, portable, ill, chance)
    suiting = np.where(portable[sick, None], _PORTABLE_FACTORS, 1.0)
    marks = _deal(_deck(len(radiographs), ill, chance, long_tail), suiting, patients[sick], chance)
    labels: list[tuple[str, ...]] = [()] * len(radiographs)
    for image, row in zip(sick.tolist(), marks, strict=True):
        labels[image] = tuple(name for name, mark in zip(FINDINGS, row, strict=True) if mark)
    return labels


def _choose_sick(
    patients: npt.NDArray[np.int_], portable: Marks, ill: float, chance: np.random.Generator
) -> npt.NDArray[np.int_]:
    """Images with a finding: mostly the same patients, those in bed and those seen often."""
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    score = chance.normal(0, 1.2, len(counts))[patient] + chance.normal(0, 0.6, len(patients))
    score += 0.6 * portable + 0.15 * counts[patient]
    return np.sort(np.argsort(-score)[: round(ill * len(patients))])


def _deck(
    images: int, ill: float, chance: np.random.Generator, long_tail: bool
) -> npt.NDArray[np.int_]:
    """Every finding as often as its share asks, shuffled; at least once."""
    typical = 0.53
    shares = [row.tail_prevalence if long_tail else row.prevalence for row in CATALOGUE]
    quotas = [max(1, round(share * images * ill / typical)) for share in shares]
    return chance.permutation(np.repeat(np.arange(len(FINDINGS)), quotas))


def _deal(
    deck: npt.NDArray[np.int_],
    suiting: Numbers,
    patients: npt.NDArray[np.int_],
    chance: np.random.Generator,
) -> Marks:
    """Each card to an image it suits; suiting (images, findings) grows with what is dealt."""
    marks = np.zeros(suiting.shape, np.bool_)
    held = np.zeros(len(marks), np.int_)
    for turn, finding in enumerate(deck.tolist()):
        # The first round gives every sick image one finding, later ones add to them.
        most = 1 if turn < len(marks) else _MOST_FINDINGS
        reach = np.cumsum(suiting[:, finding] * (held < most) * ~marks[:, finding])
        if reach[-1] == 0:
            continue
        image = int(np.searchsorted(reach, chance.uniform() * reach[-1], side="right"))
        relatives = patients == patients[image]
        if not marks[relatives, finding].any():
            suiting[relatives, finding] *= _PERSISTENCE
        suiting[image] *= _TOGETHER_FACTORS[finding]
        marks[image, finding] = True
        held[image] += 1
    return marks


def _together_factors() -> Numbers:
    factors = np.ones((len(FINDINGS), len(FINDINGS)))
    for name, factor in _ALONE.items():
        factors[FINDINGS.index(name)] *= factor
        factors[:, FINDINGS.index(name)] *= factor
    for (one, other), factor in _TOGETHER.items():
        first, second = FINDINGS.index(one), FINDINGS.index(other)
        factors[first, second] *= factor
        factors[second, first] *= factor
    return factors


_TOGETHER_FACTORS = _together_factors()
_PORTABLE_FACTORS = np.array([_PORTABLE.get(name, 1.0) for name in FINDINGS])
