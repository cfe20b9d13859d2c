"""The folder of a report: results, tables, pictures, the page and the model card."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.evaluation.material.material import Material
from deepchest_cli.evaluation.output.card import model_card
from deepchest_cli.evaluation.output.contact_sheet import confident_errors, contact_sheet
from deepchest_cli.evaluation.output.page import report_page
from deepchest_cli.evaluation.output.pictures import (
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    subgroups_figure,
)
from deepchest_cli.evaluation.output.tables import tables
from deepchest_cli.files import replacing, write_json, write_text
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, RESULTS, CARD = "report.html", "results.json", "model-card.md"
PHOTOGRAPHS = ("errors",)  # would be larger as SVG
STYLE: dict[Any, Any] = {"svg.hashsalt": "deepchest"}  # the same figure is the same file


def write_report(folder: Path, document: dict[str, Any], material: Material) -> None:
    """Write everything into a folder, the page last; every file is whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables(document, material.cases).items():
        write_text(folder / name, text)
    write_json(folder / RESULTS, versioned(document))
    origins = [model.origin for model in material.models]
    write_text(folder / CARD, model_card(document, origins))
    pictures = _draw(folder, _figures(document, material))
    write_text(folder / REPORT, report_page(document, pictures))


def _figures(document: dict[str, Any], material: Material) -> "dict[str, Callable[[], Figure]]":
    table = material.cases.predictions
    figures: dict[str, Callable[[], Figure]] = {
        "roc": lambda: roc_figure(document, table),
        "precision-recall": lambda: precision_recall_figure(document, table),
        "reliability": lambda: reliability_figure(document),
        "subgroups": lambda: subgroups_figure(document),
    }
    if document["operating_points"]["findings"]:
        figures["confusion"] = lambda: confusion_figure(document)
    errors = confident_errors(material) if material.dataset is not None else []
    if errors:
        figures["errors"] = lambda: contact_sheet(errors, material)
    return figures


def _draw(folder: Path, figures: "dict[str, Callable[[], Figure]]") -> dict[str, bytes]:
    """Write each figure as PNG; return what the page carries of it."""
    from matplotlib import rc_context

    carried = {}
    for name, draw in figures.items():
        with rc_context(STYLE):
            figure, raster, vector = draw(), io.BytesIO(), io.BytesIO()
            figure.savefig(raster, format="png", metadata={"Software": None})
            with replacing(folder / f"{name}.png") as temporary:
                temporary.write_bytes(raster.getvalue())
            if name not in PHOTOGRAPHS:
                figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
            carried[name] = vector.getvalue() or raster.getvalue()
    return carried
