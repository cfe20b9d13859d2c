"""Another hospital: radiographs of noise in another exposure, with labels in a table of its own."""

from pathlib import Path

import numpy as np
from PIL import Image

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import plan_preparation, run_preparation

PREVALENCE = {"Pleural Effusion": 0.4, "Mass": 0.4, "Nodule": 0.02, "Fracture": 0.2}


def write_site(folder: Path, patients: int = 90, seed: int = 3) -> Path:
    """Write two images of each patient and labels.csv; those with findings are brighter."""
    chance = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = [",".join(["image", "patient_id", *PREVALENCE])]
    for number in range(2 * patients):
        found = chance.random(len(PREVALENCE)) < list(PREVALENCE.values())
        brightness = 110 + 30 * found[:2].sum() + chance.normal(0, 30)
        pixels = chance.normal(brightness, 20, (32, 32)).clip(0, 255)
        name = f"site-{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
        rows.append(",".join([name, f"S{number // 2}", *map(str, found.astype(int))]))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def prepare_site(site: Path, shards: Path, size: int = 32, **settings: object) -> Path:
    """Prepare a written site: a third of its patients each for validation and for the test."""
    fractions = {"validation_fraction": 0.5, "test_fraction": 0.35}
    config = PrepareConfig(
        size=str(size), workers=1, labels_csv=site / "labels.csv", **{**fractions, **settings}
    )
    run_preparation(plan_preparation(config, site / "images"), config, shards, lambda *_: None)
    return shards
