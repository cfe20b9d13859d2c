import math
import re

import pytest
from evaluation_documents import DESCRIPTION
from page_structure import checked

from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.localization import IOBB_LEVELS, IOU_LEVELS
from deepchest_cli.evaluation.output.card import model_card
from deepchest_cli.evaluation.output.page import report_page
from deepchest_cli.evaluation.output.tables import tables
from deepchest_cli.evaluation.validation_fit import fit_on_validation
from deepchest_cli.files import to_json


@pytest.fixture
def material(make_scored_images):
    choices = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    return EvaluationInput(
        make_scored_images(), DESCRIPTION, choices, "", make_scored_images(seed=2)
    )


@pytest.fixture
def document(material):
    return build_document(material, EvaluationOptions(bootstrap_replicates=20))


def test_what_comes_from_outside_is_escaped(document):
    page = report_page(document, {})
    assert "a&lt;b&gt;|c.csv" in page
    assert "a<b>" not in page


HOSTILE = '<script>alert("1")</script>&|`'
ESCAPED = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;|`"
MODEL = {
    "path": HOSTILE, "backbone": HOSTILE, "weighter": HOSTILE, "epoch": 1, "image_size": 64,
    "sha256": "0" * 64, "synthetic": False,
}  # fmt: skip


def renamed(content, old, new):
    """Return a document with another name wherever the old one stands."""
    if isinstance(content, dict):
        return {renamed(k, old, new): renamed(v, old, new) for k, v in content.items()}
    if isinstance(content, list):
        return [renamed(one, old, new) for one in content]
    return new if content == old else content


def test_no_finding_path_or_group_breaks_the_page_or_the_card(document):
    hostile = {
        **renamed(renamed(document, "Edema", HOSTILE), "sex", HOSTILE),
        "source": HOSTILE, "labels": HOSTILE, "split_scheme": HOSTILE, "notes": [HOSTILE],
        "label_version": HOSTILE, "localization_note": HOSTILE, "models": [MODEL],
        "compared_to": {
            "other": HOSTILE, "caution": HOSTILE, "findings": {HOSTILE: DIFFERENCES},
            "macro": DIFFERENCES,
        },
    }  # fmt: skip
    page = report_page(hostile, {})
    assert "<script" not in page
    assert page.replace("<wbr>", "").count(ESCAPED) > 20
    data = {"name": HOSTILE, "sha256": HOSTILE, "source": {"kind": HOSTILE}, "settings": {}}
    card = model_card(hostile, [{"config": {"optimizer": HOSTILE}, "data_sets": [data] * 2}])
    outside_code = re.sub("`[^`\n]*`", "", card)
    assert "<script" not in outside_code
    tables = [line.replace("\\|", "") for line in card.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7, 9}  # no cell more than there are columns


DIFFERENCE = {"difference": 0.25, "low": -0.125, "high": 0.5, "p_holm": 1e-9, "verdict": "better",
              "not_tested": None}  # fmt: skip
UNTESTED = {"difference": math.nan, "low": math.nan, "high": math.nan, "p_holm": math.nan,
            "verdict": "inconclusive", "not_tested": "undefined"}  # fmt: skip
DIFFERENCES = {"auroc": DIFFERENCE, "average_precision": UNTESTED}


def test_differences_have_signs_intervals_and_colored_verdicts(document):
    compared = {
        "other": "x", "caution": "", "findings": {"Mass": DIFFERENCES}, "macro": DIFFERENCES
    }  # fmt: skip
    page = report_page({**document, "compared_to": compared}, {})
    rows = checked(page).rows("Comparison with another model")
    assert rows[1] == [
        "Mass", "+0.250", "-0.125 to +0.500", "< 0.001", "better", "–", "–", "–", "inconclusive"
    ]  # fmt: skip
    assert page.count('<td class="better">better</td>') == 2
    said = "Not tested: undefined: Mass by average precision, macro mean by average precision."
    assert said in page


def test_results_stand_with_their_intervals_and_the_macro_mean_last(document):
    page = checked(report_page(document, {}))
    rows = page.rows("Results by finding")
    assert [row[0] for row in rows] == ["Finding", "Mass", "Edema", "Macro mean"]
    columns, mass, *_ = [page["Results by finding"][1].columns, *page["Results by finding"][1].rows]
    assert mass[columns.index("Accuracy")] == f"{document['findings']['Mass']['accuracy']:.3f}"
    found = document["findings"]["Mass"]
    ends = found["intervals"]["auroc"]
    auroc = rows[1][rows[0].index("AUROC")]
    assert auroc == f"{found['auroc']:.3f} ({ends['low']:.3f} to {ends['high']:.3f})"


def test_every_section_stands_without_its_data(document):
    nothing = {
        **document, "baseline": None, "localization": None, "localization_note": "",
        "expert_labels": None, "compared_to": None, "notes": [], "models": [],
        "subgroups": {**document["subgroups"], "groups": []},
    }  # fmt: skip
    page = report_page(nothing, {})
    assert checked(page).titles() == [
        "Results by finding", "Baselines and published results", "Operating points", "Calibration",
        "Subgroup analysis", "Localization", "Most confident errors", "Data and methods",
    ]  # fmt: skip
    assert "<figure" not in page
    assert page.count("Not scored.") == page.count("there are no images") == 1
    assert "No published result on exactly these images is known." in page
    assert "None" not in page and "nan" not in page.replace("finding", "")
    assert "## Subgroup analysis" in model_card(nothing, [])


def test_all_sections_are_there_with_their_data(document):
    share = {"value": 0.5, "low": 0.25, "high": 0.75}
    shares = {"boxes": 3, "pointing_game_accuracy": share}
    shares |= {f"iou_{level:g}": share for level in IOU_LEVELS}
    shares |= {f"iobb_{level:g}": share for level in IOBB_LEVELS}
    entry = {"all": shares, "findings": {"Mass": shares}}
    whole = {
        **document,
        "localization": {
            "boxes": 3, "cells": [7, 7], "excluded": 1, "cam_unavailable_reason": "no map",
            "random_baseline": {"all": 0.125, "findings": {"Mass": 0.125}},
            "maps": {"grad_cam": entry, "random": entry},
        },
        "expert_labels": {"findings": {"Mass": {
            "images": 1200, "positives": 30, "auroc": share, "average_precision": share,
            "nih_ppv": share, "nih_sensitivity": share,
        }}},
        "references": {"other_splits": "", "rows": [
            {"title": "CheXNet", "source": "x", "macro_auroc": 0.8, "findings": {"Mass": 0.9}},
            {"title": "Other", "source": "y", "macro_auroc": 0.7, "findings": None},
        ]},
    }  # fmt: skip
    page = report_page(whole, {"roc": b"<svg/>", "errors": b"\x89PNG"})
    read = checked(page)
    assert read.rows("Localization")[1][:5] == [
        "Mass", "3", "0.125", "0.500 (0.250 to 0.750)", "0.500 (0.250 to 0.750)"
    ]  # fmt: skip
    assert "1 box is excluded" in " ".join(page.split())
    assert "No CAM: no map." in page
    assert read.rows("Expert labels")[1][:3] == ["Mass", "1,200", "30"]
    references = [row[-2:] for row in read.rows("Baselines and published results")]
    assert references == [["CheXNet", "Other"], ["0.900", "–"], ["–", "–"], ["0.800", "0.700"]]
    assert "CheXNet: x; Other: y." in " ".join(page.split())
    assert page.count("<img") == page.count('src="data:image/') == 2
    assert "http" not in page


def test_the_caution_fits_the_data(document):
    assert "not recognized as a whole published test split" in report_page(document, {})
    official = {**document, "split_name": "official"}
    assert "all images of NIH&#39;s official test list" in report_page(official, {})
    assert "nothing here says anything about patients" in model_card(
        {**document, "synthetic": True}, []
    )


def test_the_validation_part_that_is_shared_is_said(document):
    for text in (report_page(document, {}), model_card(document, [])):
        assert "all three rest on the same patients" in text


def test_without_thresholds_page_card_and_tables_still_stand(make_scored_images):
    material = EvaluationInput(make_scored_images(), DESCRIPTION, None, "No validation.", None)
    document = build_document(material, EvaluationOptions(bootstrap_replicates=0))
    assert "No validation." in report_page(document, {})
    assert "No validation." in model_card(document, [])
    names = tables(document).keys()
    assert "operating-points.csv" not in names
    assert "subgroups.csv" in names


def test_the_same_material_gives_the_same_document(material, document):
    assert to_json(build_document(material, EvaluationOptions(bootstrap_replicates=20))) == to_json(
        document
    )


def test_intervals_are_around_the_figures(document):
    for values in document["findings"].values():
        for metric in ("auroc", "average_precision", "loss", "brier"):
            found = values["intervals"][metric]
            assert found["low"] <= values[metric] <= found["high"] or math.isnan(found["low"])
