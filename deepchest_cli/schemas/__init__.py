"""JSON Schema of every machine-readable output, and the version that all of them carry."""

from collections.abc import Mapping
from typing import Any

SCHEMA_VERSION = 2


def versioned(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as it is written: with the version of its schema."""
    return {"schema_version": SCHEMA_VERSION, **content}
