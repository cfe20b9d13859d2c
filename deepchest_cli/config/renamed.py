"""Names of version 0.1 and what they are called now; an old one is answered with the new one."""

from collections.abc import Iterable
from pathlib import Path

from deepchest_cli import __version__
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


def refuse_old_state(folder: Path, version: object) -> None:
    """Raise `UsageError` for a run or a comparison that version 0.1 has begun."""
    if str(version).startswith("0.1."):
        raise UsageError(
            f"{folder} was begun by deepchest {version}, whose settings and state have other names "
            f"than those of {__version__}.",
            "Go on with deepchest 0.1, or begin anew in another folder; its models (best.pt) still "
            "predict and evaluate.",
        )
