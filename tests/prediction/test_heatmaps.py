import numpy as np
import pytest
from PIL import Image
from prediction_models import chest_like, make_model

from deepchest_cli import load_model
from deepchest_cli.errors import UsageError
from deepchest_cli.prediction.heatmaps import (
    CAUTION,
    HeatMaps,
    blend,
    draw_beside,
    outlined,
    strength,
)


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


GRAY = Image.fromarray(np.full((200, 300), 90, np.uint8))
PEAK = np.exp(-((np.mgrid[:200, :300][0] - 100) ** 2 + (np.mgrid[:200, :300][1] - 150) ** 2) / 800)


def map_of(sheet):
    return np.asarray(sheet)[:200, 307:607].astype(int)


def colored(pixels):
    """Return how far the most colored pixel that is not white is from gray."""
    return int(np.ptp(pixels, axis=-1).max())


def test_a_low_probability_does_not_glow():
    low, high = (colored(map_of(draw_beside(GRAY, PEAK, ["x"], strength(p)))) for p in (0.02, 0.98))
    assert 0 < low < 0.2 * high
    assert strength(0.0) == 0 and strength(1.0) == 1


def test_the_mark_of_the_scale_stands_at_the_strength():
    for most in (0.25, 1.0):
        foot = np.asarray(draw_beside(GRAY, PEAK, ["x"], most).convert("L"))[200:]
        bar = foot[8:22, 7:119]  # 14 px of type: the bar is 8 times as long
        assert abs(int(np.argmin(bar.mean(axis=0))) - most * 111) <= 2


def test_the_outline_is_where_the_map_is_half_as_high():
    drawn = outlined(np.zeros((200, 300, 3), np.uint8), PEAK)
    edge = PEAK[drawn[..., 0] == 255]
    assert len(edge) > 100
    assert np.abs(edge - 0.5).max() < 0.05
    assert not outlined(np.zeros((200, 300, 3), np.uint8), np.zeros((200, 300))).any()


def test_a_map_that_is_too_coarse_says_so_across_itself():
    """A small image has no room for that: its legend says it."""
    caution = "Maps of 2 by 2 cells are too coarse to locate a finding."
    plain, said = (draw_beside(GRAY, PEAK, ["x"], 1.0, text) for text in ("", caution))
    assert plain.size == said.size
    assert (map_of(said)[-20:] == 0).all(axis=-1).mean() > 0.4
    assert (map_of(said)[:100] == map_of(plain)[:100]).all()
    small, zero = Image.fromarray(np.zeros((40, 40), np.uint8)), np.zeros((40, 40))
    low, high = (draw_beside(small, zero, ["x"], 1.0, text) for text in ("", caution))
    assert high.height > low.height
    red = tuple(int(CAUTION[place : place + 2], 16) for place in (1, 3, 5))
    assert (np.asarray(high) == red).all(axis=-1).any()


def test_coarse_cells_stay_cells(tmp_path, write, model_folder):
    """Between a few cells no smooth transition is made up, and the file says that they are few."""
    model = load_model(model_folder, device="cpu", threshold="0")
    maps = HeatMaps(model.predictor, tmp_path / "maps", ("Mass",), False)
    image = Image.fromarray(chest_like(1, 300, seed=2)[0])
    coarse = maps.layer.cells[0] < 5
    assert bool(maps.caution) == coarse
    within = maps._maps(image, ("Mass",))[0][0]
    few = len(np.unique(within)) <= maps.layer.cells[0] ** 2
    assert few == coarse
