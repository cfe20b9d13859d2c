import dataclasses

import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import WEIGHTERS, EqualWeighter, build_weighter


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


def test_a_misspelt_weighter_suggests_the_nearest():
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
