import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from tests_support import valid


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


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, "png") for mode in ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")),
        *((mode, "jpg") for mode in ("L", "RGB", "CMYK")),
    ],
)
def test_any_mode_and_size(predict, tmp_path, mode, suffix):
    grey = np.random.default_rng(0).integers(0, 255, (70, 41), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / f"image.{suffix}")
    outcome = predict(tmp_path / f"image.{suffix}", "--json")
    probabilities = json.loads(outcome.out)["images"][0]["probabilities"]
    assert len(probabilities) == 14
    assert all(0 < value < 1 for value in probabilities.values())


def test_bad_files_do_not_stop_the_others(predict, images, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    outcome = predict(
        images[0], tmp_path / "broken.png", tmp_path / "none.png", images[1], "--json"
    )
    assert outcome.code == 1
    assert len(json.loads(outcome.out)["images"]) == 2
    assert "broken.png" in outcome.err
    assert "none.png: the file is missing" in outcome.err


def test_without_images_or_model(deepchest, predict, tmp_path, images):
    assert predict().code == 2
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty").code == 2
    missing = deepchest("predict", images[0], "--model", tmp_path / "none")
    assert missing.code == 2
    assert "deepchest train" in missing.err
