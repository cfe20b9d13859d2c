import numpy as np
import pytest
from PIL import Image

from deepchest_cli.data.radiograph import Opened, open_image
from deepchest_cli.prediction.input_checks import check_image, check_tags

GRAY = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)


def codes(opened, pixels=GRAY, size=32):
    return [warning.code for warning in check_image(opened, pixels, size)]


def opened(pixels=GRAY, **more):
    return Opened(Image.fromarray(pixels), **more)


def test_a_usual_radiograph_has_no_warning():
    tags = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    assert codes(opened(tags=tags)) == []


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (np.zeros((40, 81), np.uint8), "unusual-aspect-ratio"),
        (np.zeros((81, 40), np.uint8), "unusual-aspect-ratio"),
        (np.zeros((31, 40), np.uint8), "small"),
    ],
)
def test_shape(pixels, code):
    assert codes(opened(pixels)) == [code]


def test_near_constant():
    assert codes(opened(), (GRAY // 32 + 100).astype(np.uint8)) == ["blank-image"]


def test_several_images_in_one_file(tmp_path):
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert codes(open_image((tmp_path / "a.tif").read_bytes())) == ["multi-frame"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_color_is_told_from_gray_in_a_color_mode(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    tinted = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=-1)
    for pixels, expected in ((tinted, ["color-image"]), (np.stack([GRAY] * 3, axis=-1), [])):
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"a.{suffix}")
        assert codes(open_image((tmp_path / f"a.{suffix}").read_bytes())) == expected


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Modality": "CT"}, "modality"),
        ({"BodyPartExamined": "HAND"}, "body-part"),
        ({"ViewPosition": "LL"}, "view"),
        ({"SeriesDescription": "Chest lateral"}, "view"),
        ({"ProtocolName": "CHEST,LAT"}, "view"),
    ],
)
def test_tags_that_speak_against_a_frontal_chest(tags, code):
    assert [warning.code for warning in check_tags(tags)] == [code]


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"Modality": "CR", "BodyPartExamined": "PORT CHEST", "ViewPosition": "AP_SUPINE"},
        {"SeriesDescription": "CHEST PA AND LATERAL PA"},
        {"ViewPosition": "PA", "SeriesDescription": "lateral"},
    ],
)
def test_tags_that_do_not(tags):
    assert check_tags(tags) == []
