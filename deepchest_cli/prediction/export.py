"""Writing a checkpoint as ONNX or as a torch.export program, and checking what was written.

A plain torch file is a torch.export program and not TorchScript, which torch no longer develops and
warns of: it holds the graph with its weights, loads with torch alone, and runs at any batch size.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.files import atomic_write, sweep
from deepchest_cli.model.checkpoint import LoadedModel, load_model
from deepchest_cli.model.checkpoint_format import is_published
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.own_code import describe, own_behind
from deepchest_cli.prediction.onnx_network import FEATURES, INPUT, LOGITS, METADATA_KEY, open_onnx
from deepchest_cli.prediction.torch_network import TorchNetwork, metadata_of

Form = Literal["onnx", "torch"]
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
EXTRA = "deepchest.json"  # in the torch file
TOLERANCE = 1e-4  # of logits, relative to their size where that is above 1
OPSET = 18  # the first whose Resize and reductions are those of torch
CHECKED = 3  # images; not the number that was traced, so that a fixed batch would fail
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """A written file and how far its logits are from the checkpoint's."""

    path: Path
    difference: float  # largest, absolute
    stored_size: int  # pixels of the height and width that it takes


class Exportable(nn.Module):
    """Maps stored images (B, S, S) of bytes to features (B, D) and logits (B, T).

    Resizing is linear, and so a product with a matrix from either side: the same numbers as
    `to_gray`, in operations that every runtime has.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        architecture = classifier.architecture
        self.classifier = classifier
        self.mean, self.std = architecture.mean, architecture.std
        stored, size = architecture.stored_size, architecture.image_size
        self.shrinks = stored != size
        self.register_buffer("shrink", _resizing(stored, size))  # (size, S)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        gray = images.to(torch.float32) / 255
        if self.shrinks:
            shrink = cast(Tensor, self.shrink)
            gray = torch.matmul(torch.matmul(shrink, gray), shrink.T).clamp(0, 1)
        found: tuple[Tensor, Tensor] = self.classifier(((gray - self.mean) / self.std).unsqueeze(1))
        return found


def _resizing(stored: int, size: int) -> Tensor:
    """Return the matrix (size, stored) of antialiased bilinear resizing, one axis of it."""
    identity = torch.eye(stored, dtype=torch.float64)[None, None]
    resized = F.interpolate(
        identity, size=(size, stored), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0, 0].to(torch.float32)


def export_model(model: Path, form: Form, out: Path | None, force: bool) -> Exported:
    """Write a run's or a checkpoint's model as a file; it stands only when its logits agree.

    Raises `UsageError` for a file that is there, and without the packages for ONNX, and
    `DeepChestError` where the network cannot be exported, or where the logits of the file are
    others than the checkpoint's.
    """
    if form == "onnx":
        refuse_without_packages()
    loaded = load_model(model, CPU)
    if out is None and is_published(model):
        name = f"{loaded.classifier.architecture.backbone.rpartition('/')[2]}{SUFFIX[form]}"
        raise UsageError("--out is missing.", f"Name the file: --out {name}")
    path = out or loaded.path.with_name(f"model{SUFFIX[form]}")
    if path.suffix != SUFFIX[form]:
        raise UsageError(
            f"--out {path}: a file of this format ends in {SUFFIX[form]}.",
            f"Use --out {path.with_suffix(SUFFIX[form])}, or another --format.",
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", "Add --force, or choose another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, [path.name])
    with atomic_write(path) as temporary:
        written = temporary.with_name(f"{temporary.name}{SUFFIX[form]}")
        try:
            _export(loaded, form, written)
            difference = _check(READERS[form](written), loaded, path)
            written.replace(temporary)
        finally:
            written.unlink(missing_ok=True)
    return Exported(path, difference, loaded.classifier.architecture.stored_size)


def _export(model: LoadedModel, form: Form, path: Path) -> None:
    """Write the file; raises `DeepChestError` for a network that the exporter cannot follow."""
    try:
        WRITERS[form](model, path)
    except OSError:
        raise
    except Exception as error:  # exporters raise many types
        own, name = own_behind(error), model.classifier.architecture.backbone
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        reason = describe(error, own.file) if own else f"{type(error).__name__}: {said}"
        raise DeepChestError(
            f"{name} cannot be exported with --format {form}: {reason.rstrip('.')}.",
            "An exporter follows operations on tensors alone: no branch or shape may depend on "
            "their values. --debug shows all that it says.",
        ) from error


def refuse_without_packages() -> None:
    """Raise `UsageError` where ONNX files cannot be written or checked here."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise UsageError(f"Exporting to ONNX needs {error.name}.", install_hint("onnx")) from error


def trace(model: LoadedModel) -> ExportedProgram:
    """Return the graph of a model from stored bytes on, at any batch size."""
    size = model.classifier.architecture.stored_size
    module = Exportable(model.classifier).eval()
    parts: Any = model.classifier.modules()
    for part in parts:  # of networks of transformers, whose fused attention not always exports
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
    example = torch.zeros(2, size, size, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        return torch.export.export(
            module, (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False
        )


def _write_onnx(model: LoadedModel, path: Path) -> None:
    with _quiet():
        program: Any = torch.onnx.export(
            trace(model),
            input_names=[INPUT],
            output_names=[FEATURES, LOGITS],
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
        program.model.metadata_props[METADATA_KEY] = metadata_of(model).to_json()
        program.save(path, external_data=False)


def _write_torch(model: LoadedModel, path: Path) -> None:
    extra = {EXTRA: metadata_of(model).to_json()}
    with _quiet(), path.open("wb") as file:
        torch.export.save(trace(model), file, extra_files=extra)


def _read_onnx(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    network = open_onnx(path, "cpu", CHECKED)
    return lambda images: network(images).logits


def _read_torch(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    with _quiet():
        program = torch.export.load(path).module()

    def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(program(torch.from_numpy(images))[1].numpy())

    return logits


def _check(
    read: Callable[[NDArray[np.uint8]], NDArray[np.float32]], model: LoadedModel, path: Path
) -> float:
    """Return the largest difference of logits; raise `DeepChestError` for a large one."""
    images = _smooth_images(model.classifier.architecture.stored_size)
    wanted = TorchNetwork(model, CPU, CHECKED)(images).logits
    differences = np.abs(read(images) - wanted)
    if not (differences <= TOLERANCE * np.maximum(np.abs(wanted), 1)).all():
        raise DeepChestError(
            f"The logits of {path} differ from the checkpoint's by {differences.max():.2g}, more "
            f"than {TOLERANCE:g}; the file was not kept.",
            "Another version of torch may export this backbone faithfully.",
        )
    return float(differences.max())


def _smooth_images(size: int) -> NDArray[np.uint8]:
    """Return smooth images (N, size, size): on noise, single precision alone moves logits."""
    coarse = np.random.default_rng(0).integers(0, 256, (CHECKED, 8, 8), dtype=np.uint8)
    shape = (size, size)
    return np.stack([np.asarray(Image.fromarray(one).resize(shape)) for one in coarse])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters: warnings, which nobody can act on, and the graphs that they print."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


WRITERS = {"onnx": _write_onnx, "torch": _write_torch}
READERS = {"onnx": _read_onnx, "torch": _read_torch}
