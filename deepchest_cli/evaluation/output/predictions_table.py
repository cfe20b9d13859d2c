"""The table of predictions, in CSV or Parquet; `evaluate` reads it as predictions and as labels."""

from pathlib import Path

import pandas as pd

from deepchest_cli.data.tabular.finding_columns import KNOWN, LABEL
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.files import PARQUET, atomic_write, write_text

PREDICTIONS = "predictions.csv"
FORMATS = (".csv", PARQUET)


def predictions_table(material: EvaluationInput) -> pd.DataFrame:
    """Return a row for each image; columns are `Image Index`, `Patient ID`, `split` and others.

    `fold`, from 1, is there for out-of-fold predictions.

    Also where studies or patients are scored, whose means, with any weights, can be made of it.

    A finding's column holds its probability, unrounded; `FINDING_label` is 1, 0 or, where it is not
    known, blank; `FINDING_known` is 1 or 0. The first two are called as in NIH's table, the others
    are not, so that both can be merged.
    """
    scored, table = material.images, material.images.predictions
    columns = {
        "Image Index": scored.image_index,
        "Patient ID": table.patient_id,
        "Study": scored.study,
        "split": material.splits,
        "fold": material.folds_of(table),
        "Age": scored.age,
        "Sex": scored.sex,
        "View": scored.view,
    }
    known = pd.DataFrame(table.known, columns=table.findings)
    labels = pd.DataFrame(table.labels, columns=table.findings, dtype="UInt8").where(known == 1)
    scores = pd.DataFrame(table.probabilities, columns=table.findings)
    given = {name: column for name, column in columns.items() if column is not None}
    parts = (pd.DataFrame(given), scores, labels.add_suffix(LABEL), known.add_suffix(KNOWN))
    return pd.concat(parts, axis=1)


def write_predictions(path: Path, material: EvaluationInput) -> None:
    """Write the table, whole or not at all, in the format that the file's suffix names."""
    table = predictions_table(material)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == PARQUET:
        with atomic_write(path) as temporary:
            table.to_parquet(temporary, engine="pyarrow", index=False)
    else:
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
