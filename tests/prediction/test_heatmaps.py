import numpy as np
import pytest
from PIL import Image
from prediction_models import chest_like, make_model

from deepchest_cli import load_model
from deepchest_cli.errors import UsageError
from deepchest_cli.prediction.heatmaps import HeatMaps, blend


def draw(model, folder, path, findings=("Mass",), force=False):
    maps = HeatMaps(model.predictor, folder, findings, force)
    return maps.draw(model.predict(path)[0])


@pytest.mark.parametrize("backbone", ["small_cnn", "resnet18"])
def test_the_original_stands_untouched_beside_its_map(tmp_path, write, backbone):
    folder = make_model(tmp_path / "model", backbone=backbone, stored_size=64, image_size=64)
    gray = chest_like(1, 300, seed=2)[0][:200]
    paths = draw(load_model(folder, device="cpu"), tmp_path / "maps", write("a.png", gray))
    sheet = np.asarray(Image.open(paths["Mass"]))
    original = sheet[:200, :300]
    assert np.array_equal(original, np.stack([gray] * 3, axis=-1))
    beside = sheet[:200, 307:607]
    assert sheet.shape[0] > 200
    assert (np.ptp(beside.astype(int), axis=-1) > 20).any()  # color


def test_only_flagged_findings_are_drawn_unless_named(tmp_path, write, model_folder):
    path = write("a.png")
    everything = load_model(model_folder, device="cpu", threshold="0")
    assert set(draw(everything, tmp_path / "all", path, ())) == set(everything.findings)
    nothing = load_model(model_folder, device="cpu", threshold="1")
    assert draw(nothing, tmp_path / "none", path, ()) == {}
    assert list((tmp_path / "none").iterdir()) == []


def test_images_of_one_name_do_not_collide(tmp_path, write, model):
    paths = [write(f"{n}/odd name\n.png", image) for n, image in enumerate(chest_like(2, 48))]
    maps = HeatMaps(model.predictor, tmp_path / "maps", ("Mass",), False)
    drawn = [maps.draw(one)["Mass"] for one in model.predict(paths)]
    assert len(set(drawn)) == 2
    assert all("\n" not in name for name in drawn)


def test_what_is_there_is_replaced_only_with_force(tmp_path, write, model):
    draw(model, tmp_path / "maps", write("a.png"))
    with pytest.raises(UsageError, match="is not empty"):
        draw(model, tmp_path / "maps", write("a.png"))
    assert draw(model, tmp_path / "maps", write("a.png"), force=True)


def test_refusals_come_before_any_image(tmp_path, model, model_folder):
    with pytest.raises(UsageError, match="Did you mean 'Mass'"):
        HeatMaps(model.predictor, tmp_path / "maps", ("mass",), False)
    two = load_model(model_folder, model_folder, device="cpu")
    with pytest.raises(UsageError, match="one checkpoint"):
        HeatMaps(two.predictor, tmp_path / "maps", ("Mass",), False)
    bare = load_model(make_model(tmp_path / "bare", known=False), device="cpu")
    with pytest.raises(UsageError, match="nothing is"):
        HeatMaps(bare.predictor, tmp_path / "maps", (), False)
    assert not (tmp_path / "maps").exists()


def test_where_the_map_is_zero_the_radiograph_is_seen():
    gray = chest_like(1)[0]
    assert np.array_equal(blend(gray, np.zeros(gray.shape)), np.stack([gray] * 3, axis=-1))
