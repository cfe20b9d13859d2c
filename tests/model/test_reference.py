import numpy as np
import pytest

from deepchest_cli.data.image_checks import pixel_hash_of
from deepchest_cli.model.reference import (
    FALSE_WARNINGS,
    Reference,
    TrainingImages,
    correlation_of,
    fit_reference,
    name_hash,
    patient_hash,
    short_hash,
    short_hashes,
    thumbnail,
)

CHANCE = np.random.default_rng(0)
MIXING = CHANCE.normal(size=(24, 24))
IMAGE = CHANCE.random((32, 32))


def features(count):
    return CHANCE.normal(size=(count, 24)) @ MIXING + 3


def reference(training=2000, validation=1000):
    return fit_reference(features(training), features(validation), IMAGE, np.array([0.5]))


def test_with_all_axes_it_is_the_distance_of_mahalanobis():
    training = features(500)
    found = fit_reference(training, features(10), IMAGE, np.array([0.5]))
    new = features(7)
    centered = new - training.mean(axis=0)
    inverse = np.linalg.inv(np.cov(training.T))
    expected = np.sqrt(np.einsum("nd,de,ne->n", centered, inverse, centered) / 24)
    assert np.allclose(found.distances(new), expected, rtol=1e-6)


def test_false_warnings_stay_at_their_rate_and_strangers_are_warned_of():
    found = reference()
    rate = (found.distances(features(20_000)) > found.threshold).mean()
    assert found.false_warning_rate == FALSE_WARNINGS
    assert rate < 3 * FALSE_WARNINGS
    assert (found.distances(CHANCE.normal(size=(50, 24)) * 60) > found.threshold).all()


def test_a_few_validation_images_give_a_rate_that_they_can_bear():
    found = reference(validation=9)
    assert found.false_warning_rate == pytest.approx(0.1)
    assert np.isinf(reference(validation=0).threshold)


@pytest.mark.parametrize("training", [1, 2, 9])
def test_fewer_images_than_features(training):
    distances = reference(training, 9).distances(features(5))
    assert np.isfinite(distances).all()


def test_constant_features_are_no_division_by_zero():
    found = fit_reference(np.ones((20, 8)), np.ones((9, 8)), IMAGE, np.array([0.5]))
    assert np.isfinite(found.distances(np.ones((2, 8)))).all()


def test_it_survives_plain_values():
    found = reference()
    again = Reference.from_plain(found.to_plain())
    new = features(5)
    assert np.allclose(again.distances(new), found.distances(new), rtol=1e-4)
    assert again.false_warning_rate == found.false_warning_rate


def test_an_inverted_image_has_the_opposite_correlation():
    found = reference()
    pixels = np.kron(IMAGE * 255, np.ones((4, 4))).astype(np.uint8)
    assert found.correlation(pixels) > 0.99
    assert found.correlation(255 - pixels) < -0.99 < found.min_correlation == 0.5
    assert found.correlation(np.full((64, 64), 7, np.uint8)) == 0


@pytest.mark.parametrize("size", [28, 32, 50, 64])
def test_a_thumbnail_of_any_size(size):
    assert np.allclose(thumbnail(np.full((size, size), 7, np.uint8)), 7)


def test_correlation():
    one, other = CHANCE.random((2, 5, 5))
    assert correlation_of(one, other) == pytest.approx(
        np.corrcoef(one.ravel(), other.ravel())[0, 1]
    )


def test_training_images_are_found_by_pixels_and_by_name():
    images = CHANCE.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    numbers = [np.array([short_hash(pixel_hash_of(image))]) for image in images]
    names = np.array(sorted(name_hash(name) for name in ("p1/a.jpg", "b.png")))
    kept = TrainingImages.from_plain(TrainingImages(numbers[0], numbers[1], names).to_plain())
    assert kept.find(images[0], "x.png") == "train"
    assert kept.find(images[1], "x.png") == "validation"
    assert kept.find(images[2], "a.dcm") == "name"
    assert kept.find(images[2], "c.png") == ""


def test_names_that_most_images_share_are_no_sign():
    """CheXpert calls nearly all of its images view1_frontal.jpg."""
    image = CHANCE.integers(0, 256, (8, 8), dtype=np.uint8)
    name = np.array([name_hash("view1_frontal.jpg")])
    none = np.array([], dtype=np.int64)
    assert TrainingImages(np.arange(1), none, name).find(image, "a/view1_frontal.jpg") == "name"
    assert TrainingImages(np.arange(9), none, name).find(image, "a/view1_frontal.jpg") == ""


def test_pixel_hashes_are_shortened_one_by_one_or_together():
    images = CHANCE.integers(0, 256, (5, 8, 8), dtype=np.uint8)
    hashes = [pixel_hash_of(image) for image in images]
    assert short_hashes(np.array(hashes)).tolist() == [short_hash(one) for one in hashes]
    assert len(short_hashes(np.array([], dtype="S32"))) == 0


def test_patients_numbers_are_not_kept_as_they_are():
    assert patient_hash(7) != 7
    assert patient_hash(7) == patient_hash(np.int64(7)) != name_hash("7")
