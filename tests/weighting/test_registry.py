import dataclasses
import inspect

import pytest

from deepchest_cli import weighting
from deepchest_cli.config import renamed
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import WEIGHTERS, EqualWeighter, build_weighter
from deepchest_cli.weighting.registry import read_weighter


def test_options_arrive_with_their_type():
    weighter = build_weighter("deepchest", ["a"], {"cap": "2.5"})
    assert weighter.rule.cap == 2.5


@pytest.mark.parametrize(("text", "value"), [("false", False), ("Yes", True), ("0", False)])
def test_booleans_are_read_as_words(monkeypatch, text, value):
    class Switched(EqualWeighter):
        def __init__(self, tasks, loud=True):
            super().__init__(tasks)
            self.loud = loud

    monkeypatch.setattr("deepchest_cli.weighting.equal.EqualWeighter", Switched)
    info = dataclasses.replace(WEIGHTERS["equal"], options={"loud": True})
    monkeypatch.setitem(WEIGHTERS, "equal", info)
    assert build_weighter("equal", ["a"], {"loud": text}).loud is value
    with pytest.raises(UsageError, match="type bool"):
        build_weighter("equal", ["a"], {"loud": "perhaps"})


@pytest.mark.parametrize("name", WEIGHTERS)
def test_the_options_of_the_catalog_are_those_of_the_signature(name):
    parameters = inspect.signature(WEIGHTERS[name].factory).parameters.values()
    expected = {p.name: p.default for p in parameters if p.name not in ("tasks", "context")}
    options = WEIGHTERS[name].options
    assert options == expected
    assert list(options) == list(expected)
    assert [type(value) for value in options.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize("name", WEIGHTERS)
def test_every_weighter_is_an_attribute_of_the_package(name):
    info = WEIGHTERS[name]
    assert getattr(weighting, info.factory_name) is info.factory


def test_the_package_has_what_it_lists_and_nothing_else():
    for name in weighting._MODULES:
        assert getattr(weighting, name).__name__ == name
    with pytest.raises(
        AttributeError, match="'deepchest_cli.weighting' has no attribute 'nothing'"
    ):
        _ = weighting.nothing


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("deepchest", ("part", "validation")),
        ("deepchest", ("renormalise", "yes")),
        ("deepchest+dwa", ("deepchest.part", "training")),
    ],
)
def test_an_option_of_version_0_1_is_answered_with_the_new_one(name, option):
    new = renamed.WORDS[option[0].removeprefix("deepchest.")]
    with pytest.raises(UsageError, match=f"It is called '{new}' since version 0.2"):
        read_weighter(name, [option])


@pytest.mark.parametrize("name", ["deepchest", "rarity"])
def test_a_signal_of_version_0_1_is_answered_with_the_new_one(name):
    expected = "'loss-ratio'. It is called 'normalized-cross-entropy' since version 0.2"
    with pytest.raises(UsageError, match=expected):
        build_weighter(name, ["a"], {"signal": "loss-ratio"})


def test_a_misspelled_weighter_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'deepchest'") as error:
        build_weighter("depchest", ["a"])
    assert all(name in error.value.hint for name in WEIGHTERS)


def test_an_option_of_another_weighter_is_refused():
    with pytest.raises(UsageError, match="'equal' has no options"):
        build_weighter("equal", ["a"], {"cap": "2"})
    with pytest.raises(UsageError, match="Did you mean 'decay'"):
        build_weighter("deepchest", ["a"], {"decai": "2"})


def test_an_option_of_the_wrong_type_is_refused():
    with pytest.raises(UsageError, match="'cap' should be of type float. Found 'big'"):
        build_weighter("deepchest", ["a"], {"cap": "big"})


def test_the_list_says_what_a_chooser_wants_to_know():
    for name, info in WEIGHTERS.items():
        assert info.name == name
        assert all((info.summary, info.kind, info.passes, info.memory, info.paper))


def test_options_of_a_composition_go_to_the_method_that_they_name():
    weighter = build_weighter(
        "deepchest+dwa", ["a", "b"], {"deepchest.cap": "2", "temperature": "3"}
    )
    assert weighter.deepchest.rule.cap == 2
    assert weighter.other.temperature == 3
    with pytest.raises(UsageError, match="option of the weighter 'dwa'"):
        build_weighter("deepchest+dwa", ["a"], {"cap": "2"})


@pytest.mark.parametrize("name", ["gls", "scale-invariant", "inverse-loss", "famo", "deepchest"])
def test_compositions_without_effect_are_refused_with_the_reason(name):
    with pytest.raises(UsageError, match=f"'deepchest\\+{name}' makes no sense: "):
        build_weighter(f"deepchest+{name}", ["a", "b"])


def test_options_may_be_values(monkeypatch):
    class Switched(EqualWeighter):
        def __init__(self, tasks, loud=True, share=0.5):
            super().__init__(tasks)
            self.given = loud, share

    monkeypatch.setattr("deepchest_cli.weighting.equal.EqualWeighter", Switched)
    info = dataclasses.replace(WEIGHTERS["equal"], options={"loud": True, "share": 0.5})
    monkeypatch.setitem(WEIGHTERS, "equal", info)
    assert build_weighter("equal", ["a"], {"loud": False, "share": 2}).given == (False, 2.0)
    fixed = build_weighter("fixed", ["a", "b"], {"weights": {"a": 1, "b": 3}})
    assert fixed.weights.tolist() == [1.0, 3.0]


def test_completion_offers_what_loops_import():
    offered = dir(weighting)
    assert {"build_weighter", "objective", "task_losses", "EpochResults", "Context"} <= {*offered}
    assert all(hasattr(weighting, name) for name in offered)
