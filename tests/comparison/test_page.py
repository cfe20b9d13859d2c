"""The report of a comparison and its plots, of results made by hand."""

import math
import re
from html import unescape

import numpy as np
import pytest
from comparison_results import (
    DIVERGED,
    FEW,
    FINDINGS,
    HOSTILE,
    comparison_results,
    difference,
    entry,
    of_two_data_sets,
)
from page_structure import checked

from deepchest_cli.comparison.output.plots import (
    compared,
    cost_figure,
    findings_figure,
    forest_figure,
    weights_figure,
)
from deepchest_cli.comparison.output.writing import report_page
from deepchest_cli.reporting.plots import render_figures


@pytest.fixture
def results():
    return comparison_results()


def test_no_name_path_or_error_breaks_the_page(results):
    page = report_page(results, {}, f'{{"host": "{HOSTILE}"}}', {})
    assert "<script" not in page
    assert page.replace("<wbr>", "").count("&lt;script&gt;alert(") >= 9
    assert "http" not in page
    checked(page)


def test_the_page_begins_with_what_was_compared_and_the_verdict_on_each_weighter(results):
    page = report_page(results, {}, "", {})
    start = unescape(page.split("</header>")[0].split("<h1>")[1])
    design = "5 weighters (equal, worst, diverging, best, untested) with 3 seeds on"
    assert f"{design} {HOSTILE}, tested on 20 radiographs of 9 patients of one;" in start
    columns, *rows = checked(page).rows("")
    assert columns == [
        "Weighter", "Verdict", "Difference to equal", "Simultaneous 95 % CI", "Macro AUROC",
        "To detect the margin",
    ]  # fmt: skip
    nothing = ["–", "–"]
    assert rows == [
        ["best", "better", "+0.1250", "+0.0625 to +0.1875", "0.875 ± 0.013", "–"],
        ["equal", "baseline", *nothing, "0.750 ± 0.013", "–"],
        ["untested", "not tested", "-0.1250", "–", "0.625 ± 0.013", f"not tested: {FEW}"],
        ["worst", "worse", "-0.2500", "-0.3125 to -0.1875", "0.500 ± 0.013", "–"],
        ["diverging", "diverged", *nothing, "–", "–"],
    ]


def test_the_ranking_begins_with_the_best_and_ends_with_those_without_results(results):
    _, *rows = checked(report_page(results, {}, "", {})).rows("Ranking")
    assert [row[0] for row in rows] == ["best", "equal", "untested", "worst", "diverging"]
    assert [row[1] for row in rows] == ["0.010", "–", "–", "< 0.001", "–"]
    assert rows[0][-1] == "+12.50"
    assert set(rows[4][1:]) == {"–"}


def test_claims_costs_runs_and_design_are_shown(results):
    text = report_page(results, {}, "", {})
    page = checked(text)
    claims, details = page["Claims of the DeepChest paper"]
    assert claims.rows[0] == ["“fast”", "does not hold", HOSTILE]
    assert details.rows[0][2:7] == ["1.0000", "0.5000 to 1.5000", "> 3", "–", "does not hold"]
    assert details.rows[1][-2:] == ["not measured", HOSTILE]
    assert 'class="does-not-hold"' in text
    costs = page.rows("Computational cost")
    times = ["1.000 (0.750 to 1.250)", "2.000 (1.000 to 3.000)"]
    assert costs[1][1:6] == [*times, "1234", "1.50 GB", "1,120 B"]
    assert costs[2][4] == "–"
    runs = page.rows("Runs")
    assert runs[1] == ["equal", "0", "–", "finished", "4 of 9", "0.7500", ""]
    failed = next(row for row in runs if row[0] == "diverging")
    assert failed[3:] == ["diverged", "4 of 9", "–", f"the loss is NaN {HOSTILE}"]
    assert page.rows("Controlled conditions")[1][3:] == ["a" * 12, "b" * 12]
    assert "equal 0.00025</dd>" in " ".join(text.split())
    assert "20 radiographs of 9 patients, predicted once by each run, after all training" in text


@pytest.mark.parametrize(
    ("keep", "said"), [("best", "best validation AUROC"), ("last", "the last of each run")]
)
def test_the_page_says_which_epoch_is_kept(results, keep, said):
    results["design"]["settings"]["keep"] = keep
    text = report_page(results, {}, "", {})
    assert re.search(rf"Kept epoch</dt>\s*<dd>[^<]*{said}", text)


@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_a_table_of_many_weighters_is_several_that_fit_on_paper(results, count):
    results["weighters"] = {f"weighter-{i}": entry(0.5 + i / 100) for i in range(count)}
    tables = checked(report_page(results, {}, "", {}))["Results by finding"]
    shown = [column for table in tables for column in table.columns[1:]]
    assert shown == ["Positives", *results["weighters"]]
    assert all(table.columns[0] == "Finding" and len(table.columns) <= 10 for table in tables)
    assert [[row[0] for row in table.rows] for table in tables] == [list(FINDINGS)] * len(tables)
    assert len(tables) == -(-(count + 1) // 9)


def test_folds_tuning_and_unfinished_single_task_models_are_said(results):
    results["design"] |= {"folds": 5, "tuning": [{}], "interim_analyses": [{"missing_runs": 0}] * 2}
    results["single_task_unfinished"] = [{"run": "single-Mass", "status": "failed"}]
    page = " ".join(report_page(results, {}, "", {}).split())
    assert "5 folds by patient" in page
    assert page.count("<dd>by fold</dd>") == 2
    assert "a positive and a negative image of the same fold" in page
    assert "(chosen on validation)" in page
    assert "did not finish: single-Mass (failed)." in page
    assert "after all training" not in page


def test_each_of_several_data_sets_has_its_verdicts(results):
    page = report_page(of_two_data_sets(results), {}, "", {})
    columns, *rows = checked(page).rows("Results by data set")
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


def test_the_plot_of_differences_tells_untested_from_inconclusive(results):
    figure = forest_figure(results)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "not tested" in said
    assert "inconclusive" not in said
    assert said[-2:] == ["single seeds", "margin of 0.005"]


def test_a_single_difference_has_room_for_its_marker(results):
    results["weighters"].pop("worst")
    results["weighters"].pop("untested")
    assert forest_figure(results).axes[0].get_ylim() == (0.5, -0.5)


def test_without_differences_costs_and_weights_every_section_stands(results):
    results |= {
        "weighters": {"diverging": DIVERGED},
        "costs": {},
        "claims": [],
        "shared_starts": [],
    }
    page = report_page(results, {}, "", {})
    assert len(checked(page).titles()) == 10
    assert "No weighter of this comparison has task weights." in page
    assert compared(results) == {}


def test_all_plots_are_drawn_and_carried_by_the_page(results):
    traces = {"best": {name: np.array([1.0, 2.0, np.nan]) for name in FINDINGS}}
    figures = {
        "differences": lambda: forest_figure(results),
        "findings": lambda: findings_figure(results),
        "cost": lambda: cost_figure(results),
        "weights": lambda: weights_figure(traces),
    }
    vectors = {name: svg for name, (_, svg) in render_figures(figures).items()}
    page = report_page(results, vectors, "", traces)
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 4
    differences, findings, cost, weights = (image["alt"] for image in checked(page).images)
    assert differences.endswith(
        "best +0.1250 (+0.0625 to +0.1875), better; untested -0.1250, not tested; worst -0.2500 "
        "(-0.3125 to -0.1875), worse."
    )
    assert "of 2 findings and 3 weighters: from -0.250 (Mass, worst) to +0.125" in findings
    assert findings.endswith("; 4 of 6 significant.")
    assert cost.endswith("relative to equal weighting: best 2.00.")
    assert weights == "Task weights over the epochs, in the last epoch: best 2.000 for all."


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
