"""The folder of a report: results, tables, pictures, the page and the model card."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.evaluation.evaluation_input import EvaluationInput
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
from deepchest_cli.evaluation.output.tables import PREDICTIONS, TABLES, tables
from deepchest_cli.files import replacing, sweep, write_json, write_text
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, RESULTS, CARD = "report.html", "results.json", "model-card.md"
NAMES = (REPORT, RESULTS, CARD, PREDICTIONS, *TABLES)
PICTURES = ("roc", "precision-recall", "reliability", "subgroups", "confusion", "errors")
PHOTOGRAPHS = ("errors",)  # would be larger as SVG
# the same figure is the same file; a finding's name is no formula
STYLE: dict[Any, Any] = {"svg.hashsalt": "deepchest", "text.parse_math": False}


def write_report(folder: Path, document: dict[str, Any], material: EvaluationInput) -> None:
    """Write everything into a folder, the page last; every file is whole or not there."""
    pictures = _draw(_figures(document, material))  # before an earlier report is touched
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    for name in (*NAMES, *(f"{picture}.png" for picture in PICTURES)):
        (folder / name).unlink(missing_ok=True)  # what an earlier report had and this one has not
    for name, text in tables(document, material.scored).items():
        write_text(folder / name, text)
    write_json(folder / RESULTS, versioned(document))
    origins = [{**m.origin, "training_images": _trained_on(m)} for m in material.models]
    write_text(folder / CARD, model_card(document, origins))
    for name, (raster, _) in pictures.items():
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(raster)
    carried = {name: vector or raster for name, (raster, vector) in pictures.items()}
    write_text(folder / REPORT, report_page(document, carried))


def _trained_on(model: LoadedModel) -> int | None:
    """Return how many training images, of different pixels, a checkpoint keeps hashes of."""
    return None if model.training_images is None else len(model.training_images["training"])


def _figures(
    document: dict[str, Any], material: EvaluationInput
) -> "dict[str, Callable[[], Figure]]":
    table = material.scored.predictions
    figures: dict[str, Callable[[], Figure]] = {
        "roc": lambda: roc_figure(document, table),
        "precision-recall": lambda: precision_recall_figure(document, table),
        "reliability": lambda: reliability_figure(document),
    }
    if any(not group["suppressed"] for group in document["subgroups"]["groups"]):
        figures["subgroups"] = lambda: subgroups_figure(document)
    if document["operating_points"]["findings"]:
        figures["confusion"] = lambda: confusion_figure(document)
    errors = confident_errors(material) if material.dataset is not None else []
    if errors:
        figures["errors"] = lambda: contact_sheet(errors, material)
    return figures


def _draw(figures: "dict[str, Callable[[], Figure]]") -> dict[str, tuple[bytes, bytes]]:
    """Return each figure as PNG and as SVG; the latter is empty for photographs."""
    from matplotlib import rc_context

    drawn = {}
    for name, draw in figures.items():
        with rc_context(STYLE):
            figure, raster, vector = draw(), io.BytesIO(), io.BytesIO()
            figure.savefig(raster, format="png", metadata={"Software": None})
            figure.set_layout_engine("none")  # it is laid out by now
            if name not in PHOTOGRAPHS:
                figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
            drawn[name] = raster.getvalue(), vector.getvalue()
    return drawn
