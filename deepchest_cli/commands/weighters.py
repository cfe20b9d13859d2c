"""`deepchest weighters`: what there is to choose from, and whether one keeps its contract."""

import sys
import textwrap
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import WeightersConfig, parse_assignments
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.weighting import WeighterInfo
    from deepchest_cli.weighting.properties import Property

WIDTH = 80  # of the lines of a check
OK, BROKEN, DIFFERS = "ok", "BROKEN", "differs"
INDENT = " " * 9  # below the longest of them


def weighters(config: WeightersConfig, terminal: Terminal) -> None:
    """List every weighter: kind, cost, paper and options with their defaults.

    With --check one weighter, built-in or of your own, is built and tried on made-up losses.

    Examples:  deepchest weighters

    deepchest weighters --check 'mine.py:MyWeighter[alpha=2]'
    """
    from deepchest_cli.weighting import WEIGHTERS

    if config.check is not None:
        _check(config.check, terminal)
        return
    if terminal.json:
        terminal.document({"weighters": [_entry(info) for info in WEIGHTERS.values()]})
        return
    rows = [
        [
            info.name,
            info.kind,
            info.passes,
            info.memory,
            info.paper,
            _options_text(info.options) or "–",
        ]
        for info in WEIGHTERS.values()
    ]
    columns = ["Weighter", "kind", "a step", "memory", "paper", "options"]
    terminal.table(columns, rows, left="l" * len(columns))
    terminal.note(
        "T: how many findings. Of the kind gradient: at the features; with --gradient-level "
        "parameters T passes backward, and each gradient is as large as the model. "
        "deepchest+NAME puts DeepChest's weights under another weighter. FILE.py:CLASS names one "
        "of your own; --check FILE.py:CLASS checks it."
    )


def _entry(info: "WeighterInfo") -> dict[str, Any]:
    return {
        "name": info.name,
        "kind": info.kind,
        "summary": info.summary,
        "passes": info.passes,
        "memory": info.memory,
        "paper": info.paper,
        "options": dict(info.options),
    }


def _options_text(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


def _check(text: str, terminal: Terminal) -> None:
    """Try the properties on a weighter; raises `DeepChestError` where it breaks a required one."""
    from deepchest_cli.comparison.running.jobs import parse_arm
    from deepchest_cli.weighting.own import COMPOSITE, OwnWeighterInfo
    from deepchest_cli.weighting.properties import properties_of, refuse_without_effect, violations
    from deepchest_cli.weighting.registry import find_weighter, read_weighter
    from deepchest_cli.weighting.trial import Trial

    arm = parse_arm(text, "--check")
    options = parse_assignments(arm.options, f"--check {arm.label}:")
    read_weighter(arm.weighter, options)
    info, trial = (
        find_weighter(arm.weighter.removeprefix(COMPOSITE)),
        Trial.of(arm.weighter, options),
    )
    with redirect_stdout(sys.stderr):  # what one's own code prints is no result
        found = list(violations(trial))
    if not found[0][1]:
        refuse_without_effect(trial)
    broken = [one for one, violation in found if violation and one.required]
    sha256 = info.sha256 if isinstance(info, OwnWeighterInfo) else None
    if terminal.json:
        entry = {**_entry(info), "name": arm.weighter}
        checks = [
            {
                "property": one.name,
                "required": one.required,
                "holds": not violation,
                "expected": one.expected,
                "found": violation or None,
            }
            for one, violation in found
        ]
        if sha256:
            entry["weighter_sha256"] = sha256
        terminal.document({"weighters": [entry], "checks": checks})
    else:
        options_text = _options_text(info.options) or "none"
        _write(f"{arm.label}: {info.summary or 'no description'}", terminal)
        _write(f"Kind: {info.kind}. Options and defaults: {options_text}.", terminal)
        if sha256:
            terminal.line(f"SHA-256: {sha256}")
        for one, violation in found:
            state = (BROKEN if one.required else DIFFERS) if violation else OK
            terminal.line(f"{state:<{len(INDENT)}}{one.name}")
            if violation:
                _write(f"Expected: {one.expected}", terminal, INDENT)
                _write(f"Found: {violation}", terminal, INDENT)
        _write(_result(found, len(properties_of(trial))), terminal)
    if broken:
        raise DeepChestError(
            f"{arm.label} breaks {count_of(len(broken), 'required property')}.",
            "Training and comparing refuse it until they hold.",
        )


def _write(text: str, terminal: Terminal, indent: str = "") -> None:
    for line in textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ):
        terminal.line(line)


def _result(found: list[tuple["Property", str]], wanted: int) -> str:
    if len(found) < wanted:
        return f"The other {count_of(wanted - len(found), 'property')} can be tested after that."
    holding = sum(not violation for _, violation in found)
    differs = any(violation and not one.required for one, violation in found)
    note = " Training takes one that only differs from most methods." if differs else ""
    return f"{holding} of {count_of(wanted, 'property')} hold.{note}"
