"""The folder of a report: results, tables, plots, the page and the model card."""

from pathlib import Path
from typing import Any

from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.card import model_card
from deepchest_cli.evaluation.output.confident_errors import confident_errors, contact_sheet
from deepchest_cli.evaluation.output.page import report_page
from deepchest_cli.evaluation.output.plots import (
    confusion_figure,
    defined_groups,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    subgroups_figure,
)
from deepchest_cli.evaluation.output.predictions_table import PREDICTIONS, write_predictions
from deepchest_cli.evaluation.output.tables import TABLES, tables
from deepchest_cli.evaluation.units import IMAGE
from deepchest_cli.files import atomic_write, sweep, write_json, write_text
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.reporting.plots import Draw, render_figures
from deepchest_cli.schemas import versioned

REPORT, RESULTS, CARD = "report.html", "results.json", "model-card.md"
NAMES = (REPORT, RESULTS, CARD, PREDICTIONS, *TABLES)
FIGURES = ("roc", "precision-recall", "reliability", "subgroups", "confusion", "errors")
PHOTOGRAPHS = ("errors",)


def write_report(folder: Path, document: dict[str, Any], material: EvaluationInput) -> None:
    """Write everything into a folder, the page last; every file is whole or not there."""
    # before an earlier report is touched
    figures = render_figures(report_figures(document, material), PHOTOGRAPHS)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    for name in (*NAMES, *(f"{figure}.png" for figure in FIGURES)):
        (folder / name).unlink(missing_ok=True)  # what an earlier report had and this one has not
    for name, text in tables(document).items():
        write_text(folder / name, text)
    write_predictions(folder / PREDICTIONS, material)
    write_json(folder / RESULTS, versioned(document))
    origins = [{**m.origin, "training_images": _trained_on(m)} for m in material.models]
    write_text(folder / CARD, model_card(document, origins))
    for name, (png, _) in figures.items():
        with atomic_write(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
    embedded = {name: svg or png for name, (png, svg) in figures.items()}
    write_text(folder / REPORT, report_page(document, embedded))


def _trained_on(model: LoadedModel) -> list[int] | None:
    """Return how many training images, of different pixels, of each data set are known."""
    images = model.training_images
    return None if images is None else [len(one["training"]) for one in images]


def report_figures(document: dict[str, Any], material: EvaluationInput) -> dict[str, Draw]:
    """Return what draws each figure of a report, by name; those of `FIGURES` that there are."""
    table = material.scored.predictions
    figures: dict[str, Draw] = {
        "roc": lambda: roc_figure(document, table),
        "precision-recall": lambda: precision_recall_figure(document, table),
        "reliability": lambda: reliability_figure(document),
    }
    if defined_groups(document):
        figures["subgroups"] = lambda: subgroups_figure(document)
    points = document["operating_points"]
    if any(entry[points["reference_operating_point"]] for entry in points["findings"].values()):
        figures["confusion"] = lambda: confusion_figure(document)
    of_images = material.dataset is not None and document["unit"] == IMAGE
    errors = confident_errors(material) if of_images else []
    if errors:
        figures["errors"] = lambda: contact_sheet(errors, material)
    return figures
