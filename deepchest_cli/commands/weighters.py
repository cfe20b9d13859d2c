"""`deepchest weighters`: what there is to choose from, what one does, and whether it works."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

from deepchest_cli.commands.next_steps import training_with
from deepchest_cli.commands.weighters_check import check_weighter
from deepchest_cli.commands.weighters_display import (
    described,
    entry_of,
    options_text,
    render_description,
)
from deepchest_cli.config import WeightersConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal


def weighters(config: WeightersConfig, terminal: Terminal) -> None:
    """List every weighter with kind, cost and paper, or describe those that are named.

    A description has formula, options with their defaults, cost and paper. With --check, one
    weighter, built-in or your own, is built and tried on made-up losses.

    Examples:  deepchest weighters

    deepchest weighters deepchest dwa

    deepchest weighters --check 'mine.py:MyWeighter[alpha=2]'
    """
    if config.check is not None:
        if config.names:
            raise UsageError("A weighter is either described or checked.", "Drop one of the two.")
        check_weighter(config.check, terminal)
    elif config.names:
        _describe(config.names, terminal)
    else:
        _list(terminal)


def _list(terminal: Terminal) -> None:
    from deepchest_cli.weighting import WEIGHTERS

    if terminal.json:
        terminal.document({"weighters": [entry_of(info) for info in WEIGHTERS.values()]})
        return
    rows = [
        [
            info.name,
            info.kind,
            "+".join(word for word in info.passes.split() if word in ("1", "2", "T")),
            info.paper,
            info.memory,
            options_text(info.options) or "–",
        ]
        for info in WEIGHTERS.values()
    ]
    columns = ["Weighter", "kind", "passes", "paper", "memory", "options"]
    terminal.table(columns, rows, left="l" * len(columns), essential=4)
    terminal.note(
        "Passes of a step: forward + backward; + T: one more for each of T findings, to one layer. "
        "Weighters of the kind gradient use gradients at the features; with --gradient-level "
        "parameters they take T backward passes, and each gradient is as large as the model."
    )
    terminal.note(
        "deepchest+NAME puts DeepChest's weights under another weighter. FILE.py:CLASS names one "
        "of your own; --check FILE.py:CLASS checks it."
    )
    terminal.next_step("deepchest weighters deepchest")


def _describe(names: tuple[str, ...], terminal: Terminal) -> None:
    entries = [described(name) for name in dict.fromkeys(names)]
    if terminal.json:
        terminal.document({"weighters": entries})
        return
    for number, entry in enumerate(entries):
        if number:
            terminal.line("")
        render_description(entry, terminal)
    terminal.next_step(_command_after(entries))


def _command_after(entries: list[dict[str, Any]]) -> str:
    """Return the command that tries the weighters: several in a comparison, one in training."""
    if len(entries) > 1:
        arms = (
            f"{entry['name']}[{option}]" if (option := _needed_option(entry)) else entry["name"]
            for entry in entries
        )
        return f"deepchest compare-weighters --weighters {quote(','.join(arms))}"
    (entry,) = entries
    if "weighter_sha256" in entry:
        return f"deepchest weighters --check {quote(entry['name'])}"
    return training_with(entry["name"], filter(None, [_needed_option(entry)]))


def _needed_option(entry: Mapping[str, Any]) -> str:
    """Return an option without which a weighter cannot be built, with a value to begin with."""
    from deepchest_cli.data.findings import FINDINGS

    if "weights" not in entry["options"]:
        return ""
    return f"weights={','.join(f'{finding}:1' for finding in FINDINGS)}"
