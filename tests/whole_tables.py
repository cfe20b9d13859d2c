"""The whole tables of public data sets, from the package torchxrayvision, as `prepare` takes them.

The package is found, not imported. Nothing of it is in this repository.
"""

from importlib.util import find_spec
from pathlib import Path

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.base import Source
from deepchest_cli.data.sources.recognize import read_source

# for each kind of source: its files as its own folder has them, and as the package does
FILES = {
    "nih": {
        "Data_Entry_2017_v2020.csv": "Data_Entry_2017_v2020.csv.gz",
        "BBox_List_2017.csv": "BBox_List_2017.csv.gz",
    },
    "chexpert": {"train.csv": "chexpert_train.csv.gz"},
    "padchest": {
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": (
            "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
        )
    },
    "vindr": {"train.csv": "vinbigdata-train.csv.gz"},
    "rsna": {"stage_2_train_labels.csv.zip": "kaggle_stage_2_train_labels.csv.zip"},
    "siim": {"siim-pneumothorax-train-rle.csv.gz": "siim-pneumothorax-train-rle.csv.gz"},
    "openi": {"NLMCXR_reports.tgz": "NLMCXR_reports.tgz"},
}
# where a data set has no split of its own in these files
SETTINGS = {"nih": {"split_scheme": "random"}}


def find_tables() -> Path | None:
    """Return the folder of tables in the installed package, if it is there."""
    spec = find_spec("torchxrayvision")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    return folder if folder is not None and folder.is_dir() else None


def own_folder(kind: str, tables: Path, folder: Path) -> Path:
    """Return a folder with the files of one data set under its own names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, packed in FILES[kind].items():
        path = folder / name
        if not path.exists():
            path.symlink_to(tables / packed)
    return folder


def settings(kind: str, **more: object) -> PrepareConfig:
    """Return the settings with which a data set is read."""
    given = {"layout": kind, **SETTINGS.get(kind, {}), **more}
    return PrepareConfig(**given)  # type: ignore[arg-type]


def read_whole(kind: str, tables: Path, folder: Path, **more: object) -> Source:
    """Return a whole table as a source; all views unless others are asked for."""
    return read_source(own_folder(kind, tables, folder), settings(kind, **{"views": "all", **more}))
