"""Every family of backbones agrees as ONNX and as a torch file, and has heat maps."""

import pytest
from PIL import Image
from prediction_models import chest_like
from small_families import SMALL, check_export, check_family
from timm_folders import SMALL as SMALL_OF_TIMM
from timm_folders import write_folder

from deepchest_cli import load_model
from deepchest_cli.prediction.export import export_model
from deepchest_cli.prediction.heatmaps import HeatMaps

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {"hidden_size": 32, "image_size": 112, "patch_size": 14, **LAYERS}
TRANSFORMERS = {  # configurations of small networks
    "Dinov2": VIT,  # whose positions are resampled, from 112 px to 56
    "Dinov2WithRegisters": VIT,
    "DINOv3ViT": VIT,
    "ViT": VIT,
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("backbone", ["small_cnn", *SMALL])
def test_every_family_agrees_as_onnx(tmp_path, backbone):
    check_family(backbone, tmp_path)


@pytest.mark.parametrize("name", SMALL_OF_TIMM)
def test_networks_of_timm_leave_the_package(tmp_path, name):
    pytest.importorskip("timm")
    backbone = write_folder(tmp_path / "hub", name)
    check_all(tmp_path, backbone, 2 * SMALL_OF_TIMM[name][1], settled=False)


@pytest.mark.parametrize("pool", ["auto", "mean"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_networks_of_transformers_leave_the_package(tmp_path, name, pool):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(**TRANSFORMERS[name])
    config.save_pretrained(tmp_path / "config")
    size = 64 if name == "ConvNext" else 56
    check_all(tmp_path, f"hf/{tmp_path / 'config'}", size, settled=False, pool=pool)


def check_all(folder, backbone, size, **settings):
    run = check_export(folder, backbone, size, **settings)
    assert export_model(run, "torch", None, False).difference < 1e-4
    Image.fromarray(chest_like(1, 80)[0]).save(folder / "image.png")
    model = load_model(run, device="cpu")
    maps = HeatMaps(model.predictor, folder / "maps", ("Mass",), False)
    assert maps.draw(model.predict(folder / "image.png")[0])
