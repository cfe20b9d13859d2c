import pytest
import trackers


@pytest.fixture
def memory(monkeypatch):
    """A tracker by the name `memory` whose records a test can read."""
    return trackers.install(monkeypatch, "memory")
