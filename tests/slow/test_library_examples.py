"""The examples of the functions, in the page and in the docstrings, run as they stand."""

import inspect
import re
from pathlib import Path

import pytest

import deepchest_cli

PAGE = Path(__file__).parents[2] / "docs/library.md"
# train first: the newest run of the page has folds
FUNCTIONS = ["train", *sorted({*deepchest_cli.__all__} - {"__version__", "train"})]


@pytest.fixture(scope="module", autouse=True)
def no_costs():
    """Leave out what takes most of the time of a comparison, and no example shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepchest_cli.comparison.running.costs.load_or_measure_costs", lambda _: {})
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which all examples were run, in the order of the page."""
    folder = tmp_path_factory.mktemp("examples")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    functions = [block for block in blocks if "from deepchest_cli import" in block]
    assert len(functions) >= 7
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, block in enumerate(functions):
            exec(compile(block, f"example {number}", "exec"), {"__name__": "example"})
        yield folder


def test_examples_of_the_page(ran):
    for name in ("roc.png", "differences.png", "runs/latest/out-of-fold.csv", "comparisons/first"):
        assert (ran / name).exists(), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples_of_the_docstrings(name, ran, monkeypatch):
    monkeypatch.chdir(ran)
    text = inspect.getdoc(getattr(deepchest_cli, name))
    lines = re.findall(r"^>>> (.*)$", text, re.MULTILINE)
    assert len(lines) >= 2
    names = {name: getattr(deepchest_cli, name)}
    if "image.png" in text:
        (ran / "image.png").write_bytes(next((ran / "data/demo/images").iterdir()).read_bytes())
    for line in lines:
        exec(line, names)
