"""Train, compare and ship multi-label chest X-ray classifiers."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepchest_cli.library.prediction import load_model

__version__ = "0.2.0.dev0"
__all__ = ["__version__", "load_model"]

# onnxruntime collects usage data, and leaves a device's number in the home folder, as soon as it is
# imported. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import what takes long when it is asked for."""
    if name == "load_model":
        from deepchest_cli.library.prediction import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
