"""The training loops of the documents, run as they stand there."""

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs/library.md"
CHAPTER = "Weighters in a training loop of your own"
NAME = '"deepchest"'  # of the weighter, in each program
LINES = 40  # a program has at most, blank ones apart


def loop(heading: str) -> str:
    """Return the program below a heading."""
    chapter = PAGE.read_text("utf-8").partition(f"## {CHAPTER}\n")[2].partition("\n## ")[0]
    section = chapter.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


def run_loop(heading: str, weighter: str = "deepchest", **replaced: str) -> dict[str, Any]:
    """Run a program with some weighter; return its names.

    replaced: values for keyword arguments in its text.
    """
    code = loop(heading)
    assert sum(map(bool, map(str.strip, code.splitlines()))) <= LINES
    assert code.count(NAME) == 1
    code = code.replace(NAME, f'"{weighter}"')
    for keyword, value in replaced.items():
        code, count = re.subn(rf"\b{keyword}=[\w.]+", f"{keyword}={value}", code)
        assert count == 1, keyword
    names: dict[str, Any] = {"__name__": "loop"}
    exec(compile(code, heading, "exec"), names)
    return names
