import dataclasses
import inspect
from functools import partial

import pytest

from deepchest_cli import weighting
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import WEIGHTERS, EqualWeighter, build_weighter, lazy, public
from deepchest_cli.weighting.info import GIVEN


def test_options_arrive_with_their_type():
    weighter = build_weighter("deepchest", ["a"], {"cap": "2.5"})
    assert weighter.cap == 2.5


@pytest.mark.parametrize(("text", "value"), [("false", False), ("Yes", True), ("0", False)])
def test_switches_are_read_as_words(monkeypatch, text, value):
    class Switched(EqualWeighter):
        def __init__(self, tasks, loud=True):
            super().__init__(tasks)
            self.loud = loud

    info = dataclasses.replace(WEIGHTERS["equal"], factory=Switched)
    monkeypatch.setitem(WEIGHTERS, "switched", info)
    assert build_weighter("switched", ["a"], {"loud": text}).loud is value
    with pytest.raises(UsageError, match="type bool"):
        build_weighter("switched", ["a"], {"loud": "perhaps"})


def factory_of(name):
    """Return what is imported late, and the defaults that are not the class's own."""
    factory = WEIGHTERS[name].factory
    return (factory.func, factory.keywords) if isinstance(factory, partial) else (factory, {})


@pytest.mark.parametrize("name", WEIGHTERS)
def test_options_that_are_read_from_the_source_are_those_of_the_class(name):
    factory, changed = factory_of(name)
    actual = inspect.signature(factory.load()).parameters
    read = inspect.signature(factory).parameters
    assert list(read) == list(actual)
    expected = {key: p.default for key, p in actual.items() if key not in GIVEN}
    options = WEIGHTERS[name].options
    assert options == {**expected, **changed}
    assert [type(options[key]) for key in expected] == [type(v) for v in expected.values()]


@pytest.mark.parametrize("name", ["pcgrad", "deepchest", "deepchest-rare"])
def test_options_are_known_where_there_are_no_sources(name, monkeypatch):
    expected = dict(WEIGHTERS[name].options)

    def no_source(module):
        raise OSError(module)

    lazy._parameters.cache_clear()
    monkeypatch.setattr(lazy, "_tree", no_source)
    assert WEIGHTERS[name].options == expected


def test_the_package_has_what_it_lists_and_nothing_else():
    assert {"WEIGHTERS", "WeighterInfo"} < set(public.__all__)
    assert all(getattr(weighting, name) is getattr(public, name) for name in public.__all__)
    with pytest.raises(
        AttributeError, match="'deepchest_cli.weighting' has no attribute 'nothing'"
    ):
        _ = weighting.nothing


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
    assert weighter.deepchest.cap == 2
    assert weighter.other.temperature == 3
    with pytest.raises(UsageError, match="option of the weighter 'dwa'"):
        build_weighter("deepchest+dwa", ["a"], {"cap": "2"})


@pytest.mark.parametrize("name", ["gls", "scale-invariant", "inverse-loss", "famo", "deepchest"])
def test_compositions_without_effect_are_refused_with_the_reason(name):
    with pytest.raises(UsageError, match=f"'deepchest\\+{name}' makes no sense: "):
        build_weighter(f"deepchest+{name}", ["a", "b"])
