import numpy as np
import pytest

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

HOSTILE = '<script>alert("1")</script>'


def found(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


def one_set(name, values, drop):
    line = {"slope": found(1.0), "intercept": found(0.0)}
    point = {"threshold": 0.25, "sensitivity": found(0.8), "specificity": found(0.7)}
    return {
        "name": name, "data": name, "split": "test", "images": 1200, "patients": 900,
        "is_training_data_set": name != "b", "shares_images": name == "b",
        "macro_auroc": found(0.7),
        "own_macro_auroc": {**found(0.7), "scored_findings": len(values)},
        "findings": {
            finding: {
                "known": 1200, "positives": 30, "positive_patients": 20, "prevalence": 0.025,
                "auroc": found(value), "operating_point": point if finding == "Mass" else None,
                "calibration": {"before": line, "after": line if finding == "Mass" else None},
            }
            for finding, value in values.items()
        },
        "drop": drop,
    }  # fmt: skip


@pytest.fixture
def external():
    drop = {"macro_auroc": found(0.05), "findings": {"Mass": found(0.05), "Edema": found(np.nan)}}
    return {
        "reference": HOSTILE, "reference_operating_point": "youden",
        "findings": ["Mass", "Edema", "Hernia"], "shared_findings": ["Mass"],
        "data_sets": [
            one_set(HOSTILE, {"Mass": 0.75, "Edema": 0.8, "Hernia": 0.9}, None),
            one_set("b", {"Mass": 0.7, "Edema": np.nan}, drop),
        ],
    }  # fmt: skip


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
        "overlap": {"is_training_data_set": False, "pixel_hashes_compared": True,
                    "split_changes": [], "patients_compared": True, "training_images": 0,
                    "validation_images": 0, "same_name_and_patient": 0, "shared_patients": 0,
                    "same_name_only": 0},
        "images": 1200, "unit": "image", "split": "test", "synthetic": None, "models": [],
        "split_name": None, "source": HOSTILE, "label_version": "unknown", "data": HOSTILE,
        "notes": [HOSTILE],
        "validation_fit": {"note": HOSTILE}, "calibration": {"findings": {}},
        "operating_points": {"findings": {}},
    }  # fmt: skip
    document = {"deepchest": "1", "external_validation": external, "data_sets": [described] * 2}
    figures = render_figures({"auroc": lambda: forest_figure(external)})
    page = external_page(document, figures["auroc"][1])
    assert "<script" not in page and page.count("&lt;script&gt;") > 8
    assert "their difference has no interval" in page
    assert page.count("not scored") == 1
