"""Whether whole backbones of every family answer alike as a checkpoint, as ONNX and as torch file.

Untrained weights give some networks logits of many thousands, so that differences are relative to
the largest logit where that is above 1.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from prediction_models import CPU, chest_like, make_model

from deepchest_cli.prediction.export import export_model
from deepchest_cli.prediction.onnx_network import open_onnx
from deepchest_cli.prediction.torch_network import open_checkpoint

FAMILIES = {
    "small_cnn": 32,
    "vgg16": 64,
    "resnet18": 64,
    "resnet50": 64,
    "efficientnet_b0": 64,
    "densenet121": 64,
    "mobilenet_v2": 64,
    "inception_v3": 96,
    "vit_b_16": 64,
    "swin_t": 64,
    "convnext_tiny": 64,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="backbones, separated by commas")
    only = parser.parse_args().only
    for backbone in only.split(",") if only else FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            print(
                f"{backbone}: {difference(backbone, FAMILIES[backbone], Path(folder))}", flush=True
            )


def difference(backbone: str, size: int, folder: Path) -> str:
    """Return the largest differences of logits as words."""
    make_model(
        folder,
        known=False,
        settled=False,
        backbone=backbone,
        image_size=size,
        stored_size=size + 16,
    )
    start = time.perf_counter()
    onnx = export_model(folder, "onnx", None, False)
    seconds = time.perf_counter() - start
    torch_file = export_model(folder, "torch", None, False)
    images = chest_like(5, size + 16)
    wanted = open_checkpoint(folder, CPU, 5)(images).logits
    found = open_onnx(onnx.path, "cpu", 5)(images).logits
    scale = max(float(np.abs(wanted).max()), 1.0)
    onnx_difference = float(np.abs(found - wanted).max()) / scale
    return (
        f"ONNX {onnx_difference:.1e}, torch file {torch_file.difference / scale:.1e} of the "
        f"largest logit ({scale:,.3g}); ONNX written in {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
