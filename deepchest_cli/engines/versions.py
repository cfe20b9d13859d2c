"""The versions that must be the same in all processes that work together."""

import platform

from deepchest_cli import __version__


def program_versions() -> dict[str, str]:
    """Return the version of this program and that of Python, without its last number."""
    return {"deepchest": __version__, "Python": platform.python_version().rpartition(".")[0]}
