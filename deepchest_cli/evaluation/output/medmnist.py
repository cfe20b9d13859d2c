"""The scored predictions as MedMNIST's own evaluator reads them."""

from pathlib import Path
from typing import Any

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.reading.medmnist import (
    CHESTMNIST,
    is_medmnist,
    medmnist_name,
    write_medmnist,
)


def write_for_medmnist(
    folder: Path, document: dict[str, Any], material: EvaluationInput, force: bool
) -> Path:
    """Write the file into a folder and return its path.

    Rows are in the order of the images, which for chestmnist is that of its arrays. Raises
    `UsageError` where a finding is missing or the file is there already.
    """
    table, part = material.scored.predictions, document["split"]
    theirs = material.description["predictions"]
    theirs = theirs is not None and is_medmnist(Path(theirs))
    data = "chestmnist" if theirs or len(material.scored) == CHESTMNIST[part] else "chestxray14"
    macro = document["macro"]
    name = medmnist_name(data, part, macro["auroc"], macro["accuracy"], "deepchest")
    path = folder / name
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", "Replace it with --force.")
    write_medmnist(path, table.findings, table.probabilities)
    return path
