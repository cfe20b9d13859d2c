"""Exported files predict as their checkpoint does: at any batch, and without this package."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from prediction_models import CPU, chest_like, make_model
from small_families import check_family

from deepchest_cli import load_model
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.prediction import export as exporting
from deepchest_cli.prediction.export import export_model
from deepchest_cli.prediction.torch_network import open_checkpoint


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model that shrinks what is stored, and its ONNX file."""
    folder = make_model(tmp_path_factory.mktemp("exported") / "run", stored_size=48)
    return folder, export_model(folder, "onnx", None, False).path


@pytest.mark.parametrize("backbone", ["resnet50", "vit_b_16"])
def test_families_agree_as_onnx(tmp_path, backbone):
    check_family(backbone, tmp_path)


def test_the_file_says_what_it_is(exported):
    _, path = exported
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [one.name for one in model.graph.input] == ["images"]
    assert [one.name for one in model.graph.output] == ["features", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    text = {entry.key: entry.value for entry in model.metadata_props}["deepchest"]
    for part in ("Hernia", "youden", '"slope"', "bilinear", '"mean"', "sha256"):
        assert part in text


def test_predictions_of_the_onnx_file_are_those_of_the_checkpoint(exported, write):
    folder, path = exported
    paths = [write(f"{i}.png", image) for i, image in enumerate(chest_like(5, 60, seed=3))]
    paths.append(write("seen.png", 255 - chest_like(1, 60)[0]))
    answers = [load_model(one, device="cpu").predict(paths) for one in (folder, path)]
    for one, other in zip(*answers, strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-5)
        assert other.thresholds == pytest.approx(one.thresholds, nan_ok=True)
        assert other.feature_distance == pytest.approx(one.feature_distance, rel=1e-3)
        assert [o.code for o in other.warnings] == [o.code for o in one.warnings]
        assert other.calibrated == one.calibrated


def test_onnx_files_are_read_without_torch(exported, write):
    code = (
        "import sys; from deepchest_cli.app import main\n"
        "try: main()\n"
        "finally: print({'torch', 'torchvision', 'sklearn', 'pandas'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code, "predict", "--model", exported[1], write("a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Hernia" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_torch_file_needs_torch_alone(tmp_path):
    folder = make_model(tmp_path / "run", stored_size=48)
    path = export_model(folder, "torch", None, False).path
    images = chest_like(3, 48, seed=4)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, torch, numpy as np\n"
        "sys.modules['deepchest_cli'] = None\n"  # an import of it would fail
        "extra = {'deepchest.json': ''}\n"
        f"program = torch.export.load({str(path)!r}, extra_files=extra).module()\n"
        f"images = torch.from_numpy(np.load({str(tmp_path / 'images.npy')!r}))\n"
        f"np.save({str(tmp_path / 'logits.npy')!r}, program(images)[1].detach().numpy())\n"
        "assert 'Hernia' in extra['deepchest.json']"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
    wanted = open_checkpoint(folder, CPU, 3)(images).logits
    assert np.abs(np.load(tmp_path / "logits.npy") - wanted).max() < 1e-4


def test_a_file_that_differs_from_its_checkpoint_is_not_kept(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "run", known=False)
    monkeypatch.setitem(exporting.WRITERS, "onnx", lambda model, path: path.touch())
    monkeypatch.setitem(exporting.READERS, "onnx", lambda path: lambda images: np.zeros((3, 3)))
    with pytest.raises(DeepChestError, match="differ from the checkpoint's"):
        export_model(folder, "onnx", None, False)
    assert [path.name for path in folder.iterdir()] == ["best.pt"]


def test_nothing_is_overwritten_unasked(exported, tmp_path):
    folder, path = exported
    with pytest.raises(UsageError, match="exists already"):
        export_model(folder, "onnx", path, False)
    with pytest.raises(UsageError, match="ends in .onnx"):
        export_model(folder, "onnx", tmp_path / "model.bin", False)


def test_foreign_and_damaged_models(exported, tmp_path):
    _, path = exported
    foreign = onnx.load(path)
    text = foreign.metadata_props[0].value
    del foreign.metadata_props[:]
    cases = {"cut.onnx": path.read_bytes()[:5000], "words.onnx": b"no model"}
    cases["foreign.onnx"] = foreign.SerializeToString()
    later = text.replace('"format_version": 2', '"format_version": 9')
    foreign.metadata_props.add(key="deepchest", value=later)
    cases["later.onnx"] = foreign.SerializeToString()
    foreign.metadata_props[0].value = "{"
    cases["broken.onnx"] = foreign.SerializeToString()
    words = {
        "cut.onnx": "damaged or cut short",
        "words.onnx": "damaged or cut short",
        "foreign.onnx": "another program wrote it",
        "later.onnx": "format version 9",
        "broken.onnx": "is damaged",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DeepChestError, match=words[name]):
            load_model(tmp_path / name)
    with pytest.raises(UsageError, match="no model"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="for other programs"):
        load_model(tmp_path / "model.pt2")
    with pytest.raises(UsageError, match="onnxruntime computes on"):
        load_model(path, device="mps")


def test_resizing_in_the_graph_is_that_of_the_checkpoint():
    from deepchest_cli.data.augmentation import to_gray
    from deepchest_cli.prediction.export import _resizing

    images = torch.from_numpy(chest_like(2, 48))
    matrix = _resizing(48, 33)
    product = matrix @ (images.float() / 255) @ matrix.T
    assert torch.allclose(product, to_gray(images, 33)[:, 0], atol=1e-6)
