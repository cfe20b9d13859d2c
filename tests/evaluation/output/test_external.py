import pytest
from evaluation_documents import DESCRIBED, HOSTILE, external_validation
from page_structure import checked

from deepchest_cli.evaluation.output.external import (
    auroc_table,
    carried_table,
    drop_table,
    external_page,
    fits,
    forest_figure,
    result,
    short_carried_table,
    title,
)
from deepchest_cli.reporting.plots import render_figures


@pytest.fixture
def external():
    return external_validation()


def test_a_column_for_each_data_set(external):
    columns, rows = auroc_table(external, 2)
    assert columns == ["AUROC", HOSTILE, "b"]
    assert rows[0] == ["Mass", "0.75 (0.65 to 0.85)", "0.70 (0.60 to 0.80)"]
    assert rows[2] == ["Hernia", "0.90 (0.80 to 1.00)", "not scored"]
    assert [row[0] for row in rows[3:]] == ["Macro, 1 shared", "Macro, all own"]
    columns, drops = drop_table(external, 2)
    assert columns == [f"Drop from {HOSTILE}", "b"]
    assert drops == [
        ["Mass", "+0.05 (-0.05 to +0.15)"], ["Edema", "–"],
        ["Macro, 1 shared", "+0.05 (-0.05 to +0.15)"],
    ]  # fmt: skip


def test_what_is_carried_over(external):
    first = external["data_sets"][0]
    long, short = carried_table(first), short_carried_table(first)
    assert long[1][0][3:5] == ["0.25", "0.800 (0.700 to 0.900)"]
    assert long[1][1][3:6] == ["–", "–", "–"] and long[1][1][-1] == "–"  # no fit of Edema
    assert short[1][0] == ["Mass", "30", "0.025", "0.80", "0.70", "1.00", "0.00"]
    assert {len(row) for row in long[1]} == {len(long[0])}
    assert {len(row) for row in short[1]} == {len(short[0])}


def test_the_result_in_one_sentence(external):
    assert result(external)[0].endswith(
        "0.700 (0.600 to 0.800) on b, a drop of 0.050 (-0.050 to 0.150)."
    )
    nothing = {**external, "shared_findings": []}
    assert "no macro mean over all" in result(nothing)[0]


def test_data_sets_of_training_are_no_external_validation(external):
    assert title(external) == "External validation"
    own = [{**one, "is_training_data_set": True} for one in external["data_sets"]]
    external = {**external, "reference": "a", "data_sets": own}
    assert title(external) == "Evaluation by data set of training"
    assert drop_table(external, 2)[0] == ["a minus", "b"]
    assert result(external)[0].endswith(" on b, a minus b: +0.050 (-0.050 to +0.150).")


def test_thresholds_of_each_data_set_are_said_where_they_differ(external):
    external["data_sets"][0]["name"] = "a"
    notes = [{"validation_fit": {"note": note}} for note in ("Of a.", "Of b.")]
    document = {"external_validation": external, "data_sets": notes}
    start = "Thresholds and calibration"
    assert fits(document) == [f"{start} on a: Of a.", f"{start} on b: Of b."]
    alike = {**document, "data_sets": notes[:1] * 2}
    assert fits(alike) == [f"{start}, the same on all data sets: Of a."]


def test_the_page_escapes_names_and_says_what_is_missing(external):
    described = {
        **DESCRIBED, "source": HOSTILE, "data": HOSTILE, "notes": [HOSTILE],
        "validation_fit": {"note": HOSTILE},
    }  # fmt: skip
    document = {"deepchest": "1", "external_validation": external, "data_sets": [described] * 2}
    figures = render_figures({"auroc": lambda: forest_figure(external)})
    page = external_page(document, figures["auroc"][1])
    assert "<script" not in page and page.count("&lt;script&gt;") > 8
    assert "their difference has no interval" in page
    assert page.count("not scored") == 1
    read = checked(page)
    assert read["AUROC by data set"][0].columns == ["Finding", HOSTILE, "b"]
    text = read.images[0]["alt"]
    assert text.endswith(f"{HOSTILE} 0.700 (0.600 to 0.800); b 0.700 (0.600 to 0.800).")
