"""The user's cache folder: measurements of this machine, and features of linear probes."""

import os
import sys
from pathlib import Path


def training_rates_file() -> Path:
    """Return the file of measured training rates, which need not exist."""
    return _folder() / "deepchest" / "training-rates.json"


def features_folder() -> Path:
    """Return the folder of the features of linear probes, which need not exist."""
    return _folder() / "deepchest" / "features"


def _folder() -> Path:
    """Return the system's folder for a user's caches."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails without a home
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local"))
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
