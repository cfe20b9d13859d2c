"""Figures of studies and patients against pandas, scikit-learn and resampling written out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.view_weights import ViewWeights
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.report import build_report
from deepchest_cli.evaluation.units import Grouping

FINDINGS = ("Mass", "Edema")
DESCRIPTION = {
    "model": None, "models": [], "predictions": "p.csv", "labels": "l.csv", "data": None,
    "data_sha256": None, "split": "test", "split_scheme": None, "label_version": "unknown",
    "source": None, "synthetic": None, "labels_without_predictions": 0,
    "predictions_without_labels": 0, "findings_not_predicted": [], "findings_not_labeled": [],
    "overlap": UNCHECKED,
}  # fmt: skip


@pytest.fixture
def images(make_scored_images):
    """600 images of 300 patients, 1 to 4 a study and up to 3 studies a patient, labels by image."""
    chance = np.random.default_rng(5)
    studies = np.sort(chance.integers(0, 260, 600))
    views = np.array(["PA", "L", "AP", ""])[chance.integers(0, 4, 600)]
    scored = make_scored_images(600, seed=7, view=views, age=chance.uniform(20, 90, 600))
    known = (chance.random((600, 2)) < 0.8).astype(np.uint8)
    table = replace(scored.predictions, known=known, patient_id=studies // 3)
    names = np.array([f"s{number:03d}" for number in studies])
    return replace(
        scored, predictions=table, study=names, sex=np.array(["F", "M"])[studies // 3 % 2]
    )


def frame_of(images, weights=None):
    """Return the images as a data frame, with a column `unit` weight."""
    table = images.predictions
    frame = pd.DataFrame({"study": images.study, "patient": table.patient_id, "view": images.view})
    frame["weight"] = frame["view"].map(weights or {}).fillna(1.0)
    for column, name in enumerate(FINDINGS):
        frame[name] = table.probabilities[:, column]
        labels = table.labels[:, column].astype(float)
        frame[f"{name}_label"] = np.where(table.known[:, column] == 1, labels, np.nan)
    return frame


def by_unit(frame, unit):
    """Return weighted means, and the largest known label, which is 1 where any is; sorted."""
    frame = frame.assign(key=frame[unit].astype(str))
    rows = {}
    for key, rows_of_unit in frame.groupby("key"):
        if rows_of_unit["weight"].sum() > 0:
            scores = {
                n: np.average(rows_of_unit[n], weights=rows_of_unit["weight"]) for n in FINDINGS
            }
            labels = {f"{n}_label": rows_of_unit[f"{n}_label"].max() for n in FINDINGS}
            rows[key] = {**scores, **labels, "patient": rows_of_unit["patient"].iloc[0]}
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


@pytest.mark.parametrize("unit", ["study", "patient"])
@pytest.mark.parametrize("weights", [{}, {"L": 0.25, "": 0.0}])
def test_figures_of_units_are_those_of_scikit_learn(images, unit, weights):
    units = Grouping(unit, ViewWeights(weights)).of(images)
    expected = by_unit(frame_of(images, weights), unit)
    assert units.scored.image_index.tolist() == expected.index.tolist()
    assert units.scored.predictions.patient_id.tolist() == expected["patient"].tolist()
    report = build_report(units.scored.predictions)
    for name in FINDINGS:
        known = expected.dropna(subset=f"{name}_label")
        labels, scores = known[f"{name}_label"].astype(int), known[name]
        found = report["findings"][name]
        assert found["known"] == len(known) < len(images)
        assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert found["average_precision"] == pytest.approx(
            average_precision_score(labels, scores), abs=1e-12
        )
        assert found["loss"] == pytest.approx(log_loss(labels, scores), abs=1e-9)


def test_replicates_draw_patients_with_all_their_studies(images):
    """Each replicate written out: the studies of a patient as often as the patient was drawn."""
    units = Grouping("study").of(images)
    table = units.scored.predictions
    assert len(np.unique(table.patient_id)) < len(units.scored) < len(images)
    resampling = resample_patients(table.patient_id, 20, seed=3)
    found = resampled("auroc", table, resampling)
    expected = by_unit(frame_of(images), "study").dropna(subset="Mass_label")
    patients = np.unique(table.patient_id)
    for replicate, counts in zip(found[:, 0], resampling.counts, strict=True):
        drawn = expected.loc[
            expected.index.repeat(expected["patient"].map(dict(zip(patients, counts, strict=True))))
        ]
        assert replicate == pytest.approx(roc_auc_score(drawn["Mass_label"], drawn["Mass"]))


def test_intervals_are_over_patients_not_over_studies(images):
    """Every study copied five times for its patient adds nothing, and narrows no interval."""

    def ends(table):
        resampling = resample_patients(table.patient_id, 200, seed=0)
        return build_report(table, resampling)["findings"]["Mass"]["intervals"]

    one = Grouping("study").of(images).scored.predictions
    copied = replace(
        one, **{n: np.repeat(getattr(one, n), 5, axis=0)
                for n in ("probabilities", "labels", "known", "patient_id")}
    )  # fmt: skip
    first, second = ends(one), ends(copied)
    for metric in ("auroc", "average_precision", "loss"):
        widths = [found[metric]["high"] - found[metric]["low"] for found in (first, second)]
        assert widths[1] > 0.85 * widths[0], metric


def test_the_label_of_a_unit(images):
    few = replace(
        images, **{n: getattr(images, n)[:5] for n in ("image_index", "age", "sex", "view")},
        study=np.array(["a", "a", "b", "b", "c"]),
    )  # fmt: skip
    table = images.predictions
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 1], [1, 1]], np.uint8)
    known = np.array([[1, 1], [1, 0], [0, 0], [1, 0], [1, 1]], np.uint8)
    table = replace(
        table, probabilities=table.probabilities[:5], labels=labels, known=known,
        patient_id=np.array([4, 4, 5, 5, 5]),
    )  # fmt: skip
    units = Grouping("study").of(replace(few, predictions=table))
    found = units.scored.predictions
    # a: present and absent, absent and unknown; b: unknown and absent, unknown twice; c: present
    assert found.labels.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert found.known.tolist() == [[1, 1], [1, 0], [1, 1]]
    assert (units.mixed, units.differing.tolist()) == (1, [1, 0])
    assert units.notes == (
        "In 1 study the labels of images differ (Mass 1): a study is positive where any of the "
        "images is.",
    )
    assert units.scored.image_counts.tolist() == [2, 2, 1]
    assert units.scored.count_images(np.array([0, 2])) == 3


def test_age_sex_and_view_of_a_unit(images):
    few = replace(
        images, predictions=replace(
            images.predictions, patient_id=np.zeros(6, np.int64),
            **{n: getattr(images.predictions, n)[:6] for n in ("probabilities", "labels", "known")},
        ),
        image_index=images.image_index[:6], study=np.array(["a", "a", "a", "b", "b", "c"]),
        age=np.array([50, np.nan, 53, np.nan, np.nan, 7]),
        sex=np.array(["F", "", "F", "F", "M", ""]),
        view=np.array(["PA", "L", "PA", "", "", "AP"]),
    )  # fmt: skip
    scored = Grouping("study").of(few).scored
    assert np.array_equal(scored.age, [51.5, np.nan, 7], equal_nan=True)
    assert scored.sex.tolist() == ["F", "", ""]
    assert scored.view.tolist() == ["PA+L", "", "AP"]


def test_studies_of_one_image_are_the_images_to_the_last_bit(images):
    alone = replace(images, study=images.image_index)
    units = Grouping("study", ViewWeights({"PA": 0.3})).of(alone)
    order = np.argsort(images.image_index)
    table, found = images.predictions, units.scored.predictions
    assert np.array_equal(found.probabilities, table.probabilities[order])
    assert np.array_equal(found.labels, (table.labels * table.known)[order])
    assert np.array_equal(found.known, table.known[order])
    assert units.warnings == (
        "Every study has a single image: --unit study gives the metrics of --unit image.",
    )
    assert Grouping().of(images).scored is images
    assert Grouping().of(images).warnings == ()


def test_units_of_weight_0_are_left_out_and_counted(images):
    units = Grouping("study", ViewWeights({"L": 0.0})).of(images)
    only = frame_of(images).groupby("study")["view"].agg(lambda views: set(views) == {"L"})
    assert units.excluded == only.sum() > 0
    assert f"{units.excluded} studies have only images of weight 0" in units.warnings[0]
    assert not set(units.scored.image_index) & set(only[only].index)
    with pytest.raises(UsageError, match="every study has only images of weight 0"):
        Grouping("study", ViewWeights(dict.fromkeys(("L", "PA", "AP", ""), 0.0))).of(images)


def test_what_is_no_study_is_refused(images):
    with pytest.raises(UsageError, match="which images belong to one study is not known"):
        Grouping("study").of(replace(images, study=None))
    table = replace(images.predictions, patient_id=images.predictions.patient_id.copy())
    table.patient_id[images.study == "s003"] = np.arange((images.study == "s003").sum())
    with pytest.raises(UsageError, match="1 study has images of several patients: s003"):
        Grouping("study").of(replace(images, predictions=table))
    assert len(Grouping("patient").of(replace(images, study=None)).scored)


def test_a_study_in_two_splits_is_refused(shards):
    dataset = open_dataset(shards)
    rows, columns = dataset.rows("test"), dict(dataset.columns)
    columns["study"] = columns["patient_id"].astype(str)
    whole = replace(dataset, columns=columns)
    Grouping("study").refuse_divided(whole, rows)
    with pytest.raises(UsageError, match="1 study has images in two splits") as refusal:
        Grouping("study").refuse_divided(whole, rows[1:])
    assert columns["study"][rows[0]] in refusal.value.message
    Grouping().refuse_divided(whole, rows[1:])


def test_the_document_counts_units_and_images(images):
    units = Grouping("study", ViewWeights({"L": 0.5})).of(images)
    inputs = EvaluationInput(units.scored, DESCRIPTION, None, "None.", None, units=units)
    document = build_document(inputs, EvaluationOptions(bootstrap_replicates=20))
    sizes = frame_of(images).groupby("study").size()
    assert (document["unit"], document["units"], document["images"]) == ("study", len(sizes), 600)
    assert document["images_per_unit"] == {
        "min": sizes.min(), "median": sizes.median(), "mean": pytest.approx(sizes.mean()),
        "max": sizes.max(),
    }  # fmt: skip
    assert document["view_weights"] == {"L": 0.5}
    groups = [g for g in document["subgroups"]["groups"] if g["attribute"] == "sex"]
    assert sum(group["images"] for group in groups) == 600
    assert sum(group["units"] for group in groups) == len(sizes)
    differing = document["units_with_differing_labels"]
    labels = frame_of(images).groupby("study")["Mass_label"].agg(["min", "max"])
    assert differing["Mass"] == (labels["min"] < labels["max"]).sum() > 0
