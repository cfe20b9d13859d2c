import pytest


@pytest.fixture(autouse=True)
def quick_figures(no_rendering):
    """Draw figures, and render none."""
