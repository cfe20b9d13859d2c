from dataclasses import replace

import pytest
import torch

from deepchest_cli.data.augmentation import (
    PAPER,
    Augmentation,
    Normalization,
    _centers,
    _grid,
    augment,
    draw,
    normalize,
    to_gray,
)

STILL = Augmentation(rotation=0, area=(1, 1), aspect=1, shift=0, brightness=0, contrast=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augmented(gray, augmentation, seed=0):
    return augment(gray, augmentation, draw(len(gray), generator(seed)))


@pytest.fixture
def gray():
    return torch.rand(8, 1, 32, 32, generator=generator(5))


def test_ranges_of_zero_change_nothing(gray):
    assert torch.allclose(augmented(gray, STILL), gray, atol=1e-5)


def test_the_same_draws_give_the_same_images(gray):
    one, same, other = (augmented(gray, Augmentation(), seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_flip_mirrors_about_half_of_the_images(gray):
    gray = gray.repeat(25, 1, 1, 1)
    flipped = augmented(gray, replace(STILL, flip=True))
    mirrored = [
        torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(flipped, gray, strict=True)
    ]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(flipped, gray, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 60 < sum(mirrored) < 140


def test_rotation_turns_by_at_most_its_range():
    """A bar through the center keeps its middle and leaves its ends."""
    bar = torch.zeros(64, 1, 65, 65)
    bar[:, :, 32, :] = 1
    turned = augmented(bar, replace(STILL, rotation=30))
    assert (turned[:, 0, 32, 32] > 0.9).all()
    rows = turned[:, 0, :, 60].argmax(dim=1) - 32
    assert rows.abs().max() <= 28 * 0.58 + 1  # tan 30 degrees
    assert rows.min() < -5 < 5 < rows.max()


def marked(size=65):
    """Gray values that say where they were: the column in one image, the row in the other."""
    ramp = torch.linspace(0, 1, size)
    return torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)])[:, None]


def test_a_crop_shows_the_drawn_share_of_the_radiograph_upright():
    """On a ramp, the slope of what is seen is the share of the width that is seen."""
    across, down = marked()[:, None].expand(2, 200, 1, 65, 65)
    crop = replace(STILL, area=(0.25, 1.0))
    columns, rows = (augmented(ramp, crop)[:, 0] for ramp in (across, down))
    width = columns[:, 32, 48] - columns[:, 32, 16]
    height = rows[:, 48, 32] - rows[:, 16, 32]
    assert torch.allclose(width, height, atol=1e-4)  # no stretching without an aspect
    area = (width * 2) ** 2
    assert 0.24 < area.min() < 0.3
    assert 0.9 < area.max() < 1.01
    # crops stand anywhere inside: every corner of the radiograph is seen by some
    assert columns[:, 32, 0].min() < 0.02
    assert columns[:, 32, 64].max() > 0.98
    assert (columns[:, 32, 0] >= -1e-5).all()


def test_an_aspect_stretches_within_its_ratio():
    across, down = marked()[:, None].expand(2, 200, 1, 65, 65)
    stretch = replace(STILL, area=(0.25, 0.25), aspect=4 / 3)
    columns, rows = (augmented(ramp, stretch)[:, 0] for ramp in (across, down))
    ratio = (columns[:, 32, 48] - columns[:, 32, 16]) / (rows[:, 48, 32] - rows[:, 16, 32])
    assert 0.74 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.34


def test_one_affine_map_is_the_crop_of_the_rotated_radiograph():
    """Rotating first and cropping then, as the authors do, but with one resampling."""
    image = to_gray((torch.rand(1, 8, 8, generator=generator(3)) * 255).byte(), 8)
    image = torch.nn.functional.interpolate(image, size=(129, 129), mode="bicubic").clamp(0, 1)
    draws = torch.zeros(8, 1)
    draws[0], draws[3], draws[4] = 0.5, 0.6, -0.4
    crop = replace(STILL, rotation=20, area=(0.25, 0.25))
    at_once = augment(image, crop, draws)
    turned = augment(image, replace(STILL, rotation=20), draws)
    then = augment(turned, replace(STILL, area=(0.25, 0.25)), draws)
    assert (at_once - then).abs().max() < 0.02


def test_the_grid_is_that_of_torch():
    affine = torch.randn(5, 2, 3, generator=generator())
    expected = torch.nn.functional.affine_grid(affine, [5, 1, 17, 17], align_corners=False)
    slopes, offset = affine[:, :, :2], affine[:, :, 2:]
    maps = torch.stack([slopes, torch.cat([torch.zeros_like(offset), offset], dim=2)], dim=2)
    centers = torch.from_numpy(_centers(17)).float()
    assert torch.allclose(_grid(maps, centers), expected, atol=1e-5)


def test_the_authors_augmentation_flips_and_keeps_the_exposure(gray):
    assert PAPER.flip
    assert torch.equal(augmented(torch.zeros_like(gray), PAPER), torch.zeros_like(gray))
    seen = augmented(torch.ones(64, 1, 33, 33), PAPER)
    assert seen.max() <= 1 + 1e-6
    assert ((seen == 0) | (seen > 0.2)).float().mean() > 0.95  # ones, and black corners


def test_a_part_of_the_draws_augments_a_part_of_the_batch_alike(gray):
    draws = draw(8, generator())
    whole = augment(gray, Augmentation(), draws)
    halves = [augment(gray[s], Augmentation(), draws[:, s]) for s in (slice(4), slice(4, 8))]
    assert torch.equal(torch.cat(halves), whole)


def test_shrinking_is_antialiased_and_same_size_is_exact():
    images = torch.zeros(1, 64, 64, dtype=torch.uint8)
    images[:, :, ::2] = 255
    assert torch.allclose(to_gray(images, 16), torch.full((1, 1, 16, 16), 0.5), atol=0.07)
    assert torch.equal(to_gray(images, 64)[0, 0], images[0].float() / 255)


def test_normalization():
    gray = torch.full((2, 1, 4, 4), 0.75)
    standard = normalize(gray, Normalization(0.5, 0.25))
    assert torch.equal(standard, torch.ones(2, 1, 4, 4))


def test_augmentation_normalizes_as_normalize_does(gray):
    draws, scale = draw(8, generator()), Normalization(0.485, 0.229)
    for augmentation in (Augmentation(), PAPER):
        at_once = augment(gray, augmentation, draws, scale)
        assert torch.allclose(
            at_once, normalize(augment(gray, augmentation, draws), scale), atol=1e-5
        )
        assert at_once.is_contiguous(memory_format=torch.channels_last)
