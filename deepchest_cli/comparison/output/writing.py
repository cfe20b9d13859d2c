"""What a comparison leaves in its folder: results.json, tables, plots and the report."""

from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.description import RESULTS
from deepchest_cli.comparison.analysis.scores import METRICS
from deepchest_cli.comparison.analysis.summary import summarize
from deepchest_cli.comparison.output.page import report_page
from deepchest_cli.comparison.output.plots import (
    Traces,
    compared,
    cost_figure,
    findings_figure,
    forest_figure,
    weights_figure,
)
from deepchest_cli.comparison.running.comparison import Comparison
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import again
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import replacing, to_csv, write_json, write_text
from deepchest_cli.reporting.plots import Draw, render_figures
from deepchest_cli.schemas import versioned
from deepchest_cli.training.plots import read_columns
from deepchest_cli.training.run_directory import ENVIRONMENT, WEIGHTS

REPORT = "report.html"


def write_comparison(found: Comparison, results: dict[str, Any]) -> dict[str, Any]:
    """Write everything, results.json last; returns the results with their summary."""
    folder = found.folder
    results = {**results, "summary": summarize(results)}
    traces = weight_traces(found)
    for name, text in _tables(results).items():
        write_text(folder / name, text)
    write_text(folder / "weights.csv", _weights_table(traces))
    vectors = _draw(folder, _figures(results, traces))
    environment = (folder / ENVIRONMENT).read_text(encoding="utf-8")
    write_text(folder / REPORT, report_page(results, vectors, environment))
    write_json(folder / RESULTS, versioned(results))
    return results


def _figures(results: dict[str, Any], traces: Traces) -> dict[str, Draw]:
    figures: dict[str, Draw] = {}
    if compared(results):
        figures["differences"] = lambda: forest_figure(results)
        figures["findings"] = lambda: findings_figure(results)
        figures["cost"] = lambda: cost_figure(results)
    if traces:
        figures["weights"] = lambda: weights_figure(traces)
    return figures


def _draw(folder: Path, figures: dict[str, Draw]) -> dict[str, bytes]:
    """Write each figure as PNG and return it as SVG, for the page."""
    vectors = {}
    for name, (png, svg) in render_figures(figures).items():
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
        vectors[name] = svg
    return vectors


def weight_traces(found: Comparison) -> Traces:
    """Return the weights over the epochs (E,) by weighter and finding: the mean of its runs.

    Where runs stopped early, later epochs are the mean of those that went on.
    """
    traces: dict[str, dict[str, Any]] = {}
    for arm in found.arms:
        tables = [_read_weights(job) for job, _ in found.runs_of(arm)]
        tables = [table for table in tables if table]
        if tables:
            traces[arm.label] = {
                name: _mean_over_runs([table[name] for table in tables])
                for name in found.dataset.findings
            }
    return traces


def _read_weights(job: Job) -> dict[str, Any]:
    path = job.folder / WEIGHTS
    try:
        return dict(read_columns(path))
    except (ValueError, KeyError) as error:
        raise DeepChestError(f"{path} is damaged: {error}.", again(job.folder)) from error


def _mean_over_runs(columns: list[Any]) -> Any:
    longest = max(map(len, columns))
    padded = [np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in columns]
    return np.nanmean(np.stack(padded), axis=0)


def _weights_table(traces: Traces) -> str:
    rows = [
        {"weighter": label, "finding": finding, "epoch": epoch + 1, "weight": float(weight)}
        for label, columns in traces.items()
        for finding, values in columns.items()
        for epoch, weight in enumerate(values)
    ]
    return to_csv(["weighter", "finding", "epoch", "weight"], rows)


def _tables(results: dict[str, Any]) -> dict[str, str]:
    entries = results["weighters"].items()
    names = list(results["design"]["quantities"])
    ranking = [
        {"weighter": label, "quantity": name, **_without(entry["quality"][name], "by_seed")}
        for label, entry in entries
        if entry["quality"]
        for name in names
    ]
    differences = [
        {"weighter": label, "quantity": name, **entry["differences"][name]}
        for label, entry in entries
        if entry["differences"]
        for name in names
    ]
    findings = [
        {"weighter": label, "finding": finding, "metric": metric, **_without(row, "by_seed")}
        for label, entry in entries
        for finding, metrics in (entry["findings"] or {}).items()
        for metric, row in metrics.items()
    ]
    by_finding = [
        {"weighter": label, "finding": finding, "metric": metric, **entry_[finding][metric]}
        for label, entry in entries
        for entry_ in [entry["finding_differences"] or {}]
        for finding in entry_
        for metric in METRICS
    ]
    costs = [
        {"weighter": label, **_without(cost, "seconds", "peak_memory_by_round")}
        for label, cost in results["costs"].items()
    ]
    tables = {
        "quality.csv": ranking,
        "differences.csv": differences,
        "findings.csv": findings,
        "finding-differences.csv": by_finding,
        "costs.csv": costs,
    }
    return {name: to_csv(list(rows[0]), rows) for name, rows in tables.items() if rows}


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}
