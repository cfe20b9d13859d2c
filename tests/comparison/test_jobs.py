import pytest

from deepchest_cli.comparison.running.jobs import Arm, merge_weighters, parse_arms
from deepchest_cli.errors import UsageError


def test_equal_comes_first_whether_it_is_named_or_not():
    expected = (Arm("equal", "equal"), Arm("dwa", "dwa"))
    assert parse_arms("dwa") == parse_arms("dwa, equal") == expected


def test_options_stand_in_brackets_and_may_have_commas_of_their_own():
    _, one, other = parse_arms(
        "fixed[weights=Mass:1,Hernia:2],deepchest[signal=auroc,part=training]"
    )
    assert (one.weighter, one.options) == ("fixed", ("weights=Mass:1,Hernia:2",))
    assert (other.weighter, other.options) == ("deepchest", ("signal=auroc", "part=training"))
    assert other.label == "deepchest[signal=auroc,part=training]"


def test_spaces_count_only_inside_a_value():
    _, one, other = parse_arms("fixed[ file=my weights.toml ] , dwa[]")
    assert one.options == ("file=my weights.toml",)
    assert (other.label, other.options) == ("dwa", ())


def test_long_options_make_a_short_folder_of_their_own():
    weights = "fixed[weights=" + ",".join(f"Finding{i}:0.0714285714" for i in range(14))
    _, one, other = parse_arms(f"{weights}],{weights}1]")
    assert max(len(one.folder), len(other.folder)) < 128
    assert one.folder != other.folder


def test_merged_lists_keep_every_weighter():
    assert merge_weighters("dwa,rlw[x=1]", "famo,dwa") == "equal,dwa,rlw[x=1],famo"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dwa,rlw,dwa", "lists dwa twice"),
        ("equal", "nothing to compare"),
        ("", "nothing to compare"),
        ("deepchest[signal", "cannot read"),
        ("deepchest[signal]", "KEY=VALUE"),
        ("deepchest[signal=auroc,signal=loss]", "given twice"),
    ],
)
def test_invalid_lists_are_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_arms(text)
