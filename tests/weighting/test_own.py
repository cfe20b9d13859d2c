"""A weighter of one's own: found, run once, described, checked, and refused with the reason."""

import sys
from pathlib import Path

import pytest
import torch
from own_weighters import BROKEN, GOOD, GRADIENT, broken, write

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import GradientWeighter, LossWeighter, TaskLosses, build_weighter
from deepchest_cli.weighting.own import WEIGHTER, code_of, full_name, load_own, short_name
from deepchest_cli.weighting.properties import (
    PROPERTIES,
    broken_properties,
    refuse_without_effect,
    violations,
)
from deepchest_cli.weighting.registry import find_weighter, read_weighter
from deepchest_cli.weighting.trial import Trial


@pytest.fixture
def mine(tmp_path):
    """The name of a good weighter."""
    return f"{write(tmp_path / 'mine.py')}:MyWeighter"


def test_it_is_built_with_its_options(mine):
    weighter = build_weighter(mine, ["a", "b"], {"alpha": "0"})
    assert isinstance(weighter, LossWeighter)
    losses = TaskLosses(torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([8, 8]))
    assert weighter(losses).item() == pytest.approx(3.0)
    assert weighter.weights.tolist() == [1, 1]
    with pytest.raises(UsageError, match=r"'alpha' should be of type float. Found 'x'"):
        build_weighter(mine, ["a"], {"alpha": "x"})
    with pytest.raises(UsageError, match=r"option of the weighter 'mine.py:MyWeighter': 'beta'"):
        build_weighter(mine, ["a"], {"beta": "1"})


def test_the_composite_has_deepchests_weights_below_it(mine):
    weighter = build_weighter(f"deepchest+{mine}", ["a"], {"deepchest.cap": "2", "alpha": "3"})
    assert weighter.deepchest.rule.cap == 2
    assert weighter.other.alpha == 3
    assert broken_properties(Trial(f"deepchest+{mine}")) == []


def test_it_is_refused_below_deepchest_where_that_has_no_effect(tmp_path):
    source = GOOD.replace("len(self.tasks) * shares", "1 / losses.values.detach().clamp(min=1e-8)")
    name = f"{write(tmp_path / 'mine.py', source)}:MyWeighter"
    refuse_without_effect(Trial(name))
    with pytest.raises(UsageError, match=r"'deepchest\+mine.py:MyWeighter' makes no sense"):
        refuse_without_effect(Trial(f"deepchest+{name}", (("deepchest.cap", "2"),)))


def test_it_is_described_by_its_class(mine):
    info = find_weighter(mine)
    assert (info.kind, info.options) == ("loss", {"alpha": 1.0})
    assert (info.summary, info.passes) == (
        "The larger a loss, the higher its weight",
        "1 forward, 1 backward",
    )


def test_a_gradient_weighter_keeps_its_contract_too(tmp_path):
    name = f"{write(tmp_path / 'mean.py', GRADIENT)}:Mean"
    assert find_weighter(name).kind == "gradient"
    assert isinstance(build_weighter(name, ["a"]), GradientWeighter)
    assert broken_properties(Trial(name)) == []
    differing = [one.name for one, found in violations(Trial(name)) if found]
    assert differing == ["neutrality"]  # the mean counts a task without gradient


def test_the_context_is_handed_over_where_it_is_asked_for(tmp_path):
    source = GOOD.replace("alpha=1.0):", "alpha=1.0, *, context):")
    source = source.replace("self.alpha = alpha", "self.alpha, self.epochs = alpha, context.epochs")
    name = f"{write(tmp_path / 'mine.py', source)}:MyWeighter"
    assert find_weighter(name).options == {"alpha": 1.0}
    assert Trial(name).build().epochs == 20


def test_a_module_is_named_by_its_dots(tmp_path, monkeypatch):
    write(tmp_path / "ours" / "__init__.py", "")
    write(tmp_path / "ours" / "constants.py", "ALPHA = 4.0\n")
    source = "from .constants import ALPHA\n" + GOOD.replace("alpha=1.0", "alpha=ALPHA")
    write(tmp_path / "ours" / "rule.py", source)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_weighter("ours.rule:MyWeighter").options == {"alpha": 4.0}
    assert full_name("ours.rule:MyWeighter") == short_name("ours.rule:MyWeighter")


def test_nothing_is_left_behind(mine, tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    load_own(mine)
    assert sys.path == path
    assert set(sys.modules) == modules
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.py"]  # no __pycache__


def test_what_a_file_prints_is_no_result(tmp_path, capsys):
    load_own(f"{write(tmp_path / 'mine.py', GOOD + 'print(1)')}:MyWeighter")
    assert capsys.readouterr().out == ""


def test_files_of_one_name_do_not_meet(tmp_path):
    one = write(tmp_path / "a" / "mine.py")
    two = write(tmp_path / "b" / "mine.py", GOOD.replace("alpha=1.0", "alpha=9.0"))
    names = [f"{path}:MyWeighter" for path in (one, two)]
    assert [find_weighter(name).options["alpha"] for name in names] == [1.0, 9.0]
    assert find_weighter(names[0]).sha256 != find_weighter(names[1]).sha256


def test_a_file_runs_once_and_again_when_it_has_changed(mine, tmp_path):
    first = load_own(mine)
    assert load_own(mine) is first
    write(tmp_path / "mine.py", GOOD.replace("alpha=1.0", "alpha=5.0"))
    assert load_own(mine, first.sha256) is first  # a comparison that is under way goes on with it
    read_weighter(mine)
    assert find_weighter(mine).options == {"alpha": 5.0}
    with pytest.raises(UsageError, match="is not the file that this run or comparison began with"):
        load_own(mine, first.sha256)


def test_names_are_split_at_the_last_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    windows = WEIGHTER.parse(r"C:\x\mine.py:Mine")
    assert windows.member == "Mine"
    assert windows.short == "mine.py:Mine"
    assert full_name("deepchest+mine.py:Mine") == f"deepchest+{tmp_path / 'mine.py'}:Mine"
    assert short_name("deepchest+a/mine.py:Mine") == "deepchest+mine.py:Mine"
    assert (code_of("dwa"), full_name("dwa"), short_name("dwa")) == (None, "dwa", "dwa")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "There is no file .*mine.py"),
        ("x = 1", "has no class 'MyWeighter', and no other"),
        ("class MyWeightr: pass", "'MyWeighter'. Did you mean 'MyWeightr'"),
        ("class MyWeighter: pass", "is no weighter"),
        ("import nowhere", "line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit", "line 1: SystemExit"),
        ("x = 1\ndef (", "line 2: SyntaxError: "),
        (GOOD.replace("forward", "forwards"), "does not define forward"),
        (
            GOOD.replace("tasks, alpha", "names, alpha"),
            r"should take `tasks`.*\(names, alpha=1.0\)",
        ),
        (GOOD.replace("alpha=1.0", "alpha"), "the option 'alpha' should have a default"),
        (GOOD.replace("alpha=1.0", "alpha=None"), "Found alpha=None"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path, source, words):
    if source is not None:
        write(tmp_path / "mine.py", source)
    with pytest.raises(UsageError, match=words):
        find_weighter(f"{tmp_path / 'mine.py'}:MyWeighter")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py", "Unknown weighter 'mine.py'"),
        ("mine.py:", "names no class"),
        (":Mine", "names no class"),
        ("nowhere.rule:Mine", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("json.nowhere:Mine", "cannot be imported: it is not found"),
        ("sys:Mine", "cannot be imported: it is not found"),
        ("json:JSONDecoder", "is no weighter"),
    ],
)
def test_what_is_no_name_is_refused(name, words):
    with pytest.raises(UsageError, match=words) as error:
        find_weighter(name)
    assert (
        "FILE.py:CLASS" in error.value.hint
        or "mine.py:CLASS" in error.value.hint
        or ("LossWeighter" in error.value.hint)
    )


def test_an_error_of_the_constructor_names_the_line(tmp_path):
    source = GOOD.replace("self.alpha = alpha", "self.alpha = self.beta")
    name = f"{write(tmp_path / 'mine.py', source)}:MyWeighter"
    with pytest.raises(UsageError, match=r"MyWeighter failed: .*mine.py, line 9: AttributeError"):
        build_weighter(name, ["a"])


@pytest.mark.parametrize("one", BROKEN)
def test_each_broken_property_is_found(one, tmp_path):
    """The checks can fail: each finds a weighter that breaks it, and says what it found."""
    trial = Trial(f"{broken(tmp_path / 'mine.py', one)}:MyWeighter")
    found = {one.name: sentence for one, sentence in broken_properties(trial)}
    assert one in found
    assert found[one].endswith(".")


@pytest.mark.parametrize("line", ["self.alpha = alpha", "shares = losses"])
def test_code_that_exits_is_no_success(tmp_path, line):
    """In the constructor, and in the first step."""
    source = GOOD.replace(line, f"raise SystemExit(0); {line}", 1)
    name = f"{write(tmp_path / 'mine.py', source)}:MyWeighter"
    try:
        (found,) = [sentence for _, sentence in violations(Trial(name))]
    except UsageError as error:
        found = error.message
    assert "SystemExit: 0" in found


def test_a_package_that_imports_lazily_is_refused_by_name():
    with pytest.raises(UsageError, match="does not give its class 'PerStepWeighter'"):
        find_weighter("deepchest_cli.weighting:PerStepWeighter")


def test_a_weighter_that_fails_is_not_tried_further(tmp_path):
    source = GOOD.replace("self.alpha *", "self.beta *")
    trial = Trial(f"{write(tmp_path / 'mine.py', source)}:MyWeighter")
    ((one, found),) = violations(trial)
    assert one is PROPERTIES[0]
    assert "mine.py, line 12: AttributeError: 'MyWeighter' object has no attribute 'beta'" in found
    assert Path(tmp_path / "mine.py").is_file()
