import csv
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prediction_models import FINDINGS, chest_like, make_model
from tests_support import next_step, too_wide, valid
from waiting import LIMIT

from deepchest_cli.data.radiograph import fit
from deepchest_cli.prediction import reading


@pytest.fixture
def images(nih_folder):
    return sorted((nih_folder / "images").iterdir())


@pytest.fixture
def predict(deepchest, trained):
    return lambda *more: deepchest("predict", "--model", trained, *more)


def test_one_image(predict, images):
    outcome = predict(images[0])
    assert outcome.code == 0, outcome.err
    assert "Cardiomegaly" in outcome.out
    assert "not for clinical use" in outcome.err
    assert "clinical" not in outcome.out


def test_formats_agree(predict, images):
    document = valid(json.loads(predict(*images[:5], "--format", "json").out), "predictions")
    assert [image["path"] for image in document["images"]] == [str(path) for path in images[:5]]
    assert json.loads(predict(*images[:5], "--json").out) == document
    assert document["failed"] == []
    lines = predict(*images[:5], "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == document["images"]
    rows = list(csv.DictReader(io.StringIO(predict(*images[:5], "--format", "csv").out)))
    for row, image in zip(rows, document["images"], strict=True):
        assert {f: float(row[f]) for f in image["probabilities"]} == image["probabilities"]


def test_a_folder_and_many_images_in_a_table(predict, nih_folder, images):
    outcome = predict(nih_folder / "images")
    assert outcome.code == 0
    assert all(path.name in outcome.out for path in images)


def test_paths_on_stdin(predict, images, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{images[3]}\n\n{images[1]}\n"))
    document = json.loads(predict("-", "--json").out)
    assert [image["path"] for image in document["images"]] == [str(images[3]), str(images[1])]


MODES = [
    *((mode, "png") for mode in ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")),
    *((mode, "jpg") for mode in ("L", "RGB", "CMYK")),
]


def test_any_mode_and_size(predict, tmp_path):
    gray = np.random.default_rng(0).integers(0, 255, (70, 41), dtype=np.uint8)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    paths = []
    for number, (mode, suffix) in enumerate(MODES):
        image = deep if mode == "I;16" else Image.fromarray(gray).convert(mode)
        paths.append(tmp_path / f"{number}.{suffix}")
        image.save(paths[-1])
    images = json.loads(predict(*paths, "--json").out)["images"]
    assert len(images) == len(MODES)
    for image in images:
        assert len(image["probabilities"]) == 14
        assert all(0 < value < 1 for value in image["probabilities"].values())


def test_bad_files_do_not_stop_the_others(predict, images, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    outcome = predict(
        images[0], tmp_path / "broken.png", tmp_path / "none.png", images[1], "--json"
    )
    assert outcome.code == 1
    document = valid(json.loads(outcome.out), "predictions")
    assert len(document["images"]) == 2
    assert [Path(one["path"]).name for one in document["failed"]] == ["broken.png", "none.png"]
    assert "broken.png" in outcome.err
    assert "none.png: the file is missing" in outcome.err


def test_without_images_or_model(deepchest, predict, tmp_path, images):
    assert predict().code == 2
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty").code == 2
    missing = deepchest("predict", images[0], "--model", tmp_path / "none")
    assert missing.code == 2
    assert "deepchest train" in missing.err


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A model with operating points and calibration, and four images."""
    root = tmp_path_factory.mktemp("known")
    (root / "images").mkdir()
    for number, image in enumerate(chest_like(4, 48, seed=7)):
        Image.fromarray(image).save(root / "images" / f"{number}.png")
    return make_model(root / "run"), root / "images"


def test_what_a_model_lacks_is_warned_of(predict, images):
    outcome = predict(images[0])
    assert "probabilities are raw, and nothing is flagged" in outcome.err
    assert "evaluate" in outcome.err
    flagged = predict(images[0], "--threshold", "0")
    assert "nothing is flagged" not in flagged.err
    assert flagged.out.count("*") == 14


def test_the_table_says_what_it_rests_on(deepchest, known):
    model, images = known
    outcome = deepchest("predict", "--model", model, images / "0.png")
    assert outcome.code == 0
    assert "2 of 3 findings calibrated" in outcome.err
    assert "youden on 150 validation images" in outcome.err
    assert outcome.err.count("not for clinical use") == 1


def test_findings_without_an_operating_point_are_counted_and_named(deepchest, known):
    model, images = known
    said = "no operating point for 1 of 3 findings, which are never flagged"
    brief = deepchest("predict", "--model", model, images / "0.png").err
    assert f"{said} (too few; --verbose names them)." in brief
    verbose = deepchest("predict", "--model", model, images / "0.png", "--verbose").err
    assert f"{said}: too few: Edema." in verbose
    number = deepchest("predict", "--model", model, images / "0.png", "--threshold", "0.5")
    assert "never flagged" not in number.err


def test_a_rule_that_the_model_lacks_flags_nothing_and_says_so(deepchest, known):
    model, images = known
    rule = ("--threshold", "sensitivity_90_confidence_95")
    outcome = deepchest("predict", "--model", model, images / "0.png", *rule)
    assert "none: the model has no operating point by sensitivity_90_confidence_95" in outcome.err
    assert "3 of 3 findings, which are never flagged (the model keeps no reason" in outcome.err
    named = deepchest("predict", "--model", model, images / "0.png", *rule, "--verbose").err
    assert "never flagged: the model keeps no reason: Mass, Hernia" in named
    assert "*" not in outcome.out


def test_top_names_the_most_probable(deepchest, known):
    model, images = known
    command = ("predict", "--model", model, images, "--top", "2")
    for image in json.loads(deepchest(*command, "--json").out)["images"]:
        ordered = sorted(FINDINGS, key=lambda name: -image["probabilities"][name])
        assert image["top"] == ordered[:2]
    rows = csv.DictReader(io.StringIO(deepchest(*command, "--format", "csv").out))
    assert all(row["top"].count("|") == 1 for row in rows)
    assert "3.png" in deepchest(*command).out


def test_warnings_are_printed_for_people_and_counted_for_programs(deepchest, known, tmp_path):
    model, images = known
    picture = np.asarray(Image.open(images / "0.png"))
    Image.fromarray(255 - picture).save(tmp_path / "inverted.png")
    table = deepchest("predict", "--model", model, tmp_path / "inverted.png")
    assert "bright where chest radiographs are dark" in table.err
    assert "unlike the training radiographs" in table.err
    outcome = deepchest("predict", "--model", model, tmp_path / "inverted.png", "--json")
    assert "1 of 1 image has warnings" in outcome.err
    document = valid(json.loads(outcome.out), "predictions")
    codes = [warning["code"] for warning in document["images"][0]["warnings"]]
    assert {"inverted", "atypical-features"} <= set(codes)


def test_a_librarys_warnings_are_ours_unless_all_is_wanted(predict, images, monkeypatch):
    def warn(*arguments):
        place = "/env/lib/site-packages/somelibrary/core.py"
        warnings.warn_explicit("This will be slow.", UserWarning, place, 7)
        return fit(*arguments)

    monkeypatch.setattr(reading, "fit", warn)
    with warnings.catch_warnings(record=True) as whole:
        warnings.simplefilter("always")
        shown = predict(images[0]).err
        assert not whole
        predict(images[0], "--debug")
    assert "Warning: This will be slow (somelibrary).\n" in shown
    assert "site-packages" not in shown
    assert "This will be slow" in str(whole[0].message)


def test_an_ensemble_and_views(deepchest, known, tmp_path):
    model, images = known
    other = make_model(tmp_path / "other", seed=2)
    outcome = deepchest("predict", "--model", model, "--model", other, "--tta", images, "--json")
    document = valid(json.loads(outcome.out), "predictions")
    assert document["model"] is None
    assert len(document["models"]) == 2
    assert all(len(image["models"]) == 2 for image in document["images"])


def test_heat_maps_are_named_in_the_document(deepchest, known, tmp_path):
    model, images = known
    flags = ("--heatmap", tmp_path / "maps", "--finding", "Mass")
    outcome = deepchest("predict", "--model", model, images / "0.png", *flags, "--json")
    document = valid(json.loads(outcome.out), "predictions")
    assert Path(document["images"][0]["heatmaps"]["Mass"]).is_file()
    assert deepchest("predict", "--model", model, images, *flags).code == 2
    assert "--heatmap" in deepchest("predict", "--model", model, images, "--finding", "Mass").err


def test_odd_names_on_stdin(deepchest, known, tmp_path, monkeypatch):
    model, images = known
    names = [tmp_path / name for name in ("with space.png", "line\nbreak.png", "胸部.png")]
    for name in names:
        name.write_bytes((images / "0.png").read_bytes())
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{name}\0" for name in names)))
    outcome = deepchest("predict", "-", "--null", "--model", model, "--format", "jsonl")
    assert outcome.code == 0, outcome.err
    found = [json.loads(line)["path"] for line in outcome.out.splitlines()]
    assert found == [str(name) for name in names]


def test_a_reader_that_has_had_enough_ends_the_work(known):
    model, images = known
    python = f"{sys.executable} -m deepchest_cli"
    command = (
        f"for i in $(seq 500); do find {images} -name '*.png'; done | "
        f"{python} predict - --model {model} --format jsonl --device cpu | head -1; "
        "echo ${PIPESTATUS[1]}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=LIMIT
    )
    line, code = done.stdout.splitlines()
    assert json.loads(line)["path"].endswith(".png")
    assert code == "0"
    assert "Traceback" not in done.stderr


def test_without_the_newest_run(deepchest, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("predict", known[1] / "0.png")
    assert outcome.code == 2
    assert os.path.join("runs", "latest") in outcome.err  # noqa: PTH118
    assert "deepchest train" in outcome.err


@pytest.fixture(scope="module")
def many(known, tmp_path_factory):
    """A model, and six images with odd names: long, alike, in other alphabets, of two lines."""
    root = tmp_path_factory.mktemp("many")
    names = [f"a/{'patient' * 9}-{n}.png" for n in "12"]
    names += ["a/same.png", "b/same.png", "b/胸部.png", "b/line\nbreak.png"]
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((known[1] / "0.png").read_bytes())
    return known[0], [root / name for name in names]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_many_images_have_a_line_each_with_what_is_flagged(deepchest, many, width, monkeypatch):
    model, paths = many
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = deepchest("predict", "--model", model, *paths)
    assert outcome.code == 0, outcome.err
    assert too_wide(outcome.out + outcome.err, width) == []
    rows = list(csv.DictReader(io.StringIO(deepchest("predict", "--model", model, *paths,
                                                     "--format", "csv").out)))  # fmt: skip
    (flagged,) = {row["flagged"] for row in rows}
    cells = [f"{name} {float(rows[0][name]):.3f}" for name in flagged.split("|")]
    assert cells and all(outcome.out.count(cell) == len(paths) for cell in cells)
    for name in ("line\\nbreak.png", "胸部.png", "a/same.png", "b/same.png", "-1.png", "-2.png"):
        assert outcome.out.count(name) == 1
    assert "--verbose" in outcome.err
    none = deepchest("predict", "--model", model, *paths, "--threshold", "1")
    assert none.out.count("none flagged") == len(paths)


def test_all_probabilities_of_many_images_are_shown_where_more_is_wanted(
    deepchest, many, monkeypatch
):
    model, paths = many
    monkeypatch.setenv("COLUMNS", "80")
    outcome = deepchest("predict", "--model", model, *paths, "--verbose")
    assert too_wide(outcome.out + outcome.err, 80) == []
    for name in FINDINGS:
        assert name in outcome.out
    raw = deepchest("predict", "--model", model, *paths, "--threshold",
                    "sensitivity_90_confidence_95")  # fmt: skip
    assert "Most probable findings" in raw.out and "none flagged" not in raw.out


@pytest.mark.parametrize("width", [40, 80])
def test_few_images_stand_beside_each_other(deepchest, many, width, monkeypatch):
    model, paths = many
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = deepchest("predict", "--model", model, *paths[2:6])
    assert too_wide(outcome.out + outcome.err, width) == []
    for name in (*FINDINGS, "a/same.png", "b/same.png", "line\\nbreak.png", "Threshold"):
        assert name in outcome.out


def test_warnings_of_several_images_are_counted_by_kind(deepchest, known, tmp_path):
    model, images = known
    picture = np.asarray(Image.open(images / "0.png"))
    for number in range(2):
        Image.fromarray(255 - picture).save(tmp_path / f"{number}.png")
    brief = deepchest("predict", "--model", model, tmp_path, images / "1.png")
    assert "Warning: 2 of 3 images have warnings: " in brief.err and "inverted 2" in brief.err
    assert "bright where" not in brief.err
    verbose = deepchest("predict", "--model", model, tmp_path, images / "1.png", "--verbose")
    assert verbose.err.count("bright where chest radiographs are dark") == 2


def test_models_with_the_same_to_say_share_a_warning(deepchest, known, tmp_path):
    model, images = known
    other = make_model(tmp_path / "other", seed=2)
    outcome = deepchest("predict", "--model", model, "--model", other, images / "0.png")
    said = [line for line in outcome.err.splitlines() if "no operating point for" in line]
    assert len(said) == 1
    assert str(model) in said[0] and str(other) in said[0]


def test_the_next_step_of_predictions(deepchest, known, tmp_path, monkeypatch):
    model, images = known
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "with space's.png"
    image.write_bytes((images / "0.png").read_bytes())
    (tmp_path / "predictions.csv").write_text("of somebody")
    _, *words = next_step(deepchest("predict", image, "--model", model, "--top", "2").err)
    csv_of = ["predict", str(image), "--model", str(model), "--format", "csv"]
    assert words == [*csv_of, ">", "predictions-2.csv"]
    _, *words = next_step(deepchest(*csv_of).err)
    assert words == [*csv_of[:-2], "--heatmap", "heatmaps"]
    assert deepchest(*words).code == 0
    assert len(list((tmp_path / "heatmaps").iterdir())) >= 1
    _, *words = next_step(deepchest(*csv_of, "--threshold", "1").err)
    assert words[-2] == "--finding" and words[-1] in FINDINGS
    assert deepchest(*words, "--force").code == 0
    _, *words = next_step(deepchest("predict", *[image] * 5, "--model", model).err)
    assert words[:2] == ["predict", str(image)] and "heatmaps-3" in words
    (tmp_path / "-x.png").write_bytes(image.read_bytes())
    _, *words = next_step(deepchest("predict", "--model", model, "--", "-x.png").err)
    assert words[-4:] == ["--", "-x.png", ">", "predictions-2.csv"]
    assert deepchest(*words[:-2]).code == 0


def test_what_follows_an_export(deepchest, known, tmp_path, monkeypatch, nih_folder):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "with space.onnx"
    _, *words = next_step(deepchest("export", "--model", known[0], "--out", out).err)
    assert words == ["predict", "--help"] and deepchest(*words).code == 0
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(nih_folder)
    exported = deepchest("export", "--model", known[0], "--out", out, "--force")
    _, *words = next_step(exported.err)
    assert words == ["predict", "data/demo/images/00000004_000.png", "--model", str(out)]
    answered = deepchest(*words, "--format", "csv")
    assert answered.code == 0
    _, *words = next_step(answered.err)  # no heat maps of an ONNX file
    assert words[-2:] == ["--model", str(out)]
    torch_file = deepchest("export", "--model", known[0], "--format", "torch", "--out", "m.pt2")
    _, *words = next_step(torch_file.err)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tensor([[")


def test_export_gives_the_path(deepchest, known, tmp_path):
    pytest.importorskip("onnxruntime")
    outcome = deepchest("export", "--model", known[0], "--out", tmp_path / "m.onnx", "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "export")
    assert document["path"] == str(tmp_path / "m.onnx")
    assert document["difference"] < 1e-4
    assert deepchest("export", "--model", known[0], "--out", tmp_path / "m.onnx").code == 2
    assert deepchest("export", "--model", tmp_path / "none").code == 2
