"""What the docstrings of a weighter say: its formula, how it behaves and what each option means.

The sources are parsed, not imported: no torch is needed. docs/weighters.md is written from the
same.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FORMULA = " " * 4  # begins the lines of a formula in a docstring


@dataclass(frozen=True)
class Documentation:
    """The docstrings of a weighter, without indentation."""

    formula: str  # of the module: the method, its equation and what the symbols mean
    details: str = ""  # of the class, without its options
    meanings: Mapping[str, str] = field(default_factory=dict)  # range and meaning of each option

    @classmethod
    def of(cls, module: str | None, factory: str | None) -> "Documentation":
        """Return what the docstrings of a module and of its weighter say."""
        described = described_options(inspect.cleandoc(factory or ""))
        return cls(inspect.cleandoc(module or ""), described.pop(""), described)


def read_documentation(source: Path, factory_name: str) -> Documentation:
    """Return the documentation in a file; what it only derives has none of its own."""
    module = ast.parse(source.read_text("utf-8"))
    found = [
        ast.get_docstring(node)
        for node in module.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == factory_name
    ]
    return Documentation.of(ast.get_docstring(module), found[0] if found else None)


def described_options(doc: str) -> dict[str, str]:
    """Return the descriptions by option of a class's docstring; the rest of it under ""."""
    found: dict[str, list[str]] = {"": []}
    current = ""
    for line in doc.splitlines():
        if option := re.match(r"([a-z_]+): (.*)", line):
            current = option[1]
            found[current] = [option[2]]
        elif current and line.startswith(" "):
            found[current].append(line.strip())
        else:
            current = ""
            found[""].append(line)
    rest = "\n".join(found.pop("")).strip()
    return {"": rest, **{name: " ".join(lines) for name, lines in found.items()}}


def blocks_of(doc: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a docstring: whether it is a formula, and its text without the indent."""
    lines = doc.strip().splitlines()
    while lines:
        is_formula = lines[0].startswith(FORMULA)
        count = next(
            (n for n, line in enumerate(lines) if line.startswith(FORMULA) != is_formula),
            len(lines),
        )
        part, lines = "\n".join(lines[:count]), lines[count:]
        if is_formula:
            yield True, textwrap.dedent(part)
        elif part.strip():
            yield False, re.sub(r"\n\n+", "\n\n", part.strip())
