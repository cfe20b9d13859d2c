"""The report of a comparison: one page that needs no other file and no network."""

import json
from collections.abc import Mapping
from typing import Any

from deepchest_cli.comparison.analysis.summary import shortened
from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE
from deepchest_cli.data.text import count_of
from deepchest_cli.reporting.html import render

Results = Mapping[str, Any]
# the first is tested in the ranking
RANKED = (
    "macro_auroc",
    "macro_average_precision",
    "worst_auroc",
    "rarest_tertile_auroc",
    "macro_loss",
)


def report_page(results: Results, figures: Mapping[str, bytes], environment: str) -> str:
    """Return the page; `figures` are SVG by their names."""
    return render(
        "comparison/output/page.html",
        results=results,
        data=results["data"],
        design=results["design"],
        figures=figures,
        caution=_caution(results["data"]),
        ranked=RANKED,
        entries=_best_first(results["weighters"]),
        shortened=shortened,
        settings=json.dumps(results["design"]["settings"], indent=1),
        environment=environment,
    )


def _best_first(weighters: Results) -> dict[str, Any]:
    """Return the weighters by their macro AUROC, those without one last."""

    def place(item: tuple[str, Any]) -> float:
        quality = item[1]["metrics"]
        return -quality["macro_auroc"]["mean"] if quality else 9.0

    return dict(sorted(weighters.items(), key=place))


def _caution(data: Results) -> str:
    if data["synthetic"]:
        return "Synthetic radiographs: nothing here says anything about patients."
    if data["images"] >= WHOLE_TABLE:
        return f"All {data['images']:,} radiographs of the data set were used."
    return (
        f"{count_of(data['images'], 'radiograph was', 'radiographs were')} used: metrics of a "
        "sample are not the performance on the whole data set."
    )
