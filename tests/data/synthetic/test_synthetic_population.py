"""The plan of the demo: quotas, parts, follow-ups; no image is drawn."""

from collections import Counter
from itertools import pairwise

import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.population import (
    CATALOG,
    MINIMUM_IMAGES,
    Population,
    plan_population,
)
from deepchest_cli.data.synthetic.specification import RadiographSpec

SEEDS = range(5)


@pytest.fixture(scope="module", params=SEEDS)
def population(request: pytest.FixtureRequest) -> Population:
    """The plan at its default size, for several seeds."""
    return plan_population(seed=request.param)


def _counts(radiographs: tuple[RadiographSpec, ...]) -> Counter[str]:
    return Counter(lesion.finding for spec in radiographs for lesion in spec.lesions)


def test_catalog_names_every_finding_in_order() -> None:
    assert tuple(row.name for row in CATALOG) == FINDINGS


def test_every_finding_has_twenty_test_positives(population: Population) -> None:
    counts = _counts(population.images_of(test=True))
    assert min(counts[finding] for finding in FINDINGS) >= 20


def test_prevalences_keep_the_order_of_the_catalog(population: Population) -> None:
    counts = _counts(population.radiographs)
    ranked = sorted(CATALOG, key=lambda row: -row.prevalence)
    assert [row.name for row in ranked] == [
        name for name, _ in sorted(counts.items(), key=lambda item: -item[1])
    ]
    assert ranked[0].name == "Infiltration"
    assert ranked[-1].name == "Hernia"


def test_about_half_of_the_images_are_normal(population: Population) -> None:
    normal = sum(not spec.lesions for spec in population.radiographs)
    assert 0.45 <= normal / len(population.radiographs) <= 0.5


def test_test_part_is_a_quarter_with_sicker_patients(population: Population) -> None:
    train, test = population.images_of(test=False), population.images_of(test=True)
    assert 0.25 <= len(test) / len(population.radiographs) <= 0.26
    assert not {spec.patient for spec in train} & {spec.patient for spec in test}
    assert _images_per_patient(test) > _images_per_patient(train)
    assert _counts(test).total() / len(test) > _counts(train).total() / len(train)


def _images_per_patient(part: tuple[RadiographSpec, ...]) -> float:
    return len(part) / len({spec.patient for spec in part})


def test_follow_ups_count_up_while_the_patient_ages(population: Population) -> None:
    for earlier, later in pairwise(population.radiographs):
        if earlier.patient == later.patient:
            assert later.follow_up == earlier.follow_up + 1
            assert later.age >= earlier.age
            assert later.sex == earlier.sex
        else:
            assert (later.patient, later.follow_up) == (earlier.patient + 1, 0)


def test_findings_persist_in_a_patient(population: Population) -> None:
    pairs = [
        pair for pair in pairwise(population.radiographs) if pair[0].patient == pair[1].patient
    ]
    kept = shown = 0
    for earlier, later in pairs:
        before = {lesion.finding for lesion in earlier.lesions}
        kept += len(before & {lesion.finding for lesion in later.lesions})
        shown += len(before)
    assert kept / shown > 2 * max(row.prevalence for row in CATALOG)


def test_edema_is_mostly_portable(population: Population) -> None:
    views = [
        spec.view
        for spec in population.radiographs
        if any(lesion.finding == "Edema" for lesion in spec.lesions)
    ]
    assert views.count("AP") > 0.7 * len(views)


@pytest.mark.parametrize("images", [MINIMUM_IMAGES, MINIMUM_IMAGES + 1, 100])
def test_small_plans_show_every_finding_in_both_parts(images: int) -> None:
    for seed in SEEDS:
        small = plan_population(images, seed=seed)
        assert len(small.radiographs) == images
        for test in (False, True):
            part = small.images_of(test=test)
            assert len({spec.patient for spec in part}) >= 2
            assert set(_counts(part)) == set(FINDINGS)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match=str(MINIMUM_IMAGES)):
        plan_population(MINIMUM_IMAGES - 1)


def test_seeds_differ() -> None:
    assert plan_population(100, seed=0) != plan_population(100, seed=1)


def test_a_long_tail_makes_five_findings_rare_for_the_same_patients() -> None:
    even, tailed = plan_population(4000), plan_population(4000, long_tail=True)
    counts = _counts(tailed.radiographs)
    assert {row.name: counts[row.name] / 4000 for row in CATALOG} == pytest.approx(
        {row.name: row.tail_prevalence for row in CATALOG}, rel=0.05
    )
    assert sum(share < 0.025 for share in (row.tail_prevalence for row in CATALOG)) == 5
    assert tailed.test_patients == even.test_patients
