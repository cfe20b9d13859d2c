"""Names of version 0.1 and what they are called now; an old one is answered with the new one."""

from collections.abc import Iterable
from typing import Any

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


# of checkpoints and of the metadata in exported files, and within their sections
CHECKPOINT_KEYS = {"choices": "validation_fit", "seen": "training_images"}
SECTION_KEYS = {
    "architecture": {"deviation": "std"},
    "preprocessing": {"deviation": "std"},
    "reference": {
        "false_warnings": "false_warning_rate",
        "likeness": "min_correlation",
        "picture": "mean_image",
        "rest": "residual_variance",
    },
}


def with_current_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Return what version 0.1 kept in a checkpoint or an exported file, by today's names."""
    current = {}
    for key, value in content.items():
        names = SECTION_KEYS.get(key, {})
        entry = {names.get(k, k): v for k, v in value.items()} if names and value else value
        current[CHECKPOINT_KEYS.get(key, key)] = entry
    return current
