"""An exported ONNX file as a network, through onnxruntime and without torch."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import refuse_unknown_device
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.files import atomic_write, new_file, sha256_of
from deepchest_cli.prediction.model_metadata import ModelMetadata
from deepchest_cli.prediction.network import Outputs

METADATA_KEY = "deepchest"  # key of the document in the file
INPUT, FEATURES, LOGITS = "images", "features", "logits"
BATCH = 4
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork:
    """A session of onnxruntime."""

    def __init__(self, session: Any, metadata: ModelMetadata, batch_size: int | None) -> None:
        self.session = session
        self.metadata = metadata
        self.batch_size = batch_size or BATCH

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return features and logits of stored images (B, S, S).

        Blanks fill the batch up to its one shape, which fixes the kernels.
        """
        batch = np.zeros((self.batch_size, *images.shape[1:]), dtype=np.uint8)
        batch[: len(images)] = images
        try:
            features, logits = self.session.run([FEATURES, LOGITS], {INPUT: batch})
        except Exception as error:  # of many types, which the package does not name
            raise _refusal(self.metadata.identity["path"]) from error
        if logits.shape[1] != len(self.metadata.findings):
            raise _refusal(self.metadata.identity["path"])
        return Outputs(features[: len(images)], logits[: len(images)])


def _refusal(path: str) -> DeepChestError:
    return DeepChestError(
        f"The metadata of {path} do not fit the network in it.",
        "Export the checkpoint again: deepchest export",
    )


def open_onnx(path: Path, device: str, batch_size: int | None) -> OnnxNetwork:
    """Return the network of a file that `deepchest export` wrote.

    Raises `UsageError` without the file, the package or the device, and `DeepChestError` for a
    file that is damaged or of another program.
    """
    if not path.is_file():
        raise UsageError(f"There is no model {path}.", "Make it: deepchest export --format onnx")
    session = _session(path, device)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise DeepChestError(
            f"{path} does not say which findings it predicts or how its input is made: another "
            "program wrote it.",
            "Use a file of deepchest export.",
        )
    identity = {"path": str(path), "sha256": sha256_of(path), "format": "onnx"}
    return OnnxNetwork(session, ModelMetadata.from_json(text, identity, path), batch_size)


def copy_with_fit(network: OnnxNetwork, fit: dict[str, Any], path: Path) -> str:
    """Write a copy of a network's file with another validation fit; return its SHA-256.

    The graph with its weights stays as it is. Raises `UsageError` without the package,
    `DeepChestError` where the file has changed since it was opened, and `OSError` where the copy
    cannot be written; then nothing is left of it.
    """
    try:
        import onnx
    except ImportError as error:
        raise UsageError("Writing an ONNX file needs onnx.", install_hint("onnx")) from error
    identity = network.metadata.identity
    original = Path(identity["path"])
    content = original.read_bytes()
    if sha256(content).hexdigest() != identity["sha256"]:
        raise DeepChestError(f"{original} was written anew meanwhile.", "Run the command again.")
    model = onnx.load_from_string(content)
    entry = next(one for one in model.metadata_props if one.key == METADATA_KEY)
    own = ModelMetadata.from_json(entry.value, {}, original)  # of the checkpoint it came from
    entry.value = replace(own, validation_fit=fit).to_json()
    with new_file(path), atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return sha256_of(path)


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            f"Predicting with {path.name} needs onnxruntime.", install_hint("onnx")
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what it warns of has no remedy
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=_providers(device, onnxruntime.get_available_providers())
        )
    except UsageError:
        raise
    except Exception as error:  # of many types, which the package does not name
        raise DeepChestError(
            f"{path} is no ONNX model, or is damaged or cut short.",
            "Export it again: deepchest export --format onnx",
        ) from error


def _providers(device: str, available: list[str]) -> list[str]:
    """Return the providers to use; `auto` takes the GPU where this onnxruntime has it."""
    refuse_unknown_device(device)
    cpu, cuda = PROVIDERS["cpu"], PROVIDERS["cuda"]
    if device == "cpu":
        return [cpu]
    if device == "auto" or (device == "cuda" and cuda in available):
        return [name for name in (cuda, cpu) if name in available]
    raise UsageError(
        f"--device {device}: this onnxruntime computes on {', '.join(available)}.",
        "Use --device auto or cpu, or pip install onnxruntime-gpu.",
    )
