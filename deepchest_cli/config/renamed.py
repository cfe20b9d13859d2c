"""Names of version 0.1 and their successors: an old name is answered with the new one."""

from collections.abc import Iterable
from typing import Any

# flags, which are the keys of configuration files too
FLAGS = {
    "--accumulate": "--grad-accum-steps",
    "--against": "--compare-to",
    "--clip-norm": "--clip-grad-norm",
    "--localisation": "--localization",
    "--no-localisation": "--no-localization",
    "--not-worse": "--fail-if-inferior",
    "--positive-weight": "--pos-weight-power",
    "--relabels": "--expert-labels",
    "--replicates": "--bootstrap-replicates",
    "--tensorboard": "--track",
}
NOTES = {
    "--not-worse": "It takes the weighter alone; --margin sets the margin.",
    "--tensorboard": "Write --track tensorboard.",
}

# options of weighters, their values, and metrics of --fail-under
WORDS = {
    "part": "split",
    "renormalise": "renormalize",
    "loss-ratio": "normalized-cross-entropy",
    "f1_macro": "f1_class_mean",
    "worst_f1_macro": "worst_f1_class_mean",
    "lift": "ap_over_prevalence",
    "worst_lift": "worst_ap_over_prevalence",
}
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
SINCE = "since version 0.2"


def renamed(name: str, known: Iterable[str]) -> str | None:
    """Return the new name of an old flag or word where that is among the known ones."""
    new = FLAGS.get(name) or WORDS.get(name)
    return new if new is not None and new in known else None


def with_current_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Return what version 0.1 kept in a checkpoint or an exported file, by today's names."""
    current = {}
    for key, value in content.items():
        names = SECTION_KEYS.get(key, {})
        entry = {names.get(k, k): v for k, v in value.items()} if names and value else value
        current[CHECKPOINT_KEYS.get(key, key)] = entry
    return current
