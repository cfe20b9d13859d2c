"""The radiographs of the study: a sample of NIH ChestX-ray14, drawn to the prevalences of NIH.

`draw` chooses the largest such sample among the radiographs at hand, and prints their names, which
are in study/sample.txt; `lay-out` makes a folder in NIH's own layout of them, which `deepchest
prepare` reads. docs/study.md says what the sample leaves.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

RECORDS = Path(__file__).parent / "study"
SAMPLE = RECORDS / "sample.txt"
TABLE, NO_FINDING = "Data_Entry_2017_v2020.csv", "No Finding"
# of all 112,120 radiographs (Data_Entry_2017_v2020.csv)
IMAGES, NORMAL = 112_120, 60_361
POSITIVES = {
    "Atelectasis": 11_559, "Cardiomegaly": 2_776, "Consolidation": 4_667, "Edema": 2_303,
    "Effusion": 13_317, "Emphysema": 2_516, "Fibrosis": 1_686, "Hernia": 227,
    "Infiltration": 19_894, "Mass": 5_782, "Nodule": 6_331, "Pleural_Thickening": 3_385,
    "Pneumonia": 1_431, "Pneumothorax": 5_302,
}  # fmt: skip
MIN_POSITIVES = 40  # of a finding, or all there are: fewer say little of an AUROC
TOLERANCE = 0.02  # of a prevalence, up to whole radiographs


def bounds(
    images: int, there: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest number of positives of each finding, (T,) each.

    images: of the sample. there: how many positives there are to choose from, (T,).
    """
    wanted = np.array(list(POSITIVES.values())) * images / IMAGES
    at_least = np.minimum(MIN_POSITIVES, there)
    low = np.where(wanted < at_least, at_least, np.floor(wanted * (1 - TOLERANCE)))
    high = np.where(wanted < at_least, at_least, np.ceil(wanted * (1 + TOLERANCE)))
    return low, high


def choose_with_finding(
    labels: NDArray[np.int64], images: int, normal: int, seed: int
) -> NDArray[np.bool_] | None:
    """Return which radiographs with a finding (n,) a sample takes, as many as it may.

    labels: (n, T). normal: how many have none. None where no choice has the prevalences.
    """
    random = np.random.default_rng(seed)
    low, high = bounds(images, labels.sum(axis=0))
    with_finding = np.ceil(images * (1 - NORMAL / IMAGES))
    found = milp(
        -1 - 1e-3 * random.random(len(labels)),
        constraints=[
            LinearConstraint(labels.T, low, high),
            LinearConstraint(np.ones((1, len(labels))), images - normal, with_finding),
        ],
        integrality=np.ones(len(labels)),
        bounds=Bounds(0, 1),
    )
    return None if found.x is None else found.x > 0.5


def draw(table: pd.DataFrame, seed: int) -> list[str]:
    """Return the names of the largest sample with the prevalences, sorted."""
    findings = table["Finding Labels"].str.get_dummies("|")
    is_normal = (findings[NO_FINDING] == 1).to_numpy()
    labels = findings.loc[~is_normal, list(POSITIVES)].to_numpy()
    for images in range(len(table) // 10 * 10, 0, -10):
        chosen = choose_with_finding(labels, images, int(is_normal.sum()), seed)
        if chosen is None:
            continue
        random = np.random.default_rng(seed)
        normal = random.choice(np.flatnonzero(is_normal), images - int(chosen.sum()), replace=False)
        rows = np.concatenate([np.flatnonzero(~is_normal)[chosen], normal])
        return sorted(table["Image Index"].iloc[rows])
    raise SystemExit("No sample of these radiographs has the prevalences.")


def lay_out(source: Path, out: Path) -> None:
    """Make a folder in NIH's layout of the radiographs of the sample; the images are links."""
    names = SAMPLE.read_text().split()
    if (out / "images").exists():
        raise SystemExit(f"There is a data set in {out} already. Name another folder with --out.")
    (out / "images").mkdir(parents=True)
    table = pd.read_csv(source / TABLE, dtype=str).set_index("Image Index", drop=False)
    table.loc[names].to_csv(out / TABLE, index=False)
    for name in names:
        (out / "images" / name).symlink_to((source / "images" / name).absolute())


def described(table: pd.DataFrame, names: list[str]) -> Iterator[str]:
    """Yield the rows of a table of what a sample has, beside all of NIH."""
    chosen = table[table["Image Index"].isin(names)]
    findings = chosen["Finding Labels"].str.get_dummies("|")
    patients = chosen["Patient ID"].nunique()
    yield f"{len(chosen)} radiographs of {patients} patients"
    yield "| finding | positives | prevalence | in NIH |"
    yield "|---|---|---|---|"
    wanted = {**POSITIVES, NO_FINDING: NORMAL}
    for finding, count in sorted(wanted.items(), key=lambda pair: -pair[1]):
        positives = int(findings[finding].sum())
        yield f"| {finding} | {positives} | {positives / len(chosen):.1%} | {count / IMAGES:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["draw", "describe", "lay-out"])
    parser.add_argument("--source", type=Path, required=True, help="a folder in NIH's layout")
    parser.add_argument("--out", type=Path, default=Path("data/study"), help="of lay-out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = pd.read_csv(options.source / TABLE)
    if options.action == "draw":
        print("\n".join(draw(table, options.seed)))
    elif options.action == "lay-out":
        lay_out(options.source, options.out)
    else:
        print("\n".join(described(table, SAMPLE.read_text().split())))


if __name__ == "__main__":
    main()
