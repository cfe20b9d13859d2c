"""Documents that are generated are those that their sources give."""

import importlib.util
import inspect
import sys
from pathlib import Path

import pytest

from deepchest_cli import __version__
from deepchest_cli.weighting.documentation import described_options

GENERATOR = Path(__file__).parents[1] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate):
    for path, text in generate.pages().items():
        assert path.read_text("utf-8") == text, "run: python docs/generate.py"


def test_a_stale_page_is_reported_and_written_anew(generate, monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "deepchest_cli/library").mkdir(parents=True)
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    named = "docs/weighters.md, docs/cli.md, deepchest_cli/library/options.py"
    with pytest.raises(SystemExit, match=f"Not current: {named}"):
        generate.main()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    generate.main()
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit) as done:
        generate.main()
    assert done.value.code == 0


def test_every_option_of_a_weighter_is_described(generate):
    for info in generate.WEIGHTERS.values():
        source = getattr(info.factory, "func", info.factory)
        described = described_options(inspect.getdoc(source) or "")
        assert set(info.options) <= described.keys(), info.name
        assert all(text.endswith(".") for key, text in described.items() if key), info.name


def test_the_citation_names_this_version():
    lines = (GENERATOR.parents[1] / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {__version__}" in lines
