"""Help at the widths of terminals: what it says, in which order, and that nothing is cut."""

import re
from textwrap import dedent

import pytest

from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import flag_of, flags_of
from deepchest_cli.config.flags import Flag, help_of, metavar_of

FRAME = re.compile("[│╭╮╰╯─]")


def panels_of(text: str) -> dict[str, str]:
    """Return what each framed panel of a help holds, by its heading."""
    found: dict[str, str] = {}
    for heading, body in re.findall(r"╭─ (.*?) ─*╮\n(.*?)╰", text, flags=re.S):
        found[heading] = FRAME.sub(" ", body)
    return found


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_and_breaks_no_word(deepchest, monkeypatch, command, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = deepchest(command, "--help").out
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    words = set(FRAME.sub(" ", shown).split())
    info = COMMANDS[command]
    for field, kind, flag in flags_of(info.configuration):
        assert flag.positional or flag_of(field.name) in words
        expected = [*help_of(kind, flag, field.default).split(), metavar_of(kind, flag)]
        assert {word for word in expected if word and not flag.positional} <= words
    example = re.search("Examples:(.*)", info.run.__doc__ or "", flags=re.S)
    for line in filter(None, dedent(example[1] if example else "").split("\n\n")):
        assert f"  {line.strip()}\n" in re.sub(" +\n", "\n", shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_general_flags_come_last(deepchest, command):
    panels = panels_of(deepchest(command, "--help").out)
    assert list(panels)[-1] == "General"
    general = ("--config", "--json", "--quiet", "--verbose", "--debug", "--help")
    assert [flag for flag in general if re.search(rf"{flag}\b", panels["General"])] == list(general)


def test_what_is_set_most_often_comes_first(deepchest):
    train = re.findall(r"│ (--[a-z-]+)", deepchest("train", "-h").out)
    assert train[:4] == ["--data", "--weighter", "--weighter-option", "--backbone"]
    assert train.index("--resume") < train.index("--source-sampling")
    assert re.findall(r"│ (--[a-z-]+)", deepchest("evaluate", "-h").out)[0] == "--model"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_summary_is_what_the_command_says_of_itself(command):
    info = COMMANDS[command]
    assert " ".join((info.run.__doc__ or "").split("\n\n")[0].split()) == info.summary


@pytest.mark.parametrize(
    ("kind", "flag", "default", "text"),
    [
        (int, Flag("Passes.", minimum=1), 15, "Passes. [at least 1; default: 15]"),
        (float, Flag("Share.", minimum=0, maximum=0.9), 0.1, "Share. [0 to 0.9; default: 0.1]"),
        (str | None, Flag("Run. [runs/latest]"), None, "Run. [default: runs/latest]"),
        (str | None, Flag("Run."), None, "Run. [default: none]"),
        (tuple, Flag("Of several."), ("a", "b"), "Of several. [default: a b]"),
        (str, Flag("Several."), "a,b", "Several. [default: a, b]"),
        (bool, Flag("Store."), True, "Store. [default: on]"),
        (bool, Flag("Force."), False, "Force."),
    ],
)
def test_ranges_and_defaults_are_in_words(kind, flag, default, text):
    assert help_of(kind, flag, default) == text


@pytest.mark.parametrize(
    ("flag", "value", "range_"),
    [
        ("--epochs", "0", "at least 1"),
        ("--dropout", "0.95", "0 to 0.9"),
        ("--seed", "4294967296", "0 to 4294967295"),
        ("--learning-rate", "nan", "a finite number"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_a_number_out_of_range_is_refused(deepchest, tmp_path, flag, value, range_, from_file):
    config = tmp_path / "flags.toml"
    config.write_text(f"{flag[2:].replace('-', '_')} = {value}\n")
    outcome = deepchest("train", *(["--config", config] if from_file else [flag, value]))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"Error: {flag} should be {range_}. Found {value}")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_overview_fits(deepchest, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = deepchest("--help").out
    assert max(len(line) for line in shown.splitlines() if "synthetic" not in line) <= width
    for info in COMMANDS.values():
        assert set(info.summary.split()) <= set(shown.split())
