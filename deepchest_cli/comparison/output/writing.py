"""What a comparison leaves in its folder: results, tables, plots, the report, or an interim one."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.description import INTERIM
from deepchest_cli.comparison.analysis.power_analysis import evidence_needed
from deepchest_cli.comparison.analysis.summary import shortened, shown_verdict, summarize
from deepchest_cli.comparison.output.descriptions import descriptions
from deepchest_cli.comparison.output.plots import (
    Results,
    Traces,
    compared,
    cost_figure,
    findings_figure,
    forest_figure,
    weights_figure,
)
from deepchest_cli.comparison.running.comparison import TrainedComparison
from deepchest_cli.comparison.running.jobs import RESULTS, Job
from deepchest_cli.comparison.running.records import retrain_hint
from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.statistics import POWER
from deepchest_cli.files import atomic_write, to_csv, write_json, write_text
from deepchest_cli.reporting.html import render
from deepchest_cli.reporting.plots import Draw, render_figures
from deepchest_cli.schemas import versioned
from deepchest_cli.training.plots import read_columns
from deepchest_cli.training.run_files import ENVIRONMENT, WEIGHTS

REPORT, INTERIM_REPORT = "report.html", "interim.html"
TABLES = (
    "metrics", "differences", "data-set-metrics", "data-set-differences", "finding-metrics",
    "finding-differences", "claims", "costs",
)  # fmt: skip
FIGURES = ("differences", "findings", "cost", "weights")
# the first is tested in the ranking
RANKED = (
    "macro_auroc",
    "macro_average_precision",
    "worst_auroc",
    "rarest_tertile_auroc",
    "macro_loss",
)


def write_comparison(comparison: TrainedComparison, results: dict[str, Any]) -> dict[str, Any]:
    """Write all files, results.json last, and remove an interim report.

    Returns the results with their summary.
    """
    folder = comparison.folder
    results = {**results, "summary": summarize(results)}
    traces = _weight_traces(comparison)
    for name, rows in tables(results).items():
        write_text(folder / name, to_csv(list(rows[0]), rows))
    write_text(folder / "weights.csv", _weights_table(traces))
    vectors = _draw(folder, comparison_figures(results, traces))
    environment = (folder / ENVIRONMENT).read_text(encoding="utf-8")
    write_text(folder / REPORT, report_page(results, vectors, environment, traces))
    write_json(folder / RESULTS, versioned(results))
    for name in (INTERIM_REPORT, INTERIM):  # results.json has its interim analyses
        (folder / name).unlink(missing_ok=True)
    return results


def write_interim(comparison: TrainedComparison, document: dict[str, Any]) -> None:
    """Write an interim report; interim.json first, which records that metrics were seen."""
    folder = comparison.folder
    write_json(folder / INTERIM, versioned(document))
    environment = (folder / ENVIRONMENT).read_text(encoding="utf-8")
    content = _shared_content(document, environment)
    write_text(folder / INTERIM_REPORT, render("comparison/output/interim.html", **content))


def comparison_figures(results: Results, traces: Traces) -> dict[str, Draw]:
    """Return what draws each figure of a comparison, by name; those of `FIGURES` that there are."""
    figures: dict[str, Draw] = {}
    if compared(results):
        figures["differences"] = lambda: forest_figure(results)
        figures["findings"] = lambda: findings_figure(results)
    if compared(results) and results["costs"]:
        figures["cost"] = lambda: cost_figure(results)
    if traces:
        figures["weights"] = lambda: weights_figure(traces)
    return figures


def _draw(folder: Path, figures: dict[str, Draw]) -> dict[str, bytes]:
    """Write each figure as PNG and return it as SVG, for the page."""
    vectors = {}
    for name, (png, svg) in render_figures(figures).items():
        with atomic_write(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
        vectors[name] = svg
    return vectors


def _weight_traces(comparison: TrainedComparison) -> Traces:
    """Return the task weights over the epochs (E,) by weighter and task, mean over its runs.

    Where runs stopped early, later epochs are the mean of those that went on.
    """
    traces: dict[str, dict[str, Any]] = {}
    for arm in comparison.arms:
        tables = [_read_weights(job) for job, _ in comparison.runs_of(arm)]
        tables = [table for table in tables if table]
        if tables:
            traces[arm.label] = {
                name: _mean_over_runs([table[name] for table in tables])
                for name in tables[0]
                if name != "epoch"
            }
    return traces


def read_traces(folder: Path) -> Traces:
    """Return the task weights that a comparison has written, as they were drawn."""
    traces: dict[str, dict[str, list[float]]] = {}
    path = folder / "weights.csv"
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                weights = traces.setdefault(row["weighter"], {}).setdefault(row["task"], [])
                weights.append(float(row["weight"] or "nan"))
    return {
        label: {task: np.array(weights) for task, weights in tasks.items()}
        for label, tasks in traces.items()
    }


def _read_weights(job: Job) -> dict[str, Any]:
    path = job.folder / WEIGHTS
    try:
        return dict(read_columns(path))
    except (ValueError, KeyError) as error:
        raise DeepChestError(f"{path} is damaged: {error}.", retrain_hint(job.folder)) from error


def _mean_over_runs(columns: list[Any]) -> Any:
    longest = max(map(len, columns))
    padded = [np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in columns]
    return np.nanmean(np.stack(padded), axis=0)


def _weights_table(traces: Traces) -> str:
    rows = [
        {"weighter": label, "task": task, "epoch": epoch + 1, "weight": float(weight)}
        for label, columns in traces.items()
        for task, values in columns.items()
        for epoch, weight in enumerate(values)
    ]
    return to_csv(["weighter", "task", "epoch", "weight"], rows)


def tables(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table by the name of its file; those without a row are left out."""
    entries = results["weighters"].items()
    found = {
        "metrics.csv": [
            {"weighter": label, "metric": metric, **_without(row, "by_seed")}
            for label, entry in entries
            for metric, row in (entry["metrics"] or {}).items()
        ],
        "differences.csv": [
            {"weighter": label, "metric": metric, **_without(row, "without_outlying_seeds")}
            for label, entry in entries
            for metric, row in (entry["differences"] or {}).items()
        ],
        "data-set-metrics.csv": _data_set_rows(results, "metrics"),
        "data-set-differences.csv": _data_set_rows(results, "differences"),
        "finding-metrics.csv": _finding_rows(results, "finding_metrics"),
        "finding-differences.csv": _finding_rows(results, "finding_differences"),
        "claims.csv": [
            {"claim": claim["name"], **_without(reading, "verdict", "rows"), **row}
            for claim in results["claims"]
            for reading in claim["readings"]
            for row in reading["rows"]
        ],
        "costs.csv": [
            {
                "weighter": label,
                **{key: value for key, value in cost.items() if not key.endswith("_by_round")},
            }
            for label, cost in results["costs"].items()
        ],
    }
    return {name: rows for name, rows in found.items() if rows}


def _finding_rows(results: Results, key: str) -> list[dict[str, Any]]:
    return [
        {"weighter": label, "finding": finding, "metric": metric, **_without(row, "by_seed")}
        for label, entry in results["weighters"].items()
        for finding, metrics in (entry[key] or {}).items()
        for metric, row in metrics.items()
    ]


def _data_set_rows(results: Results, key: str) -> list[dict[str, Any]]:
    leaves_out = ("by_seed", "without_outlying_seeds")
    return [
        {"weighter": label, "data_set": name, "metric": metric, **_without(row, *leaves_out)}
        for label, entry in results["weighters"].items()
        for name, one in entry["data_sets"].items()
        for metric, row in (one[key] or {}).items()
    ]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}


def report_page(
    results: Results, figures: Mapping[str, bytes], environment: str, traces: Traces
) -> str:
    """Return the page; `figures` are SVG by their names, `traces` the weights that one shows."""
    return render(
        "comparison/output/page.html",
        figures=figures,
        alt=descriptions(results, traces),
        evidence_needed=evidence_needed,
        shown_verdict=shown_verdict,
        power=f"{100 * POWER:.0f} %",
        entries=_best_first(results["weighters"]),
        **_shared_content(results, environment),
    )


def _shared_content(results: Results, environment: str) -> dict[str, Any]:
    """Return what the report and the interim report show alike."""
    return {
        "results": results,
        "data": results["data"],
        "design": results["design"],
        "caution": _caution(results["data"]),
        "ranked": RANKED,
        "shortened": shortened,
        "listed": few(map(shortened, results["design"]["weighters"])),
        "settings": json.dumps(results["design"]["settings"], indent=1),
        "environment": environment,
    }


def _best_first(weighters: Results) -> dict[str, Any]:
    """Return the weighters by their macro AUROC, those without one last."""

    def place(item: tuple[str, Any]) -> float:
        quality = item[1]["metrics"]
        return -quality["macro_auroc"]["mean"] if quality else 9.0

    return dict(sorted(weighters.items(), key=place))


def _caution(data: Results) -> str:
    if data["synthetic"]:
        return "Synthetic radiographs: nothing here says anything about patients."
    if data["images"] >= WHOLE_TABLE:  # at least as many as NIH has
        return f"{data['images']:,} radiographs were used."
    return (
        f"{count_of(data['images'], 'radiograph was', 'radiographs were')} used: metrics of a "
        "sample are not the performance on the whole data set."
    )
