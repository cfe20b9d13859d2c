"""What each finding does to the image, against the same chest without it."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.painters import PAINTERS
from deepchest_cli.data.synthetic.rendering import render_radiograph
from deepchest_cli.data.synthetic.sites import SECOND
from deepchest_cli.data.synthetic.specification import Lesion, RadiographSpec, Sex

SIZE = 128
PATIENTS = range(1, 9)
CHEST = (slice(SIZE // 10, SIZE * 9 // 10), slice(SIZE // 10, SIZE * 9 // 10))
Signed = npt.NDArray[np.int_]
Means = npt.NDArray[np.float64]


def _chest(patient: int, finding: str | None = None, severity: float = 0.8) -> RadiographSpec:
    sex: Sex = "F" if patient % 2 else "M"
    lesions = () if finding is None else (Lesion(finding, severity),)
    return RadiographSpec(0, patient, 0, 40 + patient, sex, "PA", lesions)


def _pixels(spec: RadiographSpec) -> Signed:
    return render_radiograph(spec, SIZE).pixels.astype(int)


def _change(finding: str) -> Means:
    """Mean change over several patients: (SIZE, SIZE)."""
    changes = [_pixels(_chest(one, finding)) - _pixels(_chest(one)) for one in PATIENTS]
    return np.asarray(np.mean(changes, axis=0))


def _zone(change: Signed | Means, top: float, bottom: float, left: float, right: float) -> float:
    rows = slice(int(top * SIZE), int(bottom * SIZE))
    return float(change[rows, int(left * SIZE) : int(right * SIZE)].mean())


def test_every_finding_has_a_painter() -> None:
    assert tuple(PAINTERS) == FINDINGS


@pytest.mark.parametrize("finding", FINDINGS)
def test_painting_changes_the_chest_and_little_else(finding: str) -> None:
    for patient in PATIENTS:
        change = np.abs(_pixels(_chest(patient, finding)) - _pixels(_chest(patient)))
        assert change[CHEST].max() > 20
        corner = change[: SIZE // 16, : SIZE // 16]
        assert corner.mean() < 3


@pytest.mark.parametrize("finding", FINDINGS)
def test_severity_shows(finding: str) -> None:
    healthy = _pixels(_chest(1))
    faint, gross = (np.abs(_pixels(_chest(1, finding, at)) - healthy).sum() for at in (0.1, 1.0))
    assert gross > faint


def test_images_use_the_range_of_grays() -> None:
    for patient in PATIENTS:
        image = render_radiograph(_chest(patient), 256).pixels
        assert image.dtype == np.uint8
        assert image.shape == (256, 256)
        assert image.min() < 25
        assert image.max() > 200
        assert image.std() > 35


def test_lungs_are_darker_than_the_heart_and_the_abdomen() -> None:
    mean = np.mean([_pixels(_chest(one)) for one in PATIENTS], axis=0)
    lungs = (_zone(mean, 0.3, 0.6, 0.25, 0.38) + _zone(mean, 0.3, 0.6, 0.65, 0.75)) / 2
    assert _zone(mean, 0.6, 0.7, 0.47, 0.57) > lungs + 60
    assert _zone(mean, 0.88, 0.95, 0.3, 0.7) > lungs + 60


def test_effusion_whitens_the_lower_zone_only() -> None:
    change = _change("Effusion")
    assert _zone(change, 0.6, 0.8, 0.15, 0.85) > 10
    assert abs(_zone(change, 0.1, 0.35, 0.15, 0.85)) < 3


def test_emphysema_darkens_the_lungs() -> None:
    change = _change("Emphysema")
    assert _zone(change, 0.3, 0.6, 0.22, 0.38) < -8
    assert _zone(change, 0.3, 0.6, 0.66, 0.78) < -8


def test_cardiomegaly_widens_the_heart_to_the_left() -> None:
    change = _change("Cardiomegaly")
    assert _zone(change, 0.6, 0.72, 0.66, 0.74) > 25
    assert abs(_zone(change, 0.2, 0.35, 0.15, 0.4)) < 3


def test_edema_whitens_both_lungs_around_the_hila() -> None:
    change = _change("Edema")
    assert _zone(change, 0.4, 0.6, 0.25, 0.4) > 8
    assert _zone(change, 0.4, 0.6, 0.62, 0.75) > 8


def test_pneumothorax_darkens_the_outer_zone_of_one_lung() -> None:
    for patient in PATIENTS:
        change = _pixels(_chest(patient, "Pneumothorax")) - _pixels(_chest(patient))
        outer = [_zone(change, 0.2, 0.5, *edges) for edges in ((0.14, 0.26), (0.74, 0.86))]
        assert min(outer) < -4
        assert max(outer) > -4


def test_hernia_lies_behind_the_heart() -> None:
    change = np.abs(_change("Hernia"))
    assert _zone(change, 0.6, 0.8, 0.4, 0.65) > 10
    assert _zone(change, 0.1, 0.4, 0.0, 1.0) < 1


def test_a_lesion_leaves_the_other_lesions_in_place() -> None:
    both = replace(_chest(3), lesions=(Lesion("Mass", 0.7), Lesion("Nodule", 0.6)))
    boxes = {box.finding: box for box in render_radiograph(both, SIZE).shown.boxes}
    for name in ("Mass", "Nodule"):
        alone = replace(both, lesions=tuple(one for one in both.lesions if one.finding == name))
        assert render_radiograph(alone, SIZE).shown.boxes == (boxes[name],)


def test_the_same_specification_gives_the_same_image() -> None:
    spec = _chest(5, "Consolidation")
    first, second = (render_radiograph(spec, SIZE).pixels for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, render_radiograph(replace(spec, seed=1), SIZE).pixels)


def test_another_machine_shows_the_same_chest_smaller_darker_and_with_more_noise() -> None:
    for patient in PATIENTS:
        first = _pixels(_chest(patient))
        second = _pixels(replace(_chest(patient), machine=SECOND.machine))
        assert second[CHEST].mean() < 0.8 * first[CHEST].mean()
        assert _edge_rows(second) > _edge_rows(first)
        assert _noise(second) > 2 * _noise(first)


def _edge_rows(pixels: Signed) -> int:
    """Dark columns beside the body at half its height."""
    return int((pixels[SIZE // 2] < 12).sum())


def _noise(pixels: Signed) -> float:
    """Median difference of neighbors in the abdomen, which is smooth."""
    abdomen = pixels[int(0.88 * SIZE) : int(0.95 * SIZE), SIZE // 3 : 2 * SIZE // 3]
    return float(np.abs(np.diff(abdomen, axis=1)).mean())


def test_devices_are_said_to_be_shown() -> None:
    portable = [replace(_chest(patient), view="AP") for patient in range(1, 41)]
    shown = [render_radiograph(spec, 64).shown.has_device for spec in portable]
    assert 10 < sum(shown) < 35
