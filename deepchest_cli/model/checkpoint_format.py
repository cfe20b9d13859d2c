"""The format of checkpoints; apart from `checkpoint`, as initial weights may come from one."""

from pathlib import Path
from typing import Any, TypeGuard

from deepchest_cli.errors import DeepChestError

BEST, LAST = "best.pt", "last.pt"
FORMAT = "deepchest-checkpoint"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, FORMAT_VERSION)  # 1: of deepchest 0.1
SECTIONS = ("architecture", "origin", "tensors")
PUBLISHED = "xrv/"  # models of others, named and not written by this program


def is_published(model: Path) -> bool:
    """Whether a path is the name of a published model: xrv/NAME or xrv/NAME=FILE."""
    return model.as_posix().startswith(PUBLISHED) and not model.exists()


def is_checkpoint(content: object) -> TypeGuard[dict[str, Any]]:
    """Whether the content of a file is a checkpoint of this program, of whatever version."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def refuse_unusable(content: dict[str, Any], path: Path) -> None:
    """Raise `DeepChestError` for a checkpoint of another format version or without its sections."""
    if content.get("format_version") not in READABLE_VERSIONS:
        raise DeepChestError(
            f"{path} is of format version {content.get('format_version')!r}; "
            f"this program reads version {FORMAT_VERSION}.",
            "Use the deepchest version that wrote it.",
        )
    if not all(isinstance(content.get(section), dict) for section in SECTIONS):
        raise DeepChestError(f"The checkpoint {path} is damaged: sections of it are missing.")
