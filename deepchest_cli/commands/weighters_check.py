"""`deepchest weighters --check`: whether a weighter keeps the contract that training relies on."""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from deepchest_cli.commands.next_steps import training_with
from deepchest_cli.commands.weighters_display import entry_of, options_text
from deepchest_cli.config import parse_assignments
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.weighting.properties import Property

OK, BROKEN, DIFFERS = "ok", "BROKEN", "differs"
INDENT = " " * 9  # below the longest of them


def check_weighter(text: str, terminal: Terminal) -> None:
    """Try the properties on a weighter; raises `DeepChestError` where it breaks a required one."""
    from deepchest_cli.comparison.running.jobs import parse_arm
    from deepchest_cli.weighting.own import COMPOSITE, OwnWeighterInfo
    from deepchest_cli.weighting.properties import properties_of, refuse_without_effect, violations
    from deepchest_cli.weighting.registry import find_weighter, read_weighter
    from deepchest_cli.weighting.trial import Trial

    arm = parse_arm(text, "--check")
    options = parse_assignments(arm.options, f"--check {arm.label}:")
    read_weighter(arm.weighter, options)
    info = find_weighter(arm.weighter.removeprefix(COMPOSITE))
    trial = Trial.of(arm.weighter, options)
    with redirect_stdout(sys.stderr):  # what one's own code prints is no result
        found = list(violations(trial))
    if not found[0][1]:
        refuse_without_effect(trial)
    broken = [one for one, violation in found if violation and one.required]
    sha256 = info.sha256 if isinstance(info, OwnWeighterInfo) else None
    if terminal.json:
        entry = {**entry_of(info), "name": arm.weighter}
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
        defaults = options_text(info.options) or "none"
        terminal.paragraph(f"{arm.label}: {info.summary or 'no description'}")
        terminal.paragraph(f"Kind: {info.kind}. Options and defaults: {defaults}.")
        if sha256:
            terminal.line(f"SHA-256: {sha256}")
        for one, violation in found:
            state = (BROKEN if one.required else DIFFERS) if violation else OK
            terminal.line(f"{state:<{len(INDENT)}}{one.name}")
            if violation:
                terminal.paragraph(f"Expected: {one.expected}", INDENT)
                terminal.paragraph(f"Found: {violation}", INDENT)
        terminal.paragraph(_result(found, len(properties_of(trial))))
    if not broken:
        terminal.next_step(training_with(arm.weighter, arm.options))
    else:
        raise DeepChestError(
            f"{arm.label} breaks {count_of(len(broken), 'required property')}.",
            "Training and comparing refuse it until they hold.",
        )


def _result(found: list[tuple["Property", str]], wanted: int) -> str:
    if len(found) < wanted:
        return f"The other {count_of(wanted - len(found), 'property')} can be tested after that."
    holding = sum(not violation for _, violation in found)
    differs = any(violation and not one.required for one, violation in found)
    note = " Training accepts a weighter that only differs from most methods." if differs else ""
    return f"{holding} of {count_of(wanted, 'property')} hold.{note}"
