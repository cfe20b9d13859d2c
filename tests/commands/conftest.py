import pytest


@pytest.fixture(autouse=True)
def quick_figures(no_rendering):
    """Render the figures of module fixtures only."""
