"""Pixel data of DICOM files: encodings, compressions, lengths, damage, missing decoders."""

import io
import warnings
import zlib

import numpy as np
import pytest
from dicom_files import compressed, dataset_of, dicom, replaced, saved
from PIL import Image

from deepchest_cli.data.dicom import is_dicom
from deepchest_cli.data.radiograph import decode, open_image
from deepchest_cli.errors import UnreadableRadiographError

CHANCE = np.random.default_rng(0)
SLOPE = np.add.outer(np.linspace(20, 120, 96), np.linspace(0, 100, 80))
EIGHT = (SLOPE + CHANCE.normal(0, 4, SLOPE.shape)).clip(0, 255).astype(np.uint8)
DEEP = EIGHT.astype(np.uint16) * 16
GOOD = np.asarray(decode(dicom(DEEP, 12)))
BASELINE, JPEG_LS, JPEG_2000, LOSSLESS = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 80, 90, 70))


def gray(data):
    return np.asarray(decode(data))


def packed(pixels, kind, **settings):
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, format=kind, **settings)
    return memory.getvalue()


def bare(implicit, little, start):
    """Return a data set without beginning and transfer syntax; `start` is its first element."""
    tag, vr, value = start
    made = dataset_of(DEEP if little else DEEP.byteswap(), 12)
    made.add_new(tag, vr, value)
    del made.file_meta
    return saved(made, implicit_vr=implicit, little_endian=little, enforce_file_format=False)


STARTS = {
    "character set": (0x00080005, "CS", "ISO_IR 100"),
    "image type": (0x00080008, "CS", ["ORIGINAL", "PRIMARY", "", "RADIOGRAPH", "", "CHEST"]),
    "class": (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.1"),
    "date": (0x00080012, "DA", "20200101"),
    "long": (0x00080001, "UL", 4000),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("encoding", [(True, True), (False, True), (False, False)])
def test_a_file_without_beginning_is_read_in_the_encoding_it_has(start, encoding):
    data = bare(*encoding, STARTS[start])
    assert is_dicom(data[:160])
    assert np.array_equal(gray(data), GOOD)


def test_a_beginning_without_transfer_syntax_is_enough():
    data = bytes(128) + b"DICM" + bare(True, True, STARTS["date"])
    assert np.array_equal(gray(data), GOOD)


def test_big_endian_and_deflated_files_are_read():
    big = dataset_of(DEEP.byteswap(), 12)
    big.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    assert np.array_equal(gray(saved(big)), GOOD)
    deflated = dataset_of(DEEP, 12)
    deflated.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    assert np.array_equal(gray(saved(deflated)), GOOD)


OTHERS = {
    "text": b"\x08\0 words that begin with a backspace and go on for a while, as text does" * 3,
    "numbers": np.arange(8, 200, dtype="<u2").tobytes(),
    "group 8 and noise": b"\x08\0\x05\0CS\n\0ISO_IR 100" + bytes(range(60, 160)),
    "zeros": bytes(160),
    "a table": b"path,finding\n1.dcm,Mass\n" * 9,
    "packed": zlib.compress(bytes(range(256))),
    "PNG": packed(EIGHT, "PNG"),
    "TIFF": packed(EIGHT, "TIFF"),
    "too short": b"\x08\0\x05\0",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_not_taken_for_dicom(name):
    assert not is_dicom(OTHERS[name][:160])


def test_baseline_jpeg_is_what_pillow_reads_and_a_hole_in_it_is_refused():
    large = np.tile(EIGHT, (3, 3))
    frame = packed(large, "JPEG", quality=92)
    expected = np.asarray(Image.open(io.BytesIO(frame)))
    assert np.array_equal(gray(compressed(large, 8, frame, BASELINE)), expected)
    for start in range(700, len(frame) - 2100, 1999):
        spoilt = frame[:start] + bytes(2048) + frame[start + 2048 :]
        with pytest.raises(UnreadableRadiographError, match="damaged"):
            decode(compressed(large, 8, spoilt, BASELINE))


def test_bytes_between_markers_do_not_end_the_process():
    frame = packed(EIGHT, "JPEG")
    at = frame.index(b"\xff\xc0")  # gdcm takes them for its own fault, and aborts
    spoilt = frame[:at] + b"words" * 9 + frame[at:]
    for syntax in (BASELINE, LOSSLESS):
        with pytest.raises(UnreadableRadiographError, match="damaged"):
            decode(compressed(EIGHT, 8, spoilt, syntax))


def test_jpeg_2000_keeps_all_bits_and_says_when_it_is_damaged():
    frame = packed(DEEP, "JPEG2000", no_jp2=True)
    data = compressed(DEEP, 16, frame, JPEG_2000)
    assert np.array_equal(gray(data), gray(dicom(DEEP, 16)))
    with pytest.raises(UnreadableRadiographError, match="JPEG 2000.* cannot be decoded; fetch"):
        decode(compressed(DEEP, 16, frame[:90], JPEG_2000))


def test_run_lengths_are_read():
    made = dataset_of(DEEP, 12)
    made.compress("1.2.840.10008.1.2.5")
    assert np.array_equal(gray(saved(made)), GOOD)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_a_compressed_image_of_another_size_is_refused(kind):
    settings, syntax = ({"no_jp2": True}, JPEG_2000) if kind == "JPEG2000" else ({}, BASELINE)
    frame = packed(EIGHT, kind, **settings)
    for wrong in (EIGHT.T.copy(), EIGHT[:-1]):
        with pytest.raises(UnreadableRadiographError, match="80 × 96 × 1, but Columns × Rows"):
            decode(compressed(wrong, 8, frame, syntax))
    color = packed(np.stack([EIGHT] * 3, axis=-1), kind, **settings)
    with pytest.raises(UnreadableRadiographError, match="80 × 96 × 3, but .* 80 × 96 × 1"):
        decode(compressed(EIGHT, 8, color, syntax))


OTHER_LENGTHS = [{"Rows": 95}, {"Rows": 97}, {"Columns": 79}, {"Columns": 81}, {"BitsAllocated": 8}]


@pytest.mark.parametrize("tags", OTHER_LENGTHS)
def test_pixels_of_another_length_are_refused(tags):
    with pytest.raises(UnreadableRadiographError, match="PixelData has .* BitsAllocated make"):
        decode(dicom(DEEP, 12, **tags))


def test_a_few_bytes_after_the_pixels_are_padding():
    assert np.array_equal(gray(dicom(DEEP, 12, PixelData=DEEP.tobytes() + bytes(30))), GOOD)


NAMED = {
    "Rows is missing": {"Rows": None},
    "BitsStored is missing": {"BitsStored": None},
    "Bits Stored": {"BitsStored": 17},
    "PixelRepresentation is missing": {"PixelRepresentation": None},
    "Photometric Interpretation": {"PhotometricInterpretation": None},
    "of 3 frames": {"NumberOfFrames": "3"},
    "without pixels": {"PixelData": None},
}


@pytest.mark.parametrize("reason", NAMED)
def test_what_is_missing_or_wrong_is_named(reason):
    with pytest.raises(UnreadableRadiographError, match=reason):
        decode(dicom(DEEP, 12, **NAMED[reason]))


def test_floating_pixels_are_refused_by_name():
    made = dataset_of(DEEP, 12, PixelData=None)
    made.FloatPixelData = DEEP.astype("<f4").tobytes()
    with pytest.raises(UnreadableRadiographError, match="FloatPixelData"):
        decode(saved(made))


def test_one_frame_is_one_however_it_is_written():
    for text in ("1 ", "01", "", "0"):
        assert np.array_equal(gray(dicom(DEEP, 12, NumberOfFrames=text)), GOOD)
    data = replaced(dicom(DEEP, 12, NumberOfFrames="777777"), b"777777", b"number")
    with pytest.raises(UnreadableRadiographError, match="NumberOfFrames is 'number'"):
        decode(data)


def test_compressed_pixels_that_are_cut_are_not_called_missing():
    data = compressed(EIGHT, 8, packed(EIGHT, "JPEG"), BASELINE)
    with pytest.raises(UnreadableRadiographError, match="truncated within its pixel data"):
        decode(data[:-200])


def test_a_missing_decoder_is_told_from_damage(monkeypatch):
    from pydicom.pixels.decoders.base import get_decoder

    header = b"\xff\xd8\xff\xf7\0\x0b\x08\0\x60\0\x50\1\1\x11\0\xff\xda\0\x08\1\1\0\0\0\0"
    data = compressed(EIGHT, 8, header + b"no image at all!", JPEG_LS)
    with pytest.raises(UnreadableRadiographError, match="damaged: .*JPEG-LS.* fetch it again"):
        decode(data)
    decoder = get_decoder(JPEG_LS)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",)})
    with pytest.raises(UnreadableRadiographError, match="no decoder .*JPEG-LS.*pip install"):
        decode(data)


def test_compressions_that_nothing_here_reads_are_named():
    frame = packed(EIGHT, "JPEG")
    at = frame.index(b"\xff\xc0") + 4
    twelve = frame[:at] + b"\x0c" + frame[at + 1 :]
    for number, data, reason in (
        (100, frame, "MPEG2.* are not read"),
        (51, twelve, "12 bits are not read"),
    ):
        syntax = f"1.2.840.10008.1.2.4.{number}"
        with pytest.raises(UnreadableRadiographError, match=f"{reason}.*uncompressed"):
            decode(compressed(EIGHT.astype(np.uint16), 12, data, syntax))


@pytest.mark.parametrize("syntax", [BASELINE, JPEG_LS, JPEG_2000, LOSSLESS])
def test_data_that_are_not_of_their_transfer_syntax_are_refused(syntax):
    other = packed(EIGHT, "PNG") if syntax == BASELINE else packed(EIGHT, "JPEG")
    with pytest.raises(UnreadableRadiographError, match="damaged: .* transfer syntax says"):
        decode(compressed(EIGHT, 8, other, syntax))


def test_warnings_of_pydicom_do_not_reach_the_terminal():
    data = dicom(EIGHT, 8, BodyPartExamined="ABCDEF", PixelData=EIGHT.tobytes() + bytes(20))
    data = replaced(data, b"ABCDEF", b"thora?")  # lower case is no code string
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = open_image(data)
    assert not caught
    assert opened.tags["BodyPartExamined"] == "thora?"
