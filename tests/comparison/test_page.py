"""The report of a comparison and its plots, of results made by hand."""

import math
import re
from html import unescape

import numpy as np
import pytest

from deepchest_cli.comparison.analysis.metrics import summary_metrics
from deepchest_cli.comparison.output.plots import (
    compared,
    cost_figure,
    findings_figure,
    forest_figure,
    weights_figure,
)
from deepchest_cli.comparison.output.writing import report_page
from deepchest_cli.reporting.plots import render_figures

HOSTILE = '<script>alert("1")</script>&'
FINDINGS = ("Mass", HOSTILE)
NAMES = {one.name: one.title for one in summary_metrics(np.array([0]))}


def quality(mean, sd=0.0125):
    return {"mean": mean, "sd": sd, "low": mean - 0.1, "high": mean + 0.1, "by_seed": [mean] * 3}


def difference(estimate, half=0.0625, verdict="inconclusive", p=0.5):
    low, high = (None, None) if half is None else (estimate - half, estimate + half)
    return {"estimate": estimate, "low": low, "high": high, "p_holm": p, "verdict": verdict}


def run(seed, status="finished", error=None):
    return {
        "seed": seed, "fold": None, "status": status, "error": error, "earlier_errors": [],
        "epochs": 9, "best_epoch": 4,
        "validation_score": math.nan if error else 0.75,
    }  # fmt: skip


def entry(mean=0.75, found=None, single=None):
    """Return a weighter's results; `found` is its difference, None for the baseline."""
    return {
        "status": "finished", "mean_rank": 1.5, "delta_m": single,
        "metrics": dict.fromkeys(NAMES, quality(mean)),
        "finding_metrics": {name: {"auroc": quality(mean)} for name in FINDINGS},
        "differences": found and dict.fromkeys(NAMES, found),
        "finding_differences": found and {name: {"auroc": found} for name in FINDINGS},
        "runs": [run(seed) for seed in range(3)], "data_sets": {},
    }  # fmt: skip


def data_set(name, images=20):
    return {
        "name": name, "folder": HOSTILE, "sha256": "c" * 64, "split_scheme": "random",
        "test_images": images, "test_patients": 9,
    }  # fmt: skip


def of_two_data_sets(results):
    """Return the results with two data sets, the second one's name hostile."""
    results["data"]["data_sets"] = [data_set("one", 12), data_set(HOSTILE, 8)]
    for place, one in enumerate(results["weighters"].values()):
        if one["metrics"]:
            found = place and dict.fromkeys(NAMES, difference(0.125 * place, verdict="better"))
            results_of_one = {"metrics": one["metrics"], "differences": found or None}
            one["data_sets"] = dict.fromkeys(("one", HOSTILE), results_of_one)
    return results


DIVERGED = {
    "status": "diverged", "metrics": None, "finding_metrics": None, "differences": None,
    "finding_differences": None, "mean_rank": math.nan, "delta_m": None, "data_sets": {},
    "runs": [run(0, "diverged", f"the loss is NaN {HOSTILE}")],
}  # fmt: skip


def claim_row(subject, tested=True):
    verdict, reason = ("does not hold", None) if tested else ("not measured", HOSTILE)
    low, high = (0.5, 1.5) if tested else (None, None)
    return {
        "subject": subject, "estimate": 1.0, "low": low, "high": high, "largest": None,
        "p_holds": 0.9, "p_fails": 0.001, "verdict": verdict, "reason": reason,
    }  # fmt: skip


def cost(ratio):
    return {
        "ratio": ratio, "ratio_low": ratio - 0.25, "ratio_high": ratio + 0.25,
        "synchronized_ratio": ratio + 1, "synchronized_ratio_low": ratio,
        "synchronized_ratio_high": ratio + 2,
        "images_per_second": 1234.5, "peak_memory": None if ratio > 1 else 1_500_000_000,
        "state_bytes": 1120, "passes": "1 forward, 1 backward",
    }  # fmt: skip


@pytest.fixture
def results():
    weighters = {
        "equal": entry(),
        "worst": entry(0.5, difference(-0.25, verdict="worse", p=1e-6)),
        "diverging": DIVERGED,
        "best": entry(0.875, difference(0.125, verdict="better", p=0.01), {"mean": 12.5}),
        "untested": entry(0.625, difference(-0.125, half=None, p=None)),
    }
    return {
        "deepchest": "0.2.0", "summary": [HOSTILE], "weighters": weighters,
        "single_task_unfinished": [],
        "claims": [{
            "name": "speed", "quote": "fast", "claim": "It is fast.", "result": HOSTILE,
            "verdict": "does not hold", "readings": [{
                "reading": "3 times as fast", "holds_above": 3.0, "fails_below": 3.0,
                "verdict": "does not hold", "rows": [claim_row(HOSTILE), claim_row("mgda", False)],
            }],
        }],
        "costs": {"equal": cost(1.0), "best": cost(2.0)},
        "shared_starts": [{
            "seed": 0, "fold": None, "runs": 5,
            "initial_weights_sha256": "a" * 64, "batches_sha256": ["b" * 64],
        }],
        "data": {
            "sha256": "c" * 64, "synthetic": False, "images": 90,
            "training_images": 60, "validation_images": 10, "test_images": 20, "test_patients": 9,
            "data_sets": [data_set("one")],
            "findings": {name: {"positives": 7} for name in FINDINGS},
        },
        "design": {
            "baseline": "equal", "margin": 0.005,
            "weighters": list(weighters), "seeds": [0, 1, 2], "folds": None,
            "interim_analyses": [{"missing_runs": 0}], "metrics": NAMES,
            "rarest_tertile": ["Mass"], "tuning": [],
            "learning_rates": {"equal": 0.00025}, "settings": {"backbone": HOSTILE},
        },
    }  # fmt: skip


def rows_below(page, heading):
    table = page.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    rows = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:]]
    return [[unescape(cell) for cell in row] for row in rows]


def test_no_name_path_or_error_breaks_the_page(results):
    page = report_page(results, {}, f'{{"host": "{HOSTILE}"}}')
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(") == 9
    assert "http" not in page


def test_the_ranking_begins_with_the_best_and_ends_with_those_without_results(results):
    columns, *rows = rows_below(report_page(results, {}, ""), "Ranking")
    assert [row[0] for row in rows] == ["best", "equal", "untested", "worst", "diverging"]
    assert {len(row) for row in rows} == {len(columns)}
    assert rows[0][1:6] == [
        "0.875 ± 0.013", "+0.1250", "+0.0625 to +0.1875", "0.010", "better"
    ]  # fmt: skip
    assert rows[0][-1] == "+12.50"
    assert rows[1][2:6] == ["–", "–", "–", ""]
    assert rows[2][2:6] == ["-0.1250", "–", "–", "inconclusive"]
    assert rows[3][4] == "< 0.001"
    assert rows[4][1:] == ["diverged"] + ["–"] * (len(columns) - 2)


def test_claims_costs_runs_and_design_are_shown(results):
    page = report_page(results, {}, "")
    assert rows_below(page, "Claims of the DeepChest paper")[1] == [
        "“fast”", HOSTILE, "does not hold"
    ]  # fmt: skip
    details = page.split("The claims row by row")[1].split("</details>")[0]
    assert "<td>1.0000</td><td>0.5000 to 1.5000</td><td>&gt; 3</td><td>–</td>" in details
    assert "not measured" in details
    assert 'class="does-not-hold"' in page
    costs = rows_below(page, "Computational cost")
    times = ["1.000 (0.750 to 1.250)", "2.000 (1.000 to 3.000)"]
    assert costs[1][1:6] == [*times, "1234", "1.50 GB", "1,120 B"]
    assert costs[2][4] == "–"
    runs = rows_below(page, "Runs")
    assert runs[1] == ["equal", "0", "–", "finished", "4 of 9", "0.7500", ""]
    failed = next(row for row in runs if row[0] == "diverging")
    assert failed[3:] == ["diverged", "4 of 9", "–", f"the loss is NaN {HOSTILE}"]
    assert rows_below(page, "Controlled conditions")[1][3:] == ["a" * 12, "b" * 12]
    assert "equal 0.00025</dd>" in " ".join(page.split())
    assert "20 radiographs of 9 patients, predicted once by each run, after all training" in page


def test_folds_tuning_and_unfinished_single_task_models_are_said(results):
    results["design"] |= {"folds": 5, "tuning": [{}], "interim_analyses": [{"missing_runs": 0}] * 2}
    results["single_task_unfinished"] = [{"run": "single-Mass", "status": "failed"}]
    page = " ".join(report_page(results, {}, "").split())
    assert "5 folds by patient" in page
    assert page.count("<dd>by fold</dd>") == 2
    assert "a positive and a negative image of the same fold" in page
    assert "(chosen on validation)" in page
    assert "did not finish: single-Mass (failed)." in page
    assert "after all training" not in page


def test_each_of_several_data_sets_has_its_verdicts(results):
    page = report_page(of_two_data_sets(results), {}, "")
    columns, *rows = rows_below(page, "Results by data set")
    assert [row[:2] for row in rows] == [
        [name, label]
        for name in ("one", HOSTILE)
        for label in ("best", "equal", "untested", "worst")
    ]
    assert {len(row) for row in rows} == {len(columns)}
    assert rows[0][2:] == [
        "0.875 ± 0.013", "+0.3750", "+0.3125 to +0.4375", "0.500", "better"
    ]  # fmt: skip
    assert rows[1][3:] == ["–", "–", "–", ""]
    text = " ".join(page.split())
    assert "every metric is the mean over 2 data sets" in text
    assert "(12 test radiographs)" in text and "(8 test radiographs)" in text
    assert "<script" not in page


def test_the_differences_on_several_data_sets_stand_below_their_mean(results):
    axes = forest_figure(of_two_data_sets(results)).axes[0]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels[:3] == ["best", "on one", f"on {HOSTILE}"]
    assert len(labels) == 9


def test_without_differences_costs_and_weights_every_section_stands(results):
    results |= {
        "weighters": {"diverging": DIVERGED},
        "costs": {},
        "claims": [],
        "shared_starts": [],
    }
    page = report_page(results, {}, "")
    assert len(re.findall("<h2>", page)) == 9
    assert "No weighter of this comparison has task weights." in page
    assert compared(results) == {}


def test_all_plots_are_drawn_and_carried_by_the_page(results):
    traces = {"best": {name: np.array([1.0, 9.0, np.nan]) for name in FINDINGS}}
    figures = {
        "differences": lambda: forest_figure(results),
        "findings": lambda: findings_figure(results),
        "cost": lambda: cost_figure(results),
        "weights": lambda: weights_figure(traces),
    }
    vectors = {name: svg for name, (_, svg) in render_figures(figures).items()}
    page = report_page(results, vectors, "")
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 4


def test_a_star_marks_what_is_significant_and_undefined_cells_are_dashes(results):
    undefined = difference(math.nan, half=None, p=None)
    results["weighters"]["best"]["finding_differences"]["Mass"] = {"auroc": undefined}
    texts = [text.get_text() for text in findings_figure(results).axes[0].texts]
    assert list(compared(results)) == ["best", "untested", "worst"]
    assert texts == ["–", "-0.125", "-0.250*", "+0.125*", "-0.125", "-0.250*"]


def test_weights_far_apart_are_drawn_on_a_logarithmic_scale():
    traces = {name: {"Mass": np.array([1.0, most])} for name, most in (("near", 4.0), ("far", 6.0))}
    shown = [axes for axes in weights_figure(traces).axes if axes.get_visible()]
    assert [axes.get_yscale() for axes in shown] == ["linear", "log"]
