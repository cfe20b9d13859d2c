"""The report of a comparison: one page that carries everything and opens without a network."""

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from deepchest_cli.comparison.analysis.method import FOLDS_TEXT, METHOD_TEXT
from deepchest_cli.comparison.analysis.summary import shortened
from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE
from deepchest_cli.data.text import count_of, p_value
from deepchest_cli.reporting.markup import (
    definitions,
    page_style,
    paragraph,
    picture,
    table,
)

Results = Mapping[str, Any]
HASH = 12  # signs of a hash that are shown
RANKED = (
    "macro_auroc",
    "macro_average_precision",
    "worst_auroc",
    "rarest_tertile_auroc",
    "macro_loss",
)


def report_page(results: Results, pictures: Mapping[str, bytes], environment: str) -> str:
    """Return the page; `pictures` are SVG by their names."""
    template = files("deepchest_cli").joinpath("comparison", "output", "page.html")
    data, design = results["data"], results["design"]
    return Template(template.read_text("utf-8")).substitute(
        style=page_style(),
        title="Comparison of task weighters",
        subtitle=f"deepchest {results['deepchest']}; "
        f"{count_of(len(design['weighters']), 'weighter')}, "
        f"{count_of(len(design['seeds']), 'seed')}, "
        f"{count_of(data['test_images'], 'test radiograph')}",
        result="".join(paragraph(sentence, "result") for sentence in results["summary"]),
        caution=paragraph(_caution(data), "caution"),
        ranking=_ranking(results),
        differences=picture(pictures.get("differences"), "Differences to equal weighting"),
        claims=_claims(results),
        findings=_findings(results, pictures),
        costs=picture(pictures.get("cost"), "Quality against the time of a step") + _costs(results),
        weights=picture(pictures.get("weights"), "Task weights by epoch, mean of the seeds"),
        design=_design(results),
        method=METHOD_TEXT + (FOLDS_TEXT if design["folds"] else ""),
        fairness=_fairness(results),
        runs=_runs(results),
        settings=_escaped(json.dumps(design["settings"], indent=1)),
        environment=_escaped(environment),
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _caution(data: Results) -> str:
    if data["synthetic"]:
        return "Synthetic radiographs: nothing here says anything about patients."
    if data["images"] >= WHOLE_TABLE:
        return f"All {data['images']:,} radiographs of the data set took part."
    return (
        f"{data['images']:,} radiographs took part. Figures of a sample are no performance on the "
        "whole data set."
    )


def shown(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Return a figure for people; an undefined one is a dash."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}" if sign else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0


def _mean_and_deviation(row: Results) -> str:
    return f"{shown(row['mean'])} ± {shown(row['sd'])}"


def _interval(row: Results, digits: int = 4) -> str:
    if row["low"] is None:
        return "–"
    return f"{shown(row['low'], digits, sign=True)} to {shown(row['high'], digits, sign=True)}"


def _ranking(results: Results) -> str:
    titles = results["design"]["metrics"]
    entries = results["weighters"].items()
    ordered = sorted(
        entries, key=lambda e: -e[1]["metrics"]["macro_auroc"]["mean"] if e[1]["metrics"] else 9
    )
    rows = [_ranking_row(label, entry) for label, entry in ordered]
    foremost, *others = (titles[name] for name in RANKED)
    columns = [
        "Weighter", foremost, "To equal", "95 % interval", "p (Holm)", "Verdict", *others,
        "Mean rank", "Δm in %",
    ]  # fmt: skip
    return table(columns, rows) + paragraph(
        "Mean ± deviation over seeds. Mean rank over the findings' AUROC, 1 is the best. Δm: mean "
        "change of the findings' AUROC against models of one finding each, positive is better; "
        + _single(results),
        "soft",
    )


def _single(results: Results) -> str:
    lost = results["single_task_unfinished"]
    if not lost:
        return "– where none were trained."
    runs = ", ".join(f"{one['run']} ({one['status']})" for one in lost)
    return f"– as of these models some did not finish: {runs}."


def _ranking_row(label: str, entry: Results) -> list[str]:
    if entry["metrics"] is None:
        return [shortened(label), entry["status"], *["–"] * (len(RANKED) + 5)]
    foremost, *others = (_mean_and_deviation(entry["metrics"][name]) for name in RANKED)
    change = (entry["delta_m"] or {}).get("mean")
    rest = [*others, shown(entry["mean_rank"], 1), shown(change, 2, sign=True)]
    if entry["differences"] is None:
        return [shortened(label), foremost, "–", "–", "–", "", *rest]
    found = entry["differences"]["macro_auroc"]
    estimate = shown(found["estimate"], 4, sign=True)
    tested = [estimate, _interval(found), p_value(found["p_holm"]), found["verdict"]]
    return [shortened(label), foremost, *tested, *rest]


def _claims(results: Results) -> str:
    rows = [
        [claim["claim"], claim["result"], _claim_interval(claim), claim["verdict"]]
        for claim in results["claims"]
    ]
    return table(["Claim", "Found", "95 % interval", "Verdict"], rows, texts=("Claim", "Found"))


def _claim_interval(claim: Results) -> str:
    if claim["low"] is None:
        return "–"
    return f"{shown(claim['low'], 4)} to {shown(claim['high'], 4)}"


def _findings(results: Results, pictures: Mapping[str, bytes]) -> str:
    found = {name: e for name, e in results["weighters"].items() if e["finding_metrics"]}
    rows = [
        [
            finding,
            str(counts["positives"]),
            *(
                _mean_and_deviation(entry["finding_metrics"][finding]["auroc"])
                for entry in found.values()
            ),
        ]
        for finding, counts in results["data"]["findings"].items()
    ]
    caption = "Differences in AUROC, positives in brackets; a star: told from none (Holm)"
    heading = paragraph("AUROC, mean ± deviation over seeds.", "soft")
    columns = ["Finding", "Positives", *map(shortened, found)]
    return picture(pictures.get("findings"), caption) + heading + table(columns, rows)


def _costs(results: Results) -> str:
    rows = [
        [
            shortened(label),
            f"{shown(cost['ratio'])} ({shown(cost['ratio_low'])} to {shown(cost['ratio_high'])})",
            shown(cost["images_per_second"], 0),
            "–" if cost["peak_memory"] is None else f"{cost['peak_memory'] / 1e9:.2f} GB",
            f"{cost['state_bytes']:,} B",
            cost["passes"],
        ]
        for label, cost in results["costs"].items()
    ]
    columns = ["Weighter", "Step, to equal", "Images/s", "Peak memory", "State", "Passes"]
    return table(columns, rows, texts=("Passes",)) + paragraph(
        "Steps of all weighters in turn, on one model and one batch, apart from the training.",
        "soft",
    )


def _design(results: Results) -> str:
    data, design = results["data"], results["design"]
    folds, added = design["folds"], len(design["interim_analyses"]) > 1
    entries = [
        ("Data", f"{data['folder']}, SHA-256 of the manifest {data['sha256'][:HASH]}…"),
        ("Split", f"{folds} folds by patient" if folds else f"{data['split_scheme']}, by patient"),
        ("Training", count_of(data["training_images"], "radiograph") if not folds else "by fold"),
        (
            "Validation",
            count_of(data["validation_images"], "radiograph") if not folds else "by fold",
        ),
        (
            "Test",
            f"{count_of(data['test_images'], 'radiograph')} of "
            f"{count_of(data['test_patients'], 'patient')}, "
            "predicted once by each run" + ("" if added else ", after all training"),
        ),
        ("Weighters", ", ".join(design["weighters"])),
        ("Seeds", ", ".join(map(str, design["seeds"]))),
        ("Rare third", ", ".join(design["rarest_tertile"])),
        (
            "Learning rates",
            ", ".join(f"{label} {rate:.3g}" for label, rate in design["learning_rates"].items())
            + (" (chosen on validation)" if design["tuning"] else ""),
        ),
        ("Epoch", "the one with the best validation AUROC of each run"),
    ]
    return definitions(entries)


def _fairness(results: Results) -> str:
    rows = [
        [
            str(start["seed"]),
            "–" if start["fold"] is None else str(start["fold"]),
            str(start["runs"]),
            start["initial_weights"][:HASH],
            start["batches"][-1][:HASH] if start["batches"] else "–",
        ]
        for start in results["shared_starts"]
    ]
    heading = paragraph(
        "All runs of a seed began with these weights and saw these batches in this order "
        "(SHA-256); augmentation follows from seed and step. Other runs would have been refused.",
        "soft",
    )
    return heading + table(["Seed", "Fold", "Runs", "Initial weights", "Batches"], rows)


def _runs(results: Results) -> str:
    rows = [
        [
            shortened(label),
            str(run["seed"]),
            "–" if run["fold"] is None else str(run["fold"]),
            run["status"],
            f"{run['best_epoch']} of {run['epochs']}",
            shown(run["validation_score"], 4),
            run["error"] or "",
        ]
        for label, entry in results["weighters"].items()
        for run in entry["runs"]
    ]
    columns = ["Weighter", "Seed", "Fold", "Status", "Best epoch", "Validation", "Error"]
    return table(columns, rows, texts=("Error",))
