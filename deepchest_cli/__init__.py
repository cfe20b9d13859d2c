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

# Packages that report on their use do so as soon as they are imported or called: onnxruntime (which
# leaves a device's number in the home folder), mlflow, huggingface_hub (also for transformers and
# timm) and wandb (its errors). Whoever wants that sets the variable to the opposite.
_NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_ERROR_REPORTING": "false",
}
for _name, _value in _NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"deepchest_cli.library.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
