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
from deepchest_cli.data.synthetic.sites import FIRST, SECOND
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


@pytest.fixture(scope="module")
def second() -> Population:
    """The plan of the second site at the default size."""
    return plan_population(site=SECOND)


def test_the_second_site_has_other_patients_on_another_machine(second: Population) -> None:
    first = plan_population()
    assert not {spec.patient for spec in first.radiographs} & {
        spec.patient for spec in second.radiographs
    }
    assert {spec.machine for spec in first.radiographs} == {FIRST.machine}
    assert {spec.machine for spec in second.radiographs} == {SECOND.machine}
    assert SECOND.machine != FIRST.machine


def test_patients_of_the_second_site_are_older_sicker_and_more_often_in_bed(
    second: Population,
) -> None:
    ours, theirs = plan_population().radiographs, second.radiographs
    for share, rise in (
        (lambda specs: sum(bool(spec.lesions) for spec in specs) / len(specs), 0.15),
        (lambda specs: sum(spec.view == "AP" for spec in specs) / len(specs), 0.1),
        (lambda specs: sum(spec.age for spec in specs) / len(specs), 10),
    ):
        assert share(theirs) > share(ours) + rise


def test_findings_of_the_second_site_are_as_frequent_as_it_says(second: Population) -> None:
    counts, typical = _counts(second.radiographs), 0.53
    for row in CATALOG:
        share = row.prevalence * SECOND.frequency.get(row.name, 1) * SECOND.ill[0] / typical
        assert counts[row.name] / 2000 == pytest.approx(share, rel=0.03), row.name
    assert counts["Infiltration"] == 0


def test_half_of_the_second_site_is_for_its_own_validation(second: Population) -> None:
    halves = [second.images_of(test=test) for test in (False, True)]
    assert len(halves[1]) / 2000 == pytest.approx(0.5, abs=0.01)
    counts = [_counts(half) for half in halves]
    for name in set(FINDINGS) - {"Infiltration"}:
        assert counts[0][name] == pytest.approx(counts[1][name], rel=0.05), name
        assert counts[0][name] >= 20


def test_small_plans_of_the_second_site_show_its_findings_in_both_parts() -> None:
    small = plan_population(MINIMUM_IMAGES, site=SECOND)
    assert len(small.radiographs) == MINIMUM_IMAGES
    for test in (False, True):
        assert set(_counts(small.images_of(test=test))) == set(FINDINGS) - {"Infiltration"}
