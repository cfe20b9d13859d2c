"""Names of version 0.1 and what they are called now; an old one is answered with the new one."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from deepchest_cli.errors import UsageError

FLAGS = {
    "--accumulate": "--grad-accum-steps",
    "--against": "--compare-to",
    "--clip-norm": "--clip-grad-norm",
    "--not-worse": "--fail-if-inferior",
    "--positive-weight": "--pos-weight-power",
    "--relabels": "--expert-labels",
    "--replicates": "--bootstrap-replicates",
}
NOTES = {"--not-worse": "It takes the weighter alone; the margin is that of --margin."}


def refuse_old_flag(flag: str, known: Iterable[str]) -> None:
    """Raise `UsageError` with the new name for a flag of version 0.1 that is among the known."""
    new = FLAGS.get(flag)
    if new is not None and new in known:
        raise UsageError(
            f"{flag} is called {new} since version 0.2.", NOTES.get(flag, f"Write {new}.")
        )


def refuse_version_0_1(folder: Path) -> None:
    """Raise `UsageError` for the folder of a run or a comparison that version 0.1 has begun."""
    version = ""
    with suppress(OSError, ValueError, KeyError, TypeError):  # damaged, or not such a folder
        version = json.loads((folder / "environment.json").read_text("utf-8"))["deepchest"]
    if str(version).startswith("0.1."):
        raise UsageError(
            f"{folder} was begun by deepchest {version}, whose settings have other names.",
            "Go on with deepchest 0.1, or begin anew in another folder; its files stay readable.",
        )
