"""Features in files are those of the model, row by row, and a file stands whole or not at all."""

import hashlib
import json
import subprocess
import sys
from importlib import util

import numpy as np
import pandas as pd
import pytest
from prediction_models import CPU, chest_like
from waiting import LIMIT

from deepchest_cli import load_model
from deepchest_cli.errors import UnreadableRadiographError, UsageError
from deepchest_cli.prediction import embeddings
from deepchest_cli.prediction.embeddings import embeddings_file
from deepchest_cli.prediction.torch_network import open_checkpoint


@pytest.fixture
def paths(write):
    return [write(f"{i}.png", image) for i, image in enumerate(chest_like(7, 32, seed=9))]


@pytest.fixture
def features(model_folder):
    """What the network returns for the stored pixels of `paths`, which are their own."""
    return open_checkpoint(model_folder, CPU, 4)(chest_like(7, 32, seed=9)[:4]).features


def columns_of(path):
    """Return the columns of a file, read as the documents say."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return {name: table[name] for name in table} | {"features": np.stack(table["features"])}
    return dict(np.load(path))


@pytest.fixture(params=[".npz", ".parquet"])
def file(request, tmp_path):
    return tmp_path / "new" / f"features{request.param}"


def test_rows_are_the_images_and_name_the_model(
    deepchest, model_folder, model, paths, features, file, tmp_path, monkeypatch
):
    monkeypatch.setattr(embeddings, "ROW_GROUP", 3)
    (tmp_path / "broken.png").write_text("no image")
    given = [*paths[:2], tmp_path / "broken.png", *paths[2:]]
    outcome = deepchest("predict", "--model", model_folder, *given, "--embeddings", file, "--json")
    assert outcome.code == 1
    assert "Embeddings of 7 images, without 1 unreadable file:" in outcome.err
    assert "broken.png: cannot identify it as an image" in outcome.err
    document = json.loads(outcome.out)
    assert "features" not in document["images"][0]
    found = columns_of(file)
    assert [*found["path"]] == [str(path) for path in paths]
    assert [*found["sha256"]] == [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]
    assert found["features"].shape == (7, 512)
    assert found["features"].dtype == np.float32
    assert np.array_equal(found["features"][:4], features)
    identity = document["model"]
    for name, value in {"model_sha256": "sha256", "backbone": "backbone"}.items():
        assert set(np.atleast_1d(found[name]).tolist()) == {identity[value]}
    assert set(np.atleast_1d(found["image_size"]).tolist()) == {identity["image_size"]}
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        assert pq.ParquetFile(file).num_row_groups == 3
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_embeddings_in_a_program_are_those_of_the_command(
    deepchest, model_folder, model, paths, file
):
    found = model.embed(paths)
    deepchest("predict", "--model", model_folder, *paths, "--embeddings", file)
    assert np.array_equal(columns_of(file)["features"], found)
    assert np.array_equal(model.embed(paths[2]), found[2:3])
    assert np.array_equal([one.features for one in model.stream(paths)], found)


def test_with_views_the_features_are_those_of_the_whole_image(model_folder, model, paths):
    views = load_model(model_folder, device="cpu", tta=True)
    assert np.array_equal(views.embed(paths), model.embed(paths))


def test_an_exported_model_embeds_as_its_checkpoint(tmp_path, model_folder, model, paths):
    pytest.importorskip("onnxruntime")
    from deepchest_cli.prediction.export import export_model

    exported = export_model(model_folder, "onnx", tmp_path / "m.onnx", False).path
    other = load_model(exported, device="cpu").embed(paths)
    np.testing.assert_allclose(other, model.embed(paths), atol=1e-4)


def test_an_unreadable_file_is_an_error_that_names_it(model, paths, tmp_path):
    with pytest.raises(UnreadableRadiographError, match="none.png: the file is missing"):
        model.embed([*paths, tmp_path / "none.png"])
    with pytest.raises(UsageError, match="no image"):
        model.embed([])


def test_models_without_a_common_space_are_refused(model_folder, paths, file):
    two = load_model(model_folder, model_folder, device="cpu")
    with pytest.raises(UsageError, match="2 models have no common feature space"):
        two.embed(paths)
    with pytest.raises(UsageError, match="2 models have no common feature space"):
        embeddings_file(file, two.predictor, False)
    assert two.predict(paths)[0].features is None


def test_a_file_that_cannot_be_written_is_refused_before_any_image(
    model, model_folder, deepchest, paths, tmp_path, monkeypatch
):
    (tmp_path / "there.npz").touch()
    (tmp_path / "folder.npz").mkdir()
    for name, said in {
        "f.csv": "does not end in .npz or .parquet",
        "there.npz": "exists already",
        "folder.npz": "is a folder",
    }.items():
        outcome = deepchest(
            "predict", "--model", model_folder, paths[0], "--embeddings", tmp_path / name
        )
        assert (outcome.code, outcome.out) == (2, "")
        assert said in outcome.err
    with embeddings_file(tmp_path / "there.npz", model.predictor, True) as keep:
        keep(model.predict(paths)[0])
    assert columns_of(tmp_path / "there.npz")["features"].shape == (1, 512)
    monkeypatch.setattr("deepchest_cli.files.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs pyarrow") as raised:
        embeddings_file(tmp_path / "f.parquet", model.predictor, False)
    assert "pip install" in raised.value.hint
    assert util.find_spec("pyarrow")


def test_what_ends_early_leaves_the_file_that_was_there(model, paths, file):
    file.parent.mkdir()
    file.write_bytes(b"before")

    def fail():
        with embeddings_file(file, model.predictor, True) as keep:
            for one in model.predict(paths):
                keep(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert file.read_bytes() == b"before"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_without_a_readable_image_there_is_no_file(deepchest, model_folder, tmp_path, file):
    (tmp_path / "broken.png").write_text("no image")
    outcome = deepchest(
        "predict", "--model", model_folder, tmp_path / "broken.png", "--embeddings", file
    )
    assert outcome.code == 1
    assert "Embeddings" not in outcome.err
    assert not file.parent.exists()


def test_a_reader_of_the_answers_that_leaves_does_not_cut_the_file(tmp_path, model_folder, paths):
    command = (
        f"{sys.executable} -m deepchest_cli predict {' '.join(map(str, paths))} --device cpu "
        f"--model {model_folder} --format jsonl --embeddings {tmp_path / 'f.npz'} | true"
    )
    subprocess.run(["bash", "-c", command], check=True, timeout=LIMIT)
    assert columns_of(tmp_path / "f.npz")["features"].shape == (7, 512)


def test_names_of_files_that_are_no_text_are_spelled_out(model, file, paths):
    from dataclasses import replace

    with embeddings_file(file, model.predictor, False) as keep:
        keep(replace(model.predict(paths[0])[0], path="a\udcffb.png"))
    assert [*columns_of(file)["path"]] == ["a\\udcffb.png"]
