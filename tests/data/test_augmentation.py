import pytest
import torch

from deepchest_cli.data.augmentation import (
    Augmentation,
    Normalisation,
    augment,
    normalise,
    to_grey,
)

STILL = Augmentation(rotation=0, scale=0, shift=0, brightness=0, contrast=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def grey():
    return torch.rand(8, 1, 32, 32, generator=generator(5))


def test_ranges_of_zero_change_nothing(grey):
    assert torch.allclose(augment(grey, STILL, generator()), grey, atol=1e-5)


def test_the_same_generator_state_gives_the_same_pictures(grey):
    one, same, other = (augment(grey, Augmentation(), generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_flip_mirrors_about_half_of_the_pictures(grey):
    grey = grey.repeat(25, 1, 1, 1)
    still = dict.fromkeys(("rotation", "scale", "shift", "brightness", "contrast"), 0)
    flipped = augment(grey, Augmentation(flip=True, **still), generator())
    mirrored = [
        torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(flipped, grey, strict=True)
    ]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(flipped, grey, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 60 < sum(mirrored) < 140


def test_rotation_turns_by_at_most_its_range():
    """A bar through the centre keeps its middle and leaves its ends."""
    bar = torch.zeros(64, 1, 65, 65)
    bar[:, :, 32, :] = 1
    turned = augment(bar, Augmentation(30, 0, 0, 0, 0), generator())
    assert (turned[:, 0, 32, 32] > 0.9).all()
    rows = turned[:, 0, :, 60].argmax(dim=1) - 32
    assert rows.abs().max() <= 28 * 0.58 + 1  # tan 30 degrees
    assert rows.min() < -5 < 5 < rows.max()


def test_shrinking_is_antialiased_and_same_size_is_exact():
    images = torch.zeros(1, 64, 64, dtype=torch.uint8)
    images[:, :, ::2] = 255
    assert torch.allclose(to_grey(images, 16), torch.full((1, 1, 16, 16), 0.5), atol=0.07)
    assert torch.equal(to_grey(images, 64)[0, 0], images[0].float() / 255)


def test_normalisation():
    grey = torch.full((2, 1, 4, 4), 0.75)
    standard = normalise(grey, Normalisation(0.5, 0.25))
    assert torch.equal(standard, torch.ones(2, 1, 4, 4))
