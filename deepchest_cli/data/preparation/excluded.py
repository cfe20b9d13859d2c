"""The images of the table that a data set lacks: each once, in a file beside the manifest."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepchest_cli.data.text import SHOWN
from deepchest_cli.files import sha256_of, write_text

EXCLUDED = "excluded.csv"
COLUMNS = ("image", "reason")


def summarize(folder: Path, excluded: Mapping[str, str]) -> dict[str, Any]:
    """Write the file, or remove it where no image is excluded; return what the manifest says.

    excluded: image to reason, in the order of the table.
    """
    path = folder / EXCLUDED
    if not excluded:
        path.unlink(missing_ok=True)
        return {"images": 0, "reasons": {}, "first": [], "file": None, "sha256": None}
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *excluded.items()])
    if not path.is_file() or path.read_bytes() != text.getvalue().encode():
        write_text(path, text.getvalue())
    return {
        "images": len(excluded),
        "reasons": dict(Counter(excluded.values()).most_common()),
        "first": list(excluded)[:SHOWN],
        "file": EXCLUDED,
        "sha256": sha256_of(path),
    }


def read_excluded(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """Return image and reason of each excluded image; None where that is not known any more."""
    summary = manifest.get("excluded")
    if summary is None:  # of version 0.1
        return None
    if not summary["images"]:
        return {}
    path = folder / EXCLUDED
    if not path.is_file() or sha256_of(path) != summary["sha256"]:
        return None
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    return {row["image"]: row["reason"] for row in rows}
