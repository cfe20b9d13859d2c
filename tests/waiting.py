"""Waiting for what another process or thread does, however slow the machine is."""

import time
from collections.abc import Callable
from typing import TypeVar

# seconds: far more than a loaded machine needs, so that only what never ends reaches it
LIMIT = 600.0
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], limit: float = LIMIT) -> Found:
    """Return what `look` finds as soon as that is true."""
    until = time.monotonic() + limit
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found
