"""Which record of each tracker a run has, and how far it reaches: a small file in its folder."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deepchest_cli.device_errors import first_line
from deepchest_cli.files import write_json

TRACKING = "tracking.json"


def reason_of(error: BaseException) -> str:
    """Return in a few words why a tracker has failed: the system's, where they are among others."""
    found = re.search(r"\[Errno -?\d+\] ([^\")]+)", str(error))
    return without_credentials(found[1] if found else first_line(error) or type(error).__name__)


def without_credentials(text: str) -> str:
    """Return text whose addresses have neither a user's name and password nor a query.

    Of a password all is left out, also where it has characters that should have been escaped.
    """
    text = re.sub(r"://[^:/@\s]*(:[^@\s]*)?@", "://***@", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\"]*", r"\1", text)


@dataclass(frozen=True)
class Record:
    """A tracker's record of a run or a comparison."""

    identifier: str
    place: str = ""  # the store that has it
    step: int = 0  # the last epoch that was logged
    content: str = ""  # what was logged at the end: the outcome, or a hash; empty: not yet


def read_records(folder: Path) -> dict[str, Record]:
    """Return the records by tracker; none where the file is missing or damaged."""
    try:
        found = json.loads((folder / TRACKING).read_text(encoding="utf-8"))
        return {name: Record(**values) for name, values in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_records(folder: Path, records: Mapping[str, Record]) -> None:
    """Write the records by tracker, whole or not at all."""
    write_json(folder / TRACKING, {name: asdict(record) for name, record in records.items()})
