"""Exported files answer as their checkpoint does: every family, any batch, without this package."""

import subprocess
import sys
from functools import partial

import numpy as np
import onnx
import pytest
import torch
import torchvision
from prediction_models import CPU, chest_like, make_model
from torch import nn
from torchvision.models import (
    VGG,
    DenseNet,
    EfficientNet,
    MobileNetV2,
    ResNet,
    SwinTransformer,
    VisionTransformer,
)
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.inception import (
    BasicConv2d,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
)
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from deepchest_cli import load_model
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.prediction.export import export_model, exporting
from deepchest_cli.prediction.onnx_network import open_onnx
from deepchest_cli.prediction.torch_network import open_checkpoint


def small_vgg():
    network = VGG(make_layers([8, "M", 16, "M"]), init_weights=False)
    network.classifier = nn.Sequential(
        nn.Linear(16 * 49, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 9)
    )
    return network


def small_inception():
    blocks = InceptionA(8, 4), InceptionB(228), InceptionC(708, 8), InceptionD(768)
    stem, pool = BasicConv2d(3, 8, kernel_size=3, stride=2), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(stem, *blocks, pool, nn.Flatten(), nn.Dropout(), nn.Linear(1280, 9))


MBCONV = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
# the smallest network of each family: all its operations, few of its layers
SMALL = {
    "vgg16": small_vgg,
    "inception_v3": small_inception,
    "resnet50": lambda: ResNet(BasicBlock, [1, 1, 1, 1]),
    "efficientnet_b0": lambda: EfficientNet([MBCONV(4, 3, 2, 8, 16, num_layers=2)], 0.2),
    "densenet121": lambda: DenseNet(8, (1, 1), 16),
    "mobilenet_v2": lambda: MobileNetV2(inverted_residual_setting=[[2, 16, 2, 2]]),
    "vit_b_16": lambda: VisionTransformer(32, 16, 1, 2, 32, 64),
    "swin_b": lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 4], [7, 7]),
}


@pytest.fixture
def small_families(monkeypatch):
    """Let every backbone be the smallest of its family."""
    whole = torchvision.models.get_model
    monkeypatch.setattr(
        torchvision.models,
        "get_model",
        lambda name, **settings: SMALL[name]() if name in SMALL else whole(name, **settings),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model that shrinks what is stored, and its ONNX file."""
    folder = make_model(tmp_path_factory.mktemp("exported") / "run", stored_size=48)
    return folder, export_model(folder, "onnx", None, False).path


@pytest.mark.parametrize("backbone", ["small_cnn", *SMALL])
def test_every_family_agrees_as_onnx(small_families, tmp_path, backbone):
    size = 80 if backbone == "inception_v3" else 32
    settings = {"backbone": backbone, "stored_size": size, "image_size": size}
    folder = make_model(tmp_path / "run", known=False, **settings)
    path = export_model(folder, "onnx", None, False).path
    images = chest_like(5, size, seed=4)
    wanted = open_checkpoint(folder, CPU, 5)(images)
    assert np.ptp(wanted.logits, axis=0).max() > 1e-3  # else agreement would say nothing
    for batch_size in (1, 5):
        network = open_onnx(path, "cpu", batch_size)
        logits = [network(images[at : at + batch_size]).logits for at in range(0, 5, batch_size)]
        assert np.abs(np.concatenate(logits) - wanted.logits).max() < 1e-4


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


def test_answers_of_the_onnx_file_are_those_of_the_checkpoint(exported, write):
    folder, path = exported
    paths = [write(f"{i}.png", image) for i, image in enumerate(chest_like(5, 60, seed=3))]
    paths.append(write("seen.png", 255 - chest_like(1, 60)[0]))
    answers = [load_model(one, device="cpu").predict(paths) for one in (folder, path)]
    for one, other in zip(*answers, strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-5)
        assert other.thresholds == pytest.approx(one.thresholds, nan_ok=True)
        assert other.distance == pytest.approx(one.distance, rel=1e-3)
        assert [o.code for o in other.oddities] == [o.code for o in one.oddities]
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
    later = text.replace('"format_version": 1', '"format_version": 9')
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
    from deepchest_cli.prediction.export.module import _resizing

    images = torch.from_numpy(chest_like(2, 48))
    matrix = _resizing(48, 33)
    product = matrix @ (images.float() / 255) @ matrix.T
    assert torch.allclose(product, to_gray(images, 33)[:, 0], atol=1e-6)
