"""The user's cache: what was measured on this machine once, and can be measured again."""

import os
import sys
from pathlib import Path


def kept_rates() -> Path:
    """Return the file of measured training rates, which need not be there."""
    return _folder() / "deepchest" / "training-rates.json"


def _folder() -> Path:
    """Return where the system keeps a user's caches."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails without a home
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local"))
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
