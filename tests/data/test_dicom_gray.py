"""Gray levels of DICOM values: what the elements that describe them do, right or wrong."""

import io

import numpy as np
import pytest
from dicom_files import dataset_of, dicom, lookup, replaced, saved
from PIL import Image

from deepchest_cli.data.radiograph import decode
from deepchest_cli.errors import UnreadableRadiographError

CHANCE = np.random.default_rng(0)
TWELVE = np.sort(CHANCE.integers(0, 4096, 40 * 30)).reshape(40, 30).astype(np.uint16)
TWELVE[0, 0], TWELVE[-1, -1] = 0, 4095
EIGHT = CHANCE.integers(50, 151, (40, 30)).astype(np.uint8)
SIGNED = (TWELVE.astype(np.int32) - 2048).astype(np.int16)


def gray(data):
    return np.asarray(decode(data)).astype(int)


GOOD = gray(dicom(TWELVE, 12))


def stretched(values):
    values = values.astype(np.float64)
    return np.rint((values - values.min()) * (255 / np.ptp(values)))


def test_deep_pixels_are_stretched():
    assert np.array_equal(GOOD, stretched(TWELVE))
    assert np.array_equal(gray(dicom(SIGNED, 12)), GOOD)
    assert np.array_equal(gray(dicom(TWELVE.astype(np.uint32) << 8, 32)), GOOD)


def test_the_high_bit_says_where_the_values_are():
    assert np.array_equal(gray(dicom(TWELVE << 4, 12, HighBit=15)), GOOD)
    assert np.array_equal(gray(dicom(TWELVE << 2, 12, HighBit=13)), GOOD)
    assert np.array_equal(gray(dicom(SIGNED << 4, 12, HighBit=15)), GOOD)
    # all bits are stored: there is nothing to choose
    assert np.array_equal(gray(dicom(EIGHT, 8, HighBit=11)), EIGHT)
    assert np.array_equal(gray(dicom(TWELVE, 12, HighBit=None)), GOOD)


@pytest.mark.parametrize(
    ("pixels", "high"), [(TWELVE, 15), (TWELVE << 3 | 1, 14), (TWELVE, 3), (TWELVE, 16)]
)
def test_a_high_bit_that_the_values_contradict_is_refused(pixels, high):
    with pytest.raises(UnreadableRadiographError, match=f"HighBit is {high} and BitsStored 12"):
        decode(dicom(pixels, 12, HighBit=high))


def test_values_above_the_stored_bits_are_refused_but_for_overlays():
    deep = TWELVE | (np.arange(30, dtype=np.uint16) % 2) << 13
    with pytest.raises(UnreadableRadiographError, match="more than 12 bits .BitsStored."):
        decode(dicom(deep, 12))
    with_overlay = dataset_of(deep, 12)
    with_overlay.add_new(0x60000102, "US", 13)
    assert np.array_equal(gray(saved(with_overlay)), GOOD)
    zeros_above = (SIGNED & 0x0FFF).astype(np.int16)
    assert np.array_equal(gray(dicom(zeros_above, 12)), GOOD)


def padded(pixels, value):
    changed = pixels.copy()
    changed[:, :5] = value
    return changed


def with_padding(pixels, bits, padding, vr, limit=None):
    made = dataset_of(pixels, bits)
    made.add_new(0x00280120, vr, padding)
    if limit is not None:
        made.add_new(0x00280121, vr, limit)
    return saved(made)


PADDED = {
    "signed": (SIGNED, -32768, 16, -32768, "SS"),
    "signed, as unsigned": (SIGNED, -32768, 16, 32768, "US"),
    "signed, of the stored bits": (SIGNED, -2048, 12, 2048, "US"),
    "outside the stored bits": (SIGNED, -32768, 12, -32768, "SS"),
    "unsigned": (TWELVE, 65535, 16, 65535, "US"),
    "unsigned, as signed": (TWELVE, 65535, 16, -1, "SS"),
    "unsigned, outside the stored bits": (TWELVE, 65535, 12, -1, "SS"),
}


@pytest.mark.parametrize("name", PADDED)
def test_padding_is_known_in_either_sign(name):
    pixels, value, bits, padding, vr = PADDED[name]
    found = gray(with_padding(padded(pixels, value), bits, padding, vr))
    assert not found[:, :5].any()
    assert np.array_equal(found[:, 5:], stretched(pixels[:, 5:]))


def test_a_range_of_padding_is_known_in_either_sign_and_either_order():
    pixels = SIGNED.copy()
    pixels[:, :5] = np.arange(-32768, -32763)
    for ends in ((32768, 32772), (32772, 32768)):
        found = gray(with_padding(pixels, 16, *(ends[0], "US", ends[1])))
        assert not found[:, :5].any()
        assert np.array_equal(found[:, 5:], stretched(pixels[:, 5:]))


def test_padding_of_an_inverted_image_is_black_and_only_padding_is_no_image():
    inverted = {"PixelPaddingValue": 65535, "PhotometricInterpretation": "MONOCHROME1"}
    found = gray(dicom(padded(TWELVE, 65535), 16, **inverted))
    assert not found[:, :5].any()
    assert np.abs(found[:, 5:] + stretched(TWELVE[:, 5:]) - 255).max() <= 1  # a half is rounded
    with pytest.raises(UnreadableRadiographError, match="PixelPaddingValue"):
        decode(with_padding(padded(TWELVE, 9)[:, :5], 12, 9, "US"))


AS_THEY_ARE = {
    "nothing": {},
    "a lone center": {"WindowCenter": "128"},
    "a lone width": {"WindowWidth": "256"},
    "an empty window": {"WindowCenter": "", "WindowWidth": ""},
    "a full window": {"WindowCenter": "128", "WindowWidth": "256"},
    "an exact window": {
        "WindowCenter": "127.5",
        "WindowWidth": "255",
        "VOILUTFunction": "LINEAR_EXACT",
    },
    "a rescale that changes nothing": {"RescaleSlope": "1", "RescaleIntercept": "0"},
    "a rescale": {"RescaleSlope": "2.5", "RescaleIntercept": "-300"},
    "a lone intercept": {"RescaleIntercept": "-1024"},
    "a full window after a rescale": {
        "RescaleSlope": "2",
        "RescaleIntercept": "-100",
        "WindowCenter": "155",
        "WindowWidth": "510",
        "VOILUTFunction": "LINEAR_EXACT",
    },
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_eight_bits_are_not_stretched(name):
    assert np.array_equal(gray(dicom(EIGHT, 8, **AS_THEY_ARE[name])), EIGHT)


def test_eight_bits_in_other_forms_are_not_stretched_either():
    assert np.array_equal(gray(dicom(EIGHT.astype(np.uint16), 8)), EIGHT)
    signed = (EIGHT.astype(np.int16) - 128).astype(np.int8)
    assert np.array_equal(gray(dicom(signed, 8)), EIGHT)
    inverted = dicom(255 - EIGHT, 8, PhotometricInterpretation="MONOCHROME1", WindowCenter="128")
    assert np.array_equal(gray(inverted), EIGHT)
    turned = dicom(EIGHT, 8, RescaleSlope="-1", RescaleIntercept="0")
    assert np.array_equal(gray(turned), 255 - EIGHT.astype(int))
    table = dicom(EIGHT, 8, VOILUTSequence=lookup(np.arange(256) * 257, 0))
    assert np.array_equal(gray(table), EIGHT)


def test_a_narrow_window_of_eight_bits_reaches_from_black_to_white():
    found = gray(dicom(EIGHT, 8, WindowCenter="100.5", WindowWidth="41"))
    assert np.array_equal(found, np.rint(np.clip((EIGHT - 80.0) / 40, 0, 1) * 255))


@pytest.mark.parametrize("tags", [{"WindowCenter": "99"}, {"WindowWidth": "9"}])
def test_half_a_window_of_deep_pixels_is_none(tags):
    assert np.array_equal(gray(dicom(TWELVE, 12, **tags)), GOOD)


def test_windows_follow_their_function_and_the_first_counts():
    low, high = 1000.0, 3000.0
    linear = np.clip((TWELVE - low) / (high - low), 0, 1)
    tags = {"WindowCenter": "2000", "WindowWidth": "2000"}
    exact = dicom(TWELVE, 12, VOILUTFunction="LINEAR_EXACT", **tags)
    assert np.abs(gray(exact) - stretched(linear)).max() <= 1
    sigmoid = 1 / (1 + np.exp(-4 * (TWELVE - 2000.0) / 2000))
    found = gray(dicom(TWELVE, 12, VOILUTFunction="SIGMOID", **tags))
    assert np.abs(found - stretched(sigmoid)).max() <= 1
    several = {"WindowCenter": ["2000.5", "9"], "WindowWidth": ["2001", "1"]}
    assert np.array_equal(gray(dicom(TWELVE, 12, **several)), gray(exact))
    step = gray(dicom(TWELVE, 12, WindowCenter="2000", WindowWidth="1"))
    assert np.array_equal(step > 0, TWELVE >= 2000)


def written(value, **others):
    """Return a file whose slope is this text, which pydicom would not write."""
    marks = "9" * (len(value) + len(value) % 2)
    data = dicom(TWELVE, 12, RescaleSlope=marks, RescaleIntercept="0", **others)
    return replaced(data, marks.encode(), value.ljust(len(marks)).encode())


def test_numbers_with_a_decimal_comma_are_read():
    made = [
        dicom(TWELVE, 12, WindowCenter="2047.5", WindowWidth="3000.5"),
        dicom(TWELVE, 12, WindowCenter="1111.5", WindowWidth="2222.5"),
    ]
    data = replaced(replaced(made[1], b"1111.5", b"2047,5"), b"2222.5", b"3000,5")
    assert np.array_equal(gray(data), gray(made[0]))
    assert np.array_equal(gray(written("-2,50")), 255 - GOOD)
    assert np.array_equal(gray(written(" 1.5e0 ")), GOOD)


WRONG = {
    "no slope": ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "RescaleSlope is 0"),
    "no slope, alone": ({"RescaleSlope": "0.0"}, "RescaleSlope is 0"),
    "no width": ({"WindowCenter": "9", "WindowWidth": "0"}, "WindowWidth is 0"),
    "a negative width": ({"WindowCenter": "9", "WindowWidth": "-8"}, "WindowWidth is -8"),
    "too small a width": ({"WindowCenter": "9", "WindowWidth": "0.5"}, "WindowWidth is 0.5"),
    "no exact width": (
        {"WindowCenter": "9", "WindowWidth": "0", "VOILUTFunction": "LINEAR_EXACT"},
        "WindowWidth is 0",
    ),
    "a function": (
        {"WindowCenter": "9", "WindowWidth": "8", "VOILUTFunction": "CUBIC"},
        "VOILUTFunction is 'CUBIC'",
    ),
    "a window elsewhere": (
        {"WindowCenter": "90000", "WindowWidth": "8"},
        "window or lookup table makes all pixels one value",
    ),
    "a short table": (
        {"VOILUTSequence": lookup([1, 2, 3], 0), "BitsStored": 12},
        "LUTData has 3 entries, LUTDescriptor says 4",
    ),
    "channels": (
        {"PhotometricInterpretation": "RGB"},
        "PhotometricInterpretation is 'RGB' with SamplesPerPixel 1",
    ),
}
WRONG["a short table"][0]["VOILUTSequence"][0].LUTDescriptor = [4, 0, 16]


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_image_is_refused_by_name(name):
    tags, reason = WRONG[name]
    with pytest.raises(UnreadableRadiographError, match=reason):
        decode(dicom(TWELVE, 12, **tags))


@pytest.mark.parametrize("text", ["1.000,5", "abc", "nan", "1e999"])
def test_a_number_that_is_none_is_refused_by_name(text):
    with pytest.raises(UnreadableRadiographError, match=f"RescaleSlope is '{text}', not a number"):
        decode(written(text))


def test_tables_of_many_entries_of_few_bits_do_not_wrap():
    table = np.arange(4096) // 16
    found = gray(dicom(TWELVE, 12, VOILUTSequence=lookup(table, 0, depth=8)))
    assert np.array_equal(found, TWELVE // 16)
    modality = gray(dicom(TWELVE, 12, ModalityLUTSequence=lookup(table[::-1], 0, depth=8)))
    assert np.array_equal(modality, 255 - TWELVE // 16)
    signed = gray(dicom(SIGNED, 12, VOILUTSequence=lookup(table, 2**16 - 2048, depth=8)))
    assert np.array_equal(signed, TWELVE // 16)


def test_a_table_comes_before_a_window_and_one_without_data_is_none():
    window = {"WindowCenter": "9", "WindowWidth": "4"}
    table = lookup(np.arange(4096), 0)
    assert np.array_equal(gray(dicom(TWELVE, 12, VOILUTSequence=table, **window)), GOOD)
    del table[0].LUTData
    expected = gray(dicom(TWELVE, 12, **window))
    assert np.array_equal(gray(dicom(TWELVE, 12, VOILUTSequence=table, **window)), expected)


def test_deep_color_becomes_gray_by_its_upper_bits():
    deep = np.stack([TWELVE] * 3, axis=-1)
    assert np.array_equal(gray(dicom(deep, 12)), TWELVE >> 4)
    with pytest.raises(UnreadableRadiographError, match="'MONOCHROME1' with SamplesPerPixel 3"):
        decode(dicom(deep, 12, PhotometricInterpretation="MONOCHROME1"))


def test_the_pixels_are_those_of_the_png_made_from_them():
    memory = io.BytesIO()
    Image.fromarray(EIGHT).save(memory, format="PNG")
    assert np.array_equal(gray(memory.getvalue()), gray(dicom(EIGHT, 8)))
