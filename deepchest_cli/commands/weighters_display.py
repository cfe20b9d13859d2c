"""What `deepchest weighters` says of weighters."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from deepchest_cli.terminal import INDENT, NARROWEST, Terminal

if TYPE_CHECKING:
    from deepchest_cli.weighting import WeighterInfo

DEEPER = 3 * INDENT  # of what goes on in a next line of a formula


def entry_of(info: "WeighterInfo") -> dict[str, Any]:
    """Return what a list of weighters says of one."""
    return {
        "name": info.name,
        "kind": info.kind,
        "summary": info.summary,
        "passes": info.passes,
        "memory": info.memory,
        "paper": info.paper,
        "options": dict(info.options),
    }


def options_text(options: Mapping[str, Any]) -> str:
    """Return options with their values, as they are given on a command line."""
    return " ".join(f"{key}={value}" for key, value in options.items())


def described(name: str) -> dict[str, Any]:
    """Return what is known of a weighter, also of one's own and of `deepchest+NAME`.

    Raises `UsageError` for an unknown one.
    """
    from deepchest_cli.weighting.own import COMPOSITE, OwnWeighterInfo
    from deepchest_cli.weighting.registry import DEEPCHEST_OPTION, find_weighter, read_weighter

    with redirect_stdout(sys.stderr):  # what one's own code prints is no result
        read_weighter(name)
        info = find_weighter(name.removeprefix(COMPOSITE))
    found = info.documentation
    entry = {
        **entry_of(info),
        "name": name,
        "formula": found.formula,
        "details": found.details,
        "meanings": {key: found.meanings.get(key, "") for key in info.options},
    }
    if isinstance(info, OwnWeighterInfo):
        entry["weighter_sha256"] = info.sha256
    if name.startswith(COMPOSITE):
        below = find_weighter("deepchest")
        entry["summary"] += " (on the losses times DeepChest's weights)"
        entry["memory"] = f"{info.memory}; DeepChest's: {below.memory}"
        for key, value in below.options.items():
            entry["options"][DEEPCHEST_OPTION + key] = value
            entry["meanings"][DEEPCHEST_OPTION + key] = below.documentation.meanings[key]
    return entry


def render_description(entry: Mapping[str, Any], terminal: Terminal) -> None:
    """Show what is known of a weighter, as `described` returns it."""
    terminal.paragraph(f"{entry['name']}: {entry['summary'] or 'no description'}")
    terminal.line("")
    _render_docstring(entry["formula"], terminal)
    if entry["details"].rstrip(".").lower() != entry["summary"].lower():
        _render_docstring(entry["details"], terminal)
    if entry["options"]:
        terminal.line("Options and their defaults")
        for key, value in entry["options"].items():
            terminal.paragraph(f"{key}={value}", INDENT)
            if entry["meanings"][key]:
                terminal.paragraph(entry["meanings"][key], 2 * INDENT)
        terminal.line("")
    for name, key in (("Kind", "kind"), ("A step", "passes"), ("Memory", "memory")):
        terminal.paragraph(f"{name}: {entry[key]}")
    terminal.paragraph(f"Paper: {entry['paper']}")
    if "weighter_sha256" in entry:
        terminal.line(f"SHA-256: {entry['weighter_sha256']}")


def _render_docstring(doc: str, terminal: Terminal) -> None:
    """Write the formulas of a docstring line by line, and its text in paragraphs."""
    from deepchest_cli.weighting.documentation import blocks_of

    for is_formula, text in blocks_of(doc):
        if is_formula:
            for line in text.splitlines():
                _render_formula(line, terminal)
        else:
            for number, paragraph in enumerate(text.replace("\n- ", "\n\n- ").split("\n\n")):
                if number and not paragraph.startswith("- "):
                    terminal.line("")
                terminal.paragraph(" ".join(paragraph.split()))
        terminal.line("")


def _render_formula(line: str, terminal: Terminal) -> None:
    """Write a line of a formula; one that is too long goes on where a legend begins."""
    parts = [line]
    if len(INDENT + line) > terminal.width:
        parts = line.replace(",   ", ",\0").split("\0")
    for number, part in enumerate(parts):
        indent = INDENT if number == 0 else DEEPER
        lines = wrap(
            part, max(terminal.width, NARROWEST), initial_indent=indent, subsequent_indent=DEEPER,
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
        )  # fmt: skip
        for one in lines:
            terminal.line(one)
