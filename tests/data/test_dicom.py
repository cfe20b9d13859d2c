import numpy as np
import pydicom
import pytest
from dicom_files import dicom
from PIL import Image
from tests_support import read_radiograph

from deepchest_cli.data.radiograph import decode, open_image
from deepchest_cli.errors import UnreadableRadiographError
from deepchest_cli.extras import install_hint

GRAY = np.linspace(0, 255, 40 * 30).reshape(40, 30).astype(np.uint8)


def write_dicom(path, pixels, bits=8, **tags):
    path.write_bytes(dicom(pixels.astype(np.uint8 if bits == 8 else np.uint16), bits, **tags))
    return path


def test_the_pixels_of_a_dicom_file_are_those_of_the_png_made_from_it(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    one = read_radiograph(write_dicom(tmp_path / "a.dcm", GRAY), 28)
    assert np.array_equal(one, read_radiograph(tmp_path / "a.png", 28))


def test_a_file_is_known_by_its_content(tmp_path):
    path = write_dicom(tmp_path / "a.png", GRAY)
    assert np.array_equal(np.asarray(decode(path.read_bytes())), GRAY)


@pytest.mark.parametrize(
    "tags", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
)
def test_inverted_pixels_are_turned(tmp_path, tags):
    path = write_dicom(tmp_path / "a.dcm", 255 - GRAY, **tags)
    assert np.array_equal(np.asarray(decode(path.read_bytes())), GRAY)


def test_twelve_bits_are_stretched_and_not_clipped(tmp_path):
    deep = np.rint(GRAY * (4095 / 255)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", deep, bits=12)
    assert np.abs(np.asarray(decode(path.read_bytes())).astype(int) - GRAY).max() <= 1


def test_modality_comes_before_the_window(tmp_path):
    stored = np.rint(GRAY * (1000 / 255)).astype(np.uint16)  # 0 to 1000, times 2 less 500
    path = write_dicom(
        tmp_path / "a.dcm", stored, bits=12, RescaleSlope=2, RescaleIntercept=-500,
        WindowCenter=500, WindowWidth=1000,
    )  # fmt: skip
    expected = np.clip((stored * 2.0 - 500) / 1000 * 255, 0, 255)
    assert np.abs(np.asarray(decode(path.read_bytes())) - expected).max() <= 2


def test_what_is_no_single_image_is_refused(tmp_path):
    frames = write_dicom(tmp_path / "a.dcm", np.stack([GRAY, GRAY]), NumberOfFrames=2)
    with pytest.raises(UnreadableRadiographError, match="2 frames"):
        decode(frames.read_bytes())
    dataset = pydicom.dcmread(write_dicom(tmp_path / "b.dcm", GRAY))
    del dataset.PixelData
    dataset.save_as(tmp_path / "c.dcm")
    with pytest.raises(UnreadableRadiographError, match="without pixels"):
        decode((tmp_path / "c.dcm").read_bytes())
    huge = pydicom.dcmread(tmp_path / "b.dcm")
    huge.Rows = huge.Columns = 60_000
    huge.save_as(tmp_path / "d.dcm")
    with pytest.raises(UnreadableRadiographError, match="60000 × 60000 pixels are too many"):
        decode((tmp_path / "d.dcm").read_bytes())


def test_a_damaged_file_is_unreadable_and_not_a_crash(tmp_path):
    data = write_dicom(tmp_path / "a.dcm", GRAY).read_bytes()
    for end in (140, 200, 400, len(data) - 100):
        with pytest.raises(UnreadableRadiographError):
            decode(data[:end])


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    data = write_dicom(tmp_path / "a.dcm", GRAY).read_bytes()
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(UnreadableRadiographError) as error:
        decode(data)
    assert error.value.message == f"reading DICOM needs pydicom: {install_hint('dicom')}"


def test_padding_is_black_and_stretches_nothing(tmp_path):
    deep = np.rint(GRAY * (4000 / 255)).astype(np.int64) + 50
    padded = deep.copy()
    padded[:5] = 60_000
    path = write_dicom(tmp_path / "a.dcm", padded, bits=16, PixelPaddingValue=60_000)
    found = np.asarray(decode(path.read_bytes())).astype(int)
    expected = (deep - deep[5:].min()) / (deep[5:].max() - deep[5:].min()) * 255
    assert not found[:5].any()
    assert np.abs(found[5:] - expected[5:]).max() <= 1


def test_tags_that_are_there_and_empty_say_nothing(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GRAY, RescaleSlope="", RescaleIntercept="",
                       WindowCenter="", WindowWidth="")  # fmt: skip
    assert np.array_equal(np.asarray(decode(path.read_bytes())), GRAY)


def test_gray_in_three_channels_is_no_color(tmp_path):
    gray = np.stack([GRAY] * 3, axis=-1)
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    dataset = pydicom.dcmread(path)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration, dataset.PixelData = 0, gray.tobytes()
    dataset.save_as(path)
    opened = open_image(path.read_bytes())
    assert not opened.is_colorful and np.array_equal(np.asarray(opened.image), GRAY)
    dataset.PixelData = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=-1).tobytes()
    dataset.save_as(path)
    assert open_image(path.read_bytes()).is_colorful
