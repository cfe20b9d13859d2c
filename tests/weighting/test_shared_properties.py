"""What every weighter promises, by the very checks that users run on weighters of their own."""

import pytest
import torch
from tests_support import weighter_options

from deepchest_cli.weighting import WEIGHTERS, build_weighter
from deepchest_cli.weighting.catalog import INCOMPATIBLE, NO_EFFECT
from deepchest_cli.weighting.properties import PROPERTIES, ignores_factors, properties_of
from deepchest_cli.weighting.trial import TASKS, Trial

NAMES = [*WEIGHTERS, *(f"deepchest+{name}" for name in WEIGHTERS if name not in INCOMPATIBLE)]
# what these methods are without, by design: they draw for one task after the other, or leave its
# share with a task that has no gradient
WITHOUT = {
    "order of tasks": ("rlw", "pcgrad", "gradvac"),
    "neutrality": ("excess-mtl",),
}
CASES = [
    (name, one)
    for name in NAMES
    for one in PROPERTIES
    if WEIGHTERS[name.removeprefix("deepchest+")].kind in one.kinds
]


def trial_of(name, tasks=TASKS):
    return Trial(name, tuple(weighter_options(name, tasks).items()), tasks)


@pytest.mark.parametrize(("name", "one"), CASES, ids=[f"{n}, {one.name}" for n, one in CASES])
def test_every_weighter_has_the_property(name, one):
    found = one.violation(trial_of(name))
    if name.removeprefix("deepchest+") in WITHOUT.get(one.name, ()):
        assert found
    else:
        assert found == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tasks", [("a", "b"), tuple("abcdefghijklmn")], ids=len)
def test_the_contract_holds_for_other_numbers_of_tasks(name, tasks):
    trial = trial_of(name, tasks)
    wanted = [one for one in properties_of(trial) if one.required]
    assert {one.name: one.violation(trial) for one in wanted} == {one.name: "" for one in wanted}


@pytest.mark.parametrize("name", WEIGHTERS)
def test_what_deepchest_has_no_effect_on_is_refused_below_it(name):
    if ignores_factors(trial_of(name)):
        assert name in INCOMPATIBLE
    # FAMO and GradNorm only adapt over several steps, and the others undo factors in their own way
    elif INCOMPATIBLE.get(name) == NO_EFFECT:
        assert name in ("famo", "gradnorm")


def test_names_of_properties_are_their_own():
    assert len({one.name for one in PROPERTIES}) == len(PROPERTIES)
    assert PROPERTIES[0].required


def test_a_model_in_half_precision_leaves_its_weighter_in_double():
    weighter = build_weighter("deepchest", TASKS)
    model = torch.nn.ModuleDict({"net": torch.nn.Linear(2, 2), "weighter": weighter}).half()
    assert model["net"].weight.dtype == torch.float16
    assert weighter.weights.dtype == torch.float64
