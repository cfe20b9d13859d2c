"""Where the copy of a model goes that has other operating points."""

from pathlib import Path

from deepchest_cli.config import RUN_CONFIG
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sweep
from deepchest_cli.model.checkpoint_format import BEST, LAST

ONNX, CHECKPOINT = ".onnx", ".pt"
EXPORTED = (ONNX, ".pt2")


def copy_target(model: Path, out: Path, force: bool) -> Path:
    """Return the file that the copy of a model's file goes into; nothing is written.

    A checkpoint goes into a file that ends in .pt, or into a folder as its best checkpoint, which
    `--model` accepts as it does a run's; an ONNX file into one that ends in .onnx. Raises
    `UsageError` for another suffix, for what is there already unless `force` is given, and in any
    case for the model itself and for the folder of a run.
    """
    onnx, suffix = model.suffix.lower() == ONNX, out.suffix.lower()
    if onnx and suffix != ONNX:
        raise UsageError(
            f"--out {out}: the copy of an ONNX file ends in {ONNX}.", f"Use --out {out}{ONNX}"
        )
    if not onnx and suffix in EXPORTED:
        raise UsageError(
            f"--out {out}: the copy of a checkpoint is a folder, or a file that ends in "
            f"{CHECKPOINT}.",
            f"Use --out {out.with_suffix('')}, then deepchest export --model {out.with_suffix('')}",
        )
    if onnx or suffix == CHECKPOINT:
        path = out
        _refuse_unless(force or not out.exists(), out)
    else:
        path = out / BEST
        _refuse_folder(out, force)
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError(f"--out {out} is the model itself.", "Choose another --out.")
    return path


def _refuse_folder(out: Path, force: bool) -> None:
    """Raise for a file, for a run's folder, and for one that holds anything without `force`."""
    if not out.is_dir():
        _refuse_unless(not out.exists(), out)
        return
    if any((out / name).exists() for name in (RUN_CONFIG, LAST)):
        raise UsageError(f"--out {out} is the folder of a run.", "Choose another --out.")
    sweep(out, [BEST])
    names = sorted(path.name for path in out.iterdir())
    _refuse_unless(not names or (force and BEST in names), out, f": it holds {few(names)}")


def _refuse_unless(allowed: bool, out: Path, what: str = "") -> None:
    if not allowed:
        raise UsageError(
            f"--out {out} exists already{what}.",
            "Replace it with --force, or choose another --out.",
        )
