"""`deepchest predict`: probabilities for image files."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepchest_cli.config import PredictConfig
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import to_csv, to_json
from deepchest_cli.terminal import Terminal, number, table_of

DISCLAIMER = "For research; not for clinical use."


def predict(config: PredictConfig, terminal: Terminal) -> None:
    """Predict the findings of radiographs in PNG or JPEG files.

    Examples:  deepchest predict image.png

    find . -name '*.png' | deepchest predict - --format jsonl
    """
    from deepchest_cli.evaluation.files import predict_files
    from deepchest_cli.model.checkpoint import load_model
    from deepchest_cli.training.device import resolve_device

    device = resolve_device(config.device)
    model = load_model(config.model, device)
    paths = list(_paths(config.images))
    if not paths:
        raise UsageError("There is no image to predict.", "Name PNG or JPEG files or a folder.")
    if model.identity["synthetic"]:
        terminal.warning("This model was trained on synthetic radiographs; it knows no patients.")
    form = "json" if terminal.json else config.format
    images, failed = [], []
    with terminal.progress("Predicting") as progress:
        for result in predict_files(model.classifier, paths, config.batch_size, device, progress):
            if result.error is not None:
                failed.append(f"  {result.path}: {result.error}")
                continue
            image = {"path": str(result.path), "probabilities": result.probabilities}
            if form == "jsonl":
                terminal.line(to_json(image))
            else:
                images.append(image)
    _render(images, model.identity, form, terminal)
    terminal.note(DISCLAIMER)
    if failed:
        listed = "\n".join(failed)
        raise DeepChestError(f"{len(failed)} of {len(paths)} files could not be read:\n{listed}")


def _paths(arguments: tuple[str, ...]) -> Iterator[Path]:
    """Yield files as named; a folder stands for its images, sorted, and - for lines of stdin."""
    from deepchest_cli.data.radiograph import find_radiographs

    for argument in arguments:
        if argument == "-":
            yield from (Path(line.strip()) for line in sys.stdin if line.strip())
        elif Path(argument).is_dir():
            yield from find_radiographs(Path(argument))
        else:
            yield Path(argument)


def _render(
    images: list[dict[str, Any]], model: dict[str, Any], form: str, terminal: Terminal
) -> None:
    if form == "json":
        terminal.document({"model": model, "images": images})
    elif form == "csv":
        probabilities = ({"path": image["path"], **image["probabilities"]} for image in images)
        terminal.text(to_csv(["path", *model["findings"]], probabilities))
    elif form == "table" and images:
        names = [Path(image["path"]).name for image in images]
        rows = [
            [finding, *(number(image["probabilities"][finding]) for image in images)]
            for finding in model["findings"]
        ]
        if len(images) <= 4:
            terminal.table(table_of(["Finding", *names], rows))
        else:
            transposed = [list(row) for row in zip(names, *(r[1:] for r in rows), strict=True)]
            terminal.table(table_of(["Image", *model["findings"]], transposed))
