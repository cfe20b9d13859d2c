"""NIH's radiographs as Parquet files, in the forms that are on Hugging Face."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests_support import rows_of

from deepchest_cli.data.findings import FINDINGS, NO_FINDING

IMAGE = {"_type": "Image"}
ALPHABETICAL = sorted(FINDINGS)  # numbers of classes are anybody's


def classes(names: Sequence[str]) -> dict[str, Any]:
    """Return what `datasets` says of a list of class numbers."""
    return {"feature": {"names": list(names), "_type": "ClassLabel"}, "_type": "List"}


def found(row: dict[str, str]) -> list[str]:
    """Return the findings of a row of NIH's table."""
    return [name for name in row["Finding Labels"].split("|") if name != NO_FINDING]


def struct(row: dict[str, str], images: Path, path: str | None = None) -> dict[str, Any]:
    """Return an image as `datasets` keeps it."""
    return {"bytes": (images / row["Image Index"]).read_bytes(), "path": path}


def timm(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row of `timm/nih-chest-xray-14`: No Finding is an empty list."""
    stem = row["Image Index"].removesuffix(".png")
    return {
        "image": struct(row, images, f"{stem}.jpg"),
        "image_id": stem,
        "labels": [ALPHABETICAL.index(name) for name in found(row)],
        "label_names": found(row),
        "fold": int(row["Patient ID"]) % 10,
        "patient_id": int(row["Patient ID"]),
        "follow_up": int(row["Follow-up #"]),
        "patient_age": int(row["Patient Age"].strip("Y")),
        "patient_sex": row["Patient Gender"],
        "view_position": row["View Position"],
        "original_width": 2500,
        "original_height": 2048,
    }


def numbered(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row of `alkzar90/NIH-Chest-X-ray-dataset`: class 0 is No Finding."""
    names = (NO_FINDING, *FINDINGS)
    return {
        "image_file_path": f"/home/someone/.cache/images/{row['Image Index']}",
        "image": struct(row, images),
        "labels": [names.index(name) for name in found(row) or [NO_FINDING]],
    }


def scans(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row of `chehablab/NIHChestXR`: patient and scan make the image's name."""
    labels = numbered(row, images)["labels"]
    return {
        "patient_id": str(int(row["Patient ID"])),
        "scan_id": int(row["Image Index"][9:12]),
        "image": struct(row, images),
        "age": int(row["Patient Age"].strip("Y")),
        "sex": row["Patient Gender"],
        "labels": labels,
    }


def nameless(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row of `BahaaEldin0/NIH-Chest-Xray-14`."""
    return {
        "image": struct(row, images),
        "label": found(row) or [NO_FINDING],
        "Patient ID": int(row["Patient ID"]),
        "Patient Age": int(row["Patient Age"].strip("Y")),
        "Patient Gender": row["Patient Gender"],
    }


def tabular(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row of NIH's own table with the bytes of the image beside."""
    return {**row, "image": (images / row["Image Index"]).read_bytes()}


def columns(row: dict[str, str], images: Path) -> dict[str, Any]:
    """Return a row with a column for each finding; only the structure names the image."""
    spelled = {name: name.replace("_", " ") for name in FINDINGS}
    labels = {spelled[name]: int(name in found(row)) for name in FINDINGS}
    return {"img": struct(row, images, row["Image Index"]), **labels}


Form = Callable[[dict[str, str], Path], dict[str, Any]]
FEATURES: dict[Form, dict[str, Any]] = {
    timm: {"image": IMAGE, "labels": classes(ALPHABETICAL)},
    numbered: {"image": IMAGE, "labels": classes((NO_FINDING, *FINDINGS))},
    scans: {"image": IMAGE, "labels": classes((NO_FINDING, *FINDINGS))},
    nameless: {"image": IMAGE},
    tabular: {},
    columns: {},
}


def write(path: Path, rows: list[dict[str, Any]], features: dict[str, Any], group: int = 7) -> None:
    """Write rows as `datasets` does."""
    table = pa.Table.from_pylist(rows)
    text = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), path, row_group_size=group)


def pack(nih: Path, folder: Path, form: Form, files: int = 2, group: int = 7) -> Path:
    """Write an NIH folder's images to train-*.parquet and test-*.parquet, by NIH's lists."""
    test = set((nih / "test_list.txt").read_text().split())
    table = rows_of(nih / "Data_Entry_2017_v2020.csv")
    for split in ("train", "test"):
        rows = [row for row in table if (row["Image Index"] in test) == (split == "test")]
        for number, chunk in enumerate(np.array_split(np.arange(len(rows)), files)):
            path = folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
            made = [form(rows[place], nih / "images") for place in chunk]
            write(path, made, FEATURES[form], group)
    return folder
