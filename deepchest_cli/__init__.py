"""Train, compare and ship multi-label chest X-ray classifiers."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepchest_cli.library.comparison import compare, load_comparison
    from deepchest_cli.library.data import load_dataset, prepare
    from deepchest_cli.library.evaluation import evaluate
    from deepchest_cli.library.model import load_model
    from deepchest_cli.library.prediction import predict
    from deepchest_cli.library.run import load_run
    from deepchest_cli.library.training import train

__version__ = "0.2.0.dev0"
__all__ = [
    "__version__", "compare", "evaluate", "load_comparison", "load_dataset", "load_model",
    "load_run", "predict", "prepare", "train",
]  # fmt: skip

# where each function is; it is imported when it is asked for, and torch when it is called
_MODULES = {
    "compare": "comparison",
    "evaluate": "evaluation",
    "load_comparison": "comparison",
    "load_dataset": "data",
    "load_model": "model",
    "load_run": "run",
    "predict": "prediction",
    "prepare": "data",
    "train": "training",
}

# onnxruntime collects usage data, and leaves a device's number in the home folder, as soon as it is
# imported. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"deepchest_cli.library.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
