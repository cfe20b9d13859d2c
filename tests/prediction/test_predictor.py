"""Predictions: what they rest on, and that neither neighbors nor formats change them."""

import hashlib
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from dicom_files import dicom
from PIL import Image
from prediction_models import FINDINGS, chest_like, make_model

from deepchest_cli import load_model
from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import plan_preparation
from deepchest_cli.errors import UsageError
from deepchest_cli.model.checkpoint import load_model as load_checkpoint
from deepchest_cli.prediction.image_prediction import calibration_of
from deepchest_cli.prediction.model_metadata import ModelMetadata
from deepchest_cli.prediction.torch_network import metadata_of

UNREADABLE = {
    "empty.png": (b"", "0 bytes"),
    "words.png": (b"no image at all", "cannot identify"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}


def values(predictions):
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def codes(prediction):
    return [warning.code for warning in prediction.warnings]


@pytest.fixture
def paths(write):
    return [write(f"{i}.png", image) for i, image in enumerate(chest_like(7, 40, seed=9))]


def test_a_prediction_says_what_it_rests_on(model, paths):
    prediction, *_ = model.predict(paths)
    assert prediction.path == str(paths[0])
    assert prediction.sha256 == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert (prediction.width, prediction.height) == (40, 40)
    assert tuple(prediction.probabilities) == FINDINGS
    assert prediction.calibrated == FINDINGS[:2]
    assert prediction.threshold_source == "youden on 150 validation images, kept in the model"
    assert np.isnan(prediction.thresholds["Edema"])
    assert prediction.models == (model.predictor.networks[0].metadata.identity["sha256"],)
    assert prediction.feature_distance["value"] > 0
    assert prediction.feature_distance["false_warning_rate"] == pytest.approx(0.02)


def test_calibration_is_applied_to_probabilities_and_thresholds_alike(model, tmp_path, paths):
    bare = load_model(make_model(tmp_path / "bare", known=False), device="cpu").predict(paths)
    found = model.predict(paths)
    raw, shown = values(bare), values(found)
    logits = np.log(raw / (1 - raw))
    expected = 1 / (1 + np.exp(-(0.8 * logits[:, :2] - 0.5)))
    assert np.allclose(shown[:, :2], expected, atol=1e-9)
    assert np.array_equal(shown[:, 2], raw[:, 2])
    for one, row in zip(found, raw, strict=True):
        assert ("Mass" in one.flagged) == (row[0] >= 0.4)
        assert ("Hernia" in one.flagged) == (row[1] >= 0.5)
        assert "Edema" not in one.flagged
    assert bare[0].calibrated == ()
    assert bare[0].flagged == []
    assert bare[0].feature_distance is None


@pytest.mark.parametrize("threshold", ["0", "1", "0.37", "sensitivity_90"])
def test_thresholds(model_folder, paths, threshold):
    predictions = load_model(model_folder, device="cpu", threshold=threshold).predict(paths)
    for prediction in predictions:
        expected = [
            name for name, p in prediction.probabilities.items() if p >= prediction.thresholds[name]
        ]
        assert prediction.flagged == expected
    if threshold in ("0", "1"):
        assert len(predictions[0].flagged) == (3 if threshold == "0" else 0)


@pytest.mark.parametrize("threshold", ["2", "-0.1", "nan", "best"])
def test_other_thresholds_are_refused(model_folder, threshold):
    with pytest.raises(UsageError, match="--threshold"):
        load_model(model_folder, device="cpu", threshold=threshold)


def test_order_and_repetition_do_not_change_a_bit(model, paths):
    whole = values(model.predict(paths))
    order = [3, 1, 1, 6, 0, 2, 5, 4, 3]
    assert np.array_equal(values(model.predict([paths[i] for i in order])), whole[order])
    assert np.array_equal(values(model.predict(paths[4])), whole[4:5])


def test_a_bad_file_among_others_does_not_change_a_bit(model, paths, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = model.predict([paths[0], tmp_path / "bad.png", *paths[1:]])
    assert [bool(prediction.problem) for prediction in found] == [False, True] + [False] * 6
    good = [prediction for prediction in found if not prediction.problem]
    assert np.array_equal(values(good), values(model.predict(paths)))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_sizes_agree(model_folder, model, paths, batch_size):
    other = load_model(model_folder, device="cpu", batch_size=batch_size)
    assert np.abs(values(other.predict(paths)) - values(model.predict(paths))).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "settings"),
    [("a.tif", {}), ("a.webp", {"lossless": True}), ("a.bin", {"format": "PNG"}), ("a.bmp", {})],
)
def test_formats_of_the_same_pixels_agree(model, write, name, settings):
    expected = values(model.predict(write("a.png")))
    assert np.array_equal(values(model.predict(write(name, **settings))), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "F"])
def test_modes_of_the_same_pixels_agree(model, write, mode, tmp_path):
    gray = chest_like(1, 48, seed=5)[0]
    gray[0, 0] = 255  # so that 16 bits are used to the end
    expected = values(model.predict(write("a.png", gray)))
    deep = {"I;16": gray.astype(np.uint16) * 257, "F": (gray / np.float32(255))}
    picture = Image.fromarray(deep.get(mode, gray))
    path = tmp_path / ("b.tif" if mode == "F" else "b.png")
    (picture if mode in deep else picture.convert(mode)).save(path)
    assert np.array_equal(values(model.predict(path)), expected)


def test_orientation_in_exif_is_followed(model, write):
    gray = chest_like(1, 48, seed=5)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    turned = write("b.png", np.rot90(gray).copy(), exif=exif)
    expected = values(model.predict(write("a.png", gray)))
    assert np.array_equal(values(model.predict(turned)), expected)


def write_dicom(path, pixels, **tags):
    path.write_bytes(dicom(pixels, 8, **tags))
    return path


def test_a_dicom_file_and_the_png_made_from_it_agree(model, write, tmp_path):
    gray = chest_like(1, 48, seed=5)[0]
    dicom = write_dicom(tmp_path / "a.dcm", gray, Modality="DX", ViewPosition="PA")
    prediction, other = model.predict([dicom, write("a.png", gray)])
    assert prediction.probabilities == other.probabilities
    assert codes(prediction) == codes(other)


def test_a_dicom_file_without_its_beginning_is_read(model, tmp_path):
    gray = chest_like(1, 48, seed=5)[0]
    whole = write_dicom(tmp_path / "a.dcm", gray)
    (tmp_path / "bare").write_bytes(whole.read_bytes()[132:])
    prediction, other = model.predict([whole, tmp_path / "bare"])
    assert other.problem == ""
    assert prediction.probabilities == other.probabilities


def test_what_dicom_says_against_a_frontal_chest_is_warned_of(model, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        chest_like(1)[0],
        Modality="MR",
        BodyPartExamined="HAND",
        ViewPosition="LL",
    )
    assert {"modality", "body-part", "view"} <= set(codes(model.predict(path)[0]))


def test_a_dicom_file_that_yields_no_image_says_why(model, tmp_path):
    gray = chest_like(2)[:, :, :]
    several = write_dicom(tmp_path / "several.dcm", gray[0], NumberOfFrames=2)
    none = pydicom.dcmread(several)
    del none.PixelData, none.NumberOfFrames
    none.save_as(tmp_path / "none.dcm")
    packed = pydicom.dcmread(several)
    del packed.NumberOfFrames
    packed.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    packed.PixelData = pydicom.encaps.encapsulate([bytes(64)])
    packed["PixelData"].VR = "OB"
    packed.save_as(tmp_path / "packed.dcm")
    problems = [
        prediction.problem
        for prediction in model.predict(
            tmp_path / f"{n}.dcm" for n in ("several", "none", "packed")
        )
    ]
    assert "2 frames" in problems[0]
    assert "without pixels" in problems[1]
    assert "MPEG2" in problems[2]
    assert "uncompressed" in problems[2]


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_say_why(model, tmp_path, name):
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    (prediction,) = model.predict(tmp_path / name)
    assert reason in prediction.problem
    assert prediction.probabilities == {}


def test_other_unreadable_files_say_why(model, write, tmp_path):
    whole = write("whole.png", np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8))
    data = whole.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:900])
    (tmp_path / "hole.png").write_bytes(data[:900] + bytes(64) + data[964:])
    flat = write("flat.png", np.full((40, 40), 7, np.uint8))
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    given = [tmp_path / "cut.png", flat, bomb, tmp_path / "none.png", tmp_path / "hole.png"]
    problems = [prediction.problem for prediction in model.predict(given)]
    assert "truncated" in problems[0]
    assert problems[1] == "all pixels have one value (7)"
    assert "decompression bomb" in problems[2] or "too many" in problems[2]
    assert problems[3] == "the file is missing"
    assert "the checksum of its chunk 'IDAT'" in problems[4]
    assert model.predict("/dev/zero")[0].problem == "not a file"


def test_images_that_are_no_radiographs_are_warned_of(model, write):
    gray = chest_like(1, 48, seed=5)[0]
    chance = np.random.default_rng(0)
    assert codes(model.predict(write("a.png", gray))[0]) == []
    inverted, noise, turned, tinted = model.predict(
        [
            write("inverted.png", 255 - gray),
            write("noise.png", chance.integers(0, 256, (48, 48), dtype=np.uint8)),
            write("turned.png", np.rot90(gray).copy()),
            write("tinted.png", np.stack([gray, gray // 2, gray // 2], axis=-1)),
        ]
    )
    assert {"inverted", "atypical-features"} <= set(codes(inverted))
    assert "atypical-features" in codes(noise)
    assert "atypical-appearance" in codes(turned)
    assert "color-image" in codes(tinted)


def test_a_file_of_a_training_images_name_is_warned_of(model, write):
    assert codes(model.predict(write("seen.jpg"))[0]) == ["name-in-training-set"]


def test_padding_of_the_training_data_is_kept(tmp_path, write):
    gray = np.repeat(chest_like(1, 48, seed=5)[0], 2, axis=1)
    padded = np.zeros((96, 96), np.uint8)
    padded[24:72] = gray
    squashed = make_model(tmp_path / "squashed", known=False)
    pads = make_model(tmp_path / "pads", known=False, pad=True)
    wide, square = write("wide.png", gray), write("square.png", padded)
    one, other = load_model(pads, device="cpu").predict([wide, square])
    assert values([one]) == pytest.approx(values([other]), abs=1e-2)
    (third,) = load_model(squashed, device="cpu").predict(wide)
    assert abs(values([third]) - values([one])).max() > 1e-3


def test_padding_is_known_by_what_prepare_writes(tmp_path, nih_folder):
    """The other tests make up a model's settings; these are those of a prepared data set."""
    settings = {
        pad: plan_preparation(PrepareConfig(size="32", pad=pad), nih_folder).identity(32)[
            "settings"
        ]
        for pad in (False, True)
    }
    loaded = load_checkpoint(make_model(tmp_path / "m", known=False), torch.device("cpu"))
    for pad, found in settings.items():
        data_sets = [{**loaded.data_sets[0], "settings": found}]
        origin = {**loaded.origin, "data_sets": data_sets}
        assert metadata_of(replace(loaded, origin=origin)).preprocessing.pad is pad


def test_several_models_are_averaged_by_name_of_finding(tmp_path, model_folder, paths):
    other = make_model(
        tmp_path / "other", seed=1, findings=FINDINGS[::-1], stored_size=40, image_size=40
    )
    ensemble = load_model(model_folder, other, device="cpu").predict(paths)
    singles = [load_model(folder, device="cpu").predict(paths) for folder in (model_folder, other)]
    for mean, one, two in zip(ensemble, *singles, strict=True):
        for name in FINDINGS:
            expected = (one.probabilities[name] + two.probabilities[name]) / 2
            assert mean.probabilities[name] == pytest.approx(expected, abs=1e-12)
    assert len(ensemble[0].models) == 2
    assert "not chosen for them together" in ensemble[0].threshold_source


def test_models_of_other_findings_are_no_ensemble(tmp_path, model_folder):
    other = make_model(tmp_path / "other", known=False, findings=("Mass",))
    with pytest.raises(UsageError, match="other findings"):
        load_model(model_folder, other, device="cpu")


def test_views_are_averaged(model_folder, model, paths):
    found = load_model(model_folder, device="cpu", tta=True).predict(paths)
    difference = np.abs(values(found) - values(model.predict(paths)))
    assert 0 < difference.max() < 0.1


def test_a_stream_begins_before_its_files_end(model, paths):
    def endless():
        while True:
            yield paths[0]

    stream = model.stream(endless())
    assert next(stream).path == str(paths[0])
    stream.close()


def several(fit, **changes):
    """Return the fit of a model of two data sets, the second with other thresholds."""
    moved = {
        name: {**one, "operating_points": {k: v / 2 for k, v in one["operating_points"].items()}}
        for name, one in fit["findings"].items()
    }
    other = {**fit, "findings": moved, "images": 50, "carried_over": ["Hernia"], **changes}
    return {**fit, "data_sets": {"a": {**fit, "images": 100}, "b": other}}


def test_operating_points_are_those_of_the_named_data_set(tmp_path):
    loaded = load_checkpoint(make_model(tmp_path / "m"), torch.device("cpu"))
    metadata = replace(
        metadata_of(loaded),
        validation_fit=several(loaded.validation_fit),
        data_sets=("a", "b"),
    )
    again = ModelMetadata.from_json(metadata.to_json(), {}, "model.onnx")
    for one in (metadata, again):
        pooled, first, second = (
            calibration_of(one, "youden", data_set) for data_set in (None, "a", "b")
        )
        assert pooled.source == "youden on 150 validation images of a and b, kept in the model"
        assert first.source == "youden on 100 validation images of a, kept in the model"
        assert second.source == (
            "youden on 50 validation images of b (Hernia: of all data sets), kept in the model"
        )
        assert first.thresholds[0] == pooled.thresholds[0] > second.thresholds[0]
        with pytest.raises(UsageError, match="Unknown data set of training") as error:
            calibration_of(one, "youden", "c")
        assert "Known: a, b." in error.value.hint
        assert len(one.training_images) == 1


def test_the_data_set_of_a_model_of_one_is_named_too(tmp_path):
    metadata = metadata_of(load_checkpoint(make_model(tmp_path / "m"), torch.device("cpu")))
    plain, named = (calibration_of(metadata, "youden", name) for name in (None, "shards"))
    assert (plain.thresholds[0], "150 validation images of shards" in named.source) == (
        named.thresholds[0],
        True,
    )
    site = {**metadata.validation_fit, "site": {"name": "there"}}
    with pytest.raises(UsageError, match="has the operating points of there"):
        calibration_of(replace(metadata, validation_fit=site), "youden", "shards")
    with pytest.raises(UsageError, match="does not say what its data sets"):
        calibration_of(replace(metadata, data_sets=()), "youden", "shards")
