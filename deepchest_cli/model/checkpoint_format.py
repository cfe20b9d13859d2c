"""How a checkpoint is told from other files; apart, because weights too may come from one."""

from pathlib import Path
from typing import Any, TypeGuard

from deepchest_cli.errors import DeepChestError

FORMAT = "deepchest-checkpoint"
FORMAT_VERSION = 1
PARTS = ("architecture", "origin", "tensors")


def is_checkpoint(content: object) -> TypeGuard[dict[str, Any]]:
    """Whether the content of a file is a checkpoint of this program, of whatever version."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def refuse_unusable(content: dict[str, Any], path: Path) -> None:
    """Raise `DeepChestError` for a checkpoint of another format version or without its parts."""
    if content.get("format_version") != FORMAT_VERSION:
        raise DeepChestError(
            f"{path} is of format version {content.get('format_version')!r}; "
            f"this program reads version {FORMAT_VERSION}.",
            "Use the deepchest version that wrote it.",
        )
    if not all(isinstance(content.get(part), dict) for part in PARTS):
        raise DeepChestError(f"The checkpoint {path} is damaged: parts of it are missing.")
