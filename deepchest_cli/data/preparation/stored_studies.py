"""The studies of a data set as its shards have them: how many, and what is wrong with them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.sources.base import Source
from deepchest_cli.data.splits import SPLITS, divided_groups
from deepchest_cli.data.text import count_of

Columns = Mapping[str, NDArray[Any]]  # of a shard, by name, here those of all images (N,)
COLUMNS = ("study", "image_index", "split", "patient_id")


def count_studies(source: Source, stored: Columns) -> dict[str, dict[str, int | None]]:
    """Return the numbers of patients and of studies in each split and in all.

    There is None for studies where neither the source nor a file names one.
    """
    known = source.has_studies or not np.array_equal(stored["study"], stored["image_index"])
    rows = {name: stored["split"] == name.encode() for name in SPLITS}
    rows["all"] = np.ones(len(stored["split"]), dtype=bool)
    return {
        name: {
            "patients": len(np.unique(stored["patient_id"][there])),
            "studies": len(np.unique(stored["study"][there])) if known else None,
        }
        for name, there in rows.items()
    }


def doubtful_studies(source: Source, stored: Columns) -> Iterator[str]:
    """Yield what is doubtful about the studies that DICOM files name; a table's were checked."""
    if source.has_studies:
        return
    studies, names = (stored[key].astype(str) for key in ("study", "image_index"))
    by_patient = "The patients of the table or the files' StudyInstanceUID are wrong."
    by_file = (
        "Put the studies into a column of the table (--study-column)."
        if source.kind == "csv"
        else "--split-scheme FILE can give all images of a study one split."
    )
    checks = [("split", "in several splits", by_file)]
    checks += [("patient_id", "of several patients", by_patient)] * source.has_patients
    for column, what, remedy in checks:
        values = stored[column]
        apart = divided_groups(studies, values)
        if apart:
            shown = [f"{names[row]} ({_plain(values[row])})" for row in apart[0]]
            yield (
                f"{count_of(len(apart), 'study has', 'studies have')} images {what}, by "
                f"the StudyInstanceUID of the files (the first, {studies[apart[0][0]]}: "
                f"{' and '.join(shown)}). {remedy}"
            )


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
