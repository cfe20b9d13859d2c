"""The search for a weighter that helps rare findings, as RARE-FINDINGS.md lays it down.

`data` draws and converts the synthetic radiographs, `search` compares all variants with equal
weighting, `confirm` the frozen one on unseen seeds and new radiographs, `table` prints a record.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

IMAGES, SIZE = 4000, 64
DATA_SEEDS = {"search": 1000, "confirm": 2000}  # of patients, radiographs and split
TRAINING = ("--backbone", "resnet18", "--image-size", "48", "--epochs", "4")
TRAINING += ("--learning-rate", "1e-3", "--cost-rounds", "5")
SEEDS = {"search": 5, "confirm": 10}
FIRST_SEED = {"search": 0, "confirm": 100}

RARE, CHOSEN = "rarity", "deepchest-rare"
VARIANTS = (
    # the published rule, its signal replaced or held back
    "deepchest",
    "deepchest[signal=auroc,split=validation,floor=0.5,renormalize=yes]",
    "deepchest[signal=average-precision,split=validation,floor=0.5,renormalize=yes]",
    "deepchest[signal=normalized-cross-entropy,floor=0.5,renormalize=yes]",
    "deepchest[signal=loss-trend,split=validation,floor=0.5,renormalize=yes]",
    "deepchest[signal=auroc,every=25,dead_band=0.05,floor=0.5,renormalize=yes]",
    # priors
    "prevalence[power=0.5]",
    f"{RARE}[power=0.5,kappa=0.03,ramp=always]",
    f"{RARE}[power=-0.25,ramp=always]",
    f"{RARE}[power=0.5,ramp=late]",
    f"{RARE}[power=0.5,ramp=early]",
    # feedback from validation
    f"{RARE}[power=0,signal=auroc,rate=0.2,certainty=1]",
    f"{RARE}[power=0,signal=gap,rate=-0.2,certainty=0.5]",
    f"{RARE}[power=0,signal=gap,rate=0.2,certainty=0.5]",
    f"{RARE}[power=0,signal=trend,rate=-0.2,certainty=0.5]",
    # both
    f"{RARE}[power=0.5,ramp=early,signal=gap,rate=-0.2,certainty=0.5]",
    f"{RARE}[power=0.5,ramp=late,signal=gap,rate=-0.2,certainty=0.5]",
)


def run(*words: str) -> None:
    """Run a command of deepchest and end where it fails."""
    code = subprocess.run((sys.executable, "-m", "deepchest_cli", *words), check=False).returncode
    if code:
        raise SystemExit(code)


def draw(folder: Path, part: str) -> None:
    """Draw the synthetic radiographs of a part of the search, half of them to be tested on."""
    run(
        *("prepare", "--demo", "--long-tail", "--images", str(IMAGES), "--size", str(SIZE)),
        *("--split-scheme", "random", "--test-fraction", "0.5", "--validation-fraction", "0.2"),
        *("--seed", str(DATA_SEEDS[part]), "--source", str(folder / f"{part}-source")),
        *("--data", str(folder / part)),
    )


def compare(folder: Path, part: str, variants: Sequence[str], devices: str) -> None:
    """Compare variants with equal weighting, or go on where that was interrupted."""
    out = folder / f"{part}-comparison"
    where = ("--resume", str(out)) if out.exists() else ("--out", str(out), *TRAINING)
    data = () if out.exists() else ("--data", str(folder / part))
    run(
        *("compare-weighters", *where, *data, "--weighters", ",".join(("equal", *variants))),
        *("--first-seed", str(FIRST_SEED[part]), "--seeds", str(SEEDS[part])),
        *("--devices", devices),
    )


def table(path: Path) -> None:
    """Print what a comparison has found, best rare findings first."""
    weighters = json.loads(path.read_text())["weighters"]
    print("| weighter | five rarest | macro | difference, rarest | difference, macro |")
    print("|---|---|---|---|---|")
    means = {label: entry["metrics"] for label, entry in weighters.items()}
    for label in sorted(means, key=lambda label: -means[label]["rarest_tertile_auroc"]["mean"]):
        figures = [means[label][name]["mean"] for name in ("rarest_tertile_auroc", "macro_auroc")]
        changes = weighters[label]["differences"] or {}
        cells = [f"{value:.4f}" for value in figures]
        cells += [_change(changes.get(name)) for name in ("rarest_tertile_auroc", "macro_auroc")]
        print(f"| `{label}` | " + " | ".join(cells) + " |")


def _change(row: dict[str, float] | None) -> str:
    return (
        "" if row is None else f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["data", "search", "confirm", "table"])
    parser.add_argument("--folder", type=Path, default=Path("runs/rare-findings"))
    parser.add_argument("--part", choices=list(SEEDS), default="search", help="of data and table")
    parser.add_argument("--variant", default=CHOSEN, help="what confirm compares")
    parser.add_argument("--devices", default="cpu,cpu", help="a run at a time on each")
    options = parser.parse_args()
    if options.action == "data":
        draw(options.folder, options.part)
    elif options.action == "table":
        table(options.folder / f"{options.part}-comparison" / "results.json")
    else:
        variants = VARIANTS if options.action == "search" else (options.variant,)
        compare(options.folder, options.action, variants, options.devices)


if __name__ == "__main__":
    main()
