import pytest
import trackers

from deepchest_cli.training.tracking.registry import TRACKERS


@pytest.fixture
def memory(monkeypatch):
    """A tracker by the name `memory` whose records a test can read."""
    trackers.Memory.reset()
    monkeypatch.setitem(TRACKERS, trackers.NAME, trackers.Memory)
    return trackers.Memory
