"""What evaluation knows of NIH's own files; the one place where their modules are named."""

from deepchest_cli.data.sources.nih_metadata import (
    BOX_FRAME,
    BOX_SPELLINGS,
    BOXED_FINDINGS,
    WHOLE_TABLE,
    Metadata,
    read_metadata,
)

__all__ = [
    "BOXED_FINDINGS",
    "BOX_FRAME",
    "BOX_SPELLINGS",
    "WHOLE_TABLE",
    "Metadata",
    "read_metadata",
]
