"""Which images are one study, and the mean over them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from prediction_models import FINDINGS, chest_like, make_model
from tests_support import valid

from deepchest_cli.data.view_weights import read_view_weights
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.studies import mean_over_studies
from deepchest_cli.prediction.study import Study, study_of_file, view_of_file


def image(path, value, study=None, view="", **more):
    return ImagePrediction(
        path, probabilities={"Mass": value, "Hernia": value / 2}, study=study, view=view,
        thresholds={"Mass": 0.5, "Hernia": float("nan")}, **more,
    )  # fmt: skip


ONE, OTHER = (Study(f"1.2.{n}", f"P/1.2.{n}", "StudyInstanceUID") for n in (1, 2))


def means(studies):
    return {one.name: one.probabilities["Mass"] for one in studies.predictions}


def test_a_study_has_the_mean_of_its_images_in_the_order_of_their_first():
    images = [image("a", 0.2, ONE), image("b", 0.9, OTHER), image("c", 0.4), image("d", 0.8, ONE)]
    studies = mean_over_studies(images, read_view_weights([]))
    assert means(studies) == pytest.approx({"1.2.1": 0.5, "1.2.2": 0.9, "c": 0.4})
    assert list(means(studies)) == ["1.2.1", "1.2.2", "c"]
    first = studies.predictions[0]
    assert first.flagged == ["Mass"]  # a mean of 0.5 is at the threshold
    assert first.probabilities["Hernia"] == pytest.approx(0.25)
    assert [one.source for one in studies.predictions] == ["StudyInstanceUID"] * 2 + ["image"]
    (warning,) = studies.warnings
    assert warning.startswith("1 image names no study")


def test_the_mean_is_that_of_any_order_and_never_outside_of_its_images():
    chance = np.random.default_rng(0)
    values = chance.random(7).tolist()
    for _ in range(5):
        images = [image(str(n), values[n], ONE) for n in chance.permutation(7).tolist()]
        found = means(mean_over_studies(images, read_view_weights([])))["1.2.1"]
        assert found == pytest.approx(np.mean(values), abs=1e-15)
    same = [image(str(n), 0.1, ONE, view) for n, view in enumerate(("PA", "LL", "AP"))]
    assert means(mean_over_studies(same, read_view_weights(["L=0.3"]))) == {"1.2.1": 0.1}


def test_views_are_weighted_in_any_spelling():
    images = [image("a", 0.8, ONE, "PA"), image("b", 0.2, ONE, "LL"), image("c", 0.6, OTHER, "")]
    weights = read_view_weights(["lateral=0.5"])
    studies = mean_over_studies(images, weights)
    assert means(studies) == pytest.approx({"1.2.1": (0.8 + 0.5 * 0.2) / 1.5, "1.2.2": 0.6})
    assert studies.predictions[0].weights == (1.0, 0.5)
    assert not studies.warnings
    none = mean_over_studies(images, read_view_weights(["lateral=0", "unknown=0"]))
    assert means(none) == pytest.approx({"1.2.1": 0.8})
    assert [one.name for one in none.weightless] == ["1.2.2"]
    (warning,) = mean_over_studies(images, read_view_weights(["AP=2"])).warnings
    assert "--view-weight names views that no image has (AP); there are: L, PA, unknown" in warning


def test_one_uid_of_two_patients_is_two_studies():
    twin = Study("1.2.1", "Q/1.2.1", "StudyInstanceUID")
    studies = mean_over_studies(
        [image("a", 0.2, ONE), image("b", 0.8, twin)], read_view_weights([])
    )
    assert means(studies) == {"P/1.2.1": 0.2, "Q/1.2.1": 0.8}
    (warning,) = studies.warnings
    assert "Files of several patients, by their PatientID, have one StudyInstanceUID" in warning


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("train/patient00001/study1/view1_frontal.jpg", "patient00001/study1"),
        ("files/p10/p10000032/s50414267/02aa804e.jpg", "p10000032/s50414267"),
        ("Patient1/Study2/a.png", "Patient1/Study2"),
        ("patient00001/study1/images/a.png", None),
        ("patient00001/a.png", None),
        ("trial/study1/a.png", None),  # a study of many patients
        ("patients/studies/a.png", None),
        ("a.png", None),
    ],
)
def test_folders_are_studies_only_in_the_layouts_of_chexpert_and_mimic(tmp_path, path, name):
    found = study_of_file(tmp_path / path, {})
    assert (found and found.name) == name
    if name:
        assert found.source == "folder" and found.full_name == str((tmp_path / path).parent)
        assert study_of_file(tmp_path / path, {"StudyInstanceUID": "1.2"}).name == "1.2"


def test_a_folder_of_a_study_is_known_from_within(tmp_path, monkeypatch):
    folder = tmp_path / "patient00001" / "study1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert study_of_file(Path("a.png"), {}).name == "patient00001/study1"
    assert study_of_file(Path("../study2/a.png"), {}).name == "patient00001/study2"


def test_views_of_files():
    assert view_of_file(Path("a.dcm"), {"ViewPosition": "LL"}) == "LL"
    assert view_of_file(Path("a.dcm"), {"SeriesDescription": "Chest LAT"}) == "LATERAL"
    assert view_of_file(Path("view2_lateral.jpg"), {}) == "LATERAL"
    assert view_of_file(Path("view1_frontal.jpg"), {}) == ""
    assert view_of_file(Path("lateral.jpg"), {}) == ""


@pytest.fixture
def chexpert(tmp_path, write):
    """Five images: two and one of two studies of patient 1, one of patient 2, and one of none."""
    files = ("patient00001/study1/view1_frontal.png", "patient00001/study1/view2_lateral.png",
             "patient00001/study2/view1_frontal.png", "patient00002/study1/view1_frontal.png",
             "other.png")  # fmt: skip
    for file, pixels in zip(files, chest_like(5, 48, seed=3), strict=True):
        write(f"images/{file}", pixels)
    return tmp_path / "images"


@pytest.fixture
def predict(deepchest, model_folder):
    return lambda *more: deepchest("predict", "--model", model_folder, *more)


NAMES = ["patient00001/study1", "patient00001/study2", "patient00002/study1"]


def test_formats_agree(predict, chexpert):
    flags = (chexpert, "--unit", "study", "--top", 1)
    outcome = predict(*flags, "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "predictions")
    by_path = {one["path"]: one for one in json.loads(predict(chexpert, "--json").out)["images"]}
    studies = document["studies"]
    assert "images" not in document
    # in the order of the files: other.png comes first
    assert [one["study"] for one in studies] == [str(chexpert / "other.png"), *NAMES]
    assert [len(one["images"]) for one in studies] == [1, 2, 1, 1]
    for one in studies:
        for name in FINDINGS:
            each = [by_path[part["path"]]["probabilities"][name] for part in one["images"]]
            assert one["probabilities"][name] == pytest.approx(np.mean(each), abs=1e-12)
            assert [part["probabilities"][name] for part in one["images"]] == each
        assert [part["weight"] for part in one["images"]] == [1] * len(one["images"])
        thresholds = one["operating_point"]["thresholds"]
        assert one["flagged"] == [
            n for n in FINDINGS if thresholds[n] is not None
            and one["probabilities"][n] >= thresholds[n]
        ]  # fmt: skip
    lines = predict(*flags, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == studies
    rows = list(csv.DictReader(io.StringIO(predict(*flags, "--format", "csv").out)))
    for row, one in zip(rows, studies, strict=True):
        assert (row["study"], row["images"]) == (one["study"], str(len(one["images"])))
        assert row["paths"] == "|".join(part["path"] for part in one["images"])
        assert {n: float(row[n]) for n in FINDINGS} == one["probabilities"]
        assert row["top"] == one["top"][0]
    assert "4 studies of 5 images." in outcome.err
    assert "1 image names no study" in outcome.err


def test_the_table_says_which_images_make_a_study_and_what_thresholds_are_for(predict, chexpert):
    outcome = predict(chexpert / "patient00001", "--unit", "study", "--view-weight", "lateral=0.5")
    assert outcome.code == 0, outcome.err
    line = "patient00001/study1: 2 images (view1_frontal.png, view2_lateral.png (weight 0.5))"
    assert line in outcome.out.splitlines()
    assert "chosen for single images" in outcome.err
    assert "names no study" not in outcome.err
    alone = predict(chexpert / "other.png", "--unit", "study")
    assert "1 image (" not in alone.out  # a line would say nothing
    number = predict(chexpert / "patient00001", "--unit", "study", "--threshold", 0.5)
    assert "chosen for single images" not in number.err


def test_warnings_of_images_stay_visible(predict, chexpert, write):
    pixels = 255 - chest_like(1, 48, seed=3)[0]
    path = write("images/patient00003/study1/inverted.png", pixels)
    write("images/patient00003/study1/plain.png")
    folder = path.parent
    table = predict(folder, "--unit", "study")
    assert f"{path}: bright where chest radiographs are dark" in table.err
    outcome = predict(folder, "--unit", "study", "--json")
    (study,) = valid(json.loads(outcome.out), "predictions")["studies"]
    warned = [[one["code"] for one in part["warnings"]] for part in study["images"]]
    assert "inverted" in warned[0] and "inverted" not in warned[1]
    assert "1 of 2 images has warnings" in outcome.err or "of 2 images have" in outcome.err
    (row,) = csv.DictReader(io.StringIO(predict(folder, "--unit", "study", "--format", "csv").out))
    assert "inverted" in row["warnings"].split("|")


def test_files_that_cannot_be_read_are_missing_in_the_mean_and_named(predict, chexpert):
    (chexpert / "patient00001" / "study1" / "view3_frontal.png").write_text("none")
    outcome = predict(chexpert / "patient00001", "--unit", "study", "--json")
    assert outcome.code == 1
    document = valid(json.loads(outcome.out), "predictions")
    assert [len(one["images"]) for one in document["studies"]] == [2, 1]
    assert document["failed"][0]["path"].endswith("view3_frontal.png")
    assert "1 of 4 files could not be read" in outcome.err


def test_a_study_whose_images_have_no_weight_has_no_answer(predict, chexpert):
    lateral = chexpert / "patient00001" / "study1" / "view2_lateral.png"
    outcome = predict(
        lateral, chexpert / "patient00002", "--unit", "study", "--view-weight", "L=0", "--json"
    )
    assert outcome.code == 1
    document = valid(json.loads(outcome.out), "predictions")
    assert [one["study"] for one in document["studies"]] == ["patient00002/study1"]
    (failed,) = document["failed"]
    assert failed["path"] == "patient00001/study1"
    assert f"1 study has no mean:\n  patient00001/study1: {failed['reason']}" in outcome.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--view-weight", "L=0"), "--view-weight goes with --unit study"),
        (("--unit", "study", "--view-weight", "L"), "takes VIEW=WEIGHT"),
        (("--unit", "study", "--view-weight", "L=-1"), "should be a number from 0"),
        (("--unit", "study", "--view-weight", "L=1", "--view-weight", "LL=2"), "twice"),
        (("--unit", "patient"), "patient"),
    ],
)
def test_wrong_flags(predict, chexpert, flags, said):
    outcome = predict(chexpert, *flags)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""


def test_dicom_files_are_studies_by_their_uid_whatever_their_folders(predict, tmp_path):
    pytest.importorskip("pydicom")
    views = (("1.2.1", "PA"), ("1.2.1", "LL"), ("1.2.2", "AP"), ("1.2.1", "PA"))
    for number, (uid, view) in enumerate(views):
        pixels = chest_like(1, 48, seed=number)[0]
        made = dicom(pixels, 8, StudyInstanceUID=uid, ViewPosition=view, PatientID=f"P{uid}")
        folder = tmp_path / f"patient{number}" / "study1"
        folder.mkdir(parents=True)
        (folder / f"{number}.dcm").write_bytes(made)
    outcome = predict(tmp_path, "--unit", "study", "--view-weight", "lateral=0", "--json")
    assert outcome.code == 0, outcome.err
    one, other = valid(json.loads(outcome.out), "predictions")["studies"]
    assert (one["study"], other["study"]) == ("1.2.1", "1.2.2")
    assert [part["weight"] for part in one["images"]] == [1, 0, 1]
    assert [part["view"] for part in one["images"]] == ["PA", "LL", "PA"]
    assert "not frontal" in one["images"][1]["warnings"][0]["message"]
    for name in FINDINGS:
        parts = [part["probabilities"][name] for part in one["images"]]
        assert one["probabilities"][name] == pytest.approx((parts[0] + parts[2]) / 2)


def test_maps_and_features_stay_those_of_images(predict, chexpert, tmp_path):
    folder, features = tmp_path / "maps", tmp_path / "f.npz"
    outcome = predict(
        chexpert / "patient00001", "--unit", "study", "--heatmap", folder, "--finding", "Mass",
        "--embeddings", features, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    studies = valid(json.loads(outcome.out), "predictions")["studies"]
    parts = [part for one in studies for part in one["images"]]
    assert all(Path(part["heatmaps"]["Mass"]).is_file() for part in parts)
    assert len(list(folder.iterdir())) == 3
    with np.load(features) as arrays:
        assert arrays["features"].shape[0] == 3


def test_views_and_models_are_averaged_within_each_image_first(deepchest, model_folder, chexpert,
                                                               tmp_path):  # fmt: skip
    other = make_model(tmp_path / "other", seed=2)
    flags = ("--model", model_folder, "--model", other, "--tta", chexpert / "patient00001")
    images = json.loads(deepchest("predict", *flags, "--json").out)["images"]
    (study, _) = json.loads(deepchest("predict", *flags, "--unit", "study", "--json").out)[
        "studies"
    ]
    for name in FINDINGS:
        mean = np.mean([one["probabilities"][name] for one in images[:2]])
        assert study["probabilities"][name] == pytest.approx(mean, abs=1e-9)
