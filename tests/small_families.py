"""The smallest network of each family of backbones, and the check that its ONNX file agrees."""

from functools import partial

import numpy as np
import pytest
import torchvision
from prediction_models import CPU, chest_like, make_model
from torch import nn
from torchvision.models import (
    VGG,
    DenseNet,
    EfficientNet,
    MobileNetV2,
    ResNet,
    SwinTransformer,
    VisionTransformer,
)
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.inception import (
    BasicConv2d,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
)
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from deepchest_cli.prediction.export import export_model
from deepchest_cli.prediction.onnx_network import open_onnx
from deepchest_cli.prediction.torch_network import open_checkpoint


def small_vgg():
    network = VGG(make_layers([8, "M", 16, "M"]), init_weights=False)
    network.classifier = nn.Sequential(
        nn.Linear(16 * 49, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 9)
    )
    return network


def small_inception():
    blocks = InceptionA(8, 4), InceptionB(228), InceptionC(708, 8), InceptionD(768)
    stem, pool = BasicConv2d(3, 8, kernel_size=3, stride=2), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(stem, *blocks, pool, nn.Flatten(), nn.Dropout(), nn.Linear(1280, 9))


MBCONV = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
# the smallest network of each family: all its operations, few of its layers
SMALL = {
    "vgg16": small_vgg,
    "inception_v3": small_inception,
    "resnet50": lambda: ResNet(BasicBlock, [1, 1, 1, 1]),
    "efficientnet_b0": lambda: EfficientNet([MBCONV(4, 3, 2, 8, 16, num_layers=2)], 0.2),
    "densenet121": lambda: DenseNet(8, (1, 1), 16),
    "mobilenet_v2": lambda: MobileNetV2(inverted_residual_setting=[[2, 16, 2, 2]]),
    "vit_b_16": lambda: VisionTransformer(32, 16, 1, 2, 32, 64),
    "swin_b": lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 4], [7, 7]),
}


def check_family(backbone, folder):
    """Export a backbone as the smallest network of its family; its logits are the checkpoint's."""
    whole = torchvision.models.get_model

    def small(name, **settings):
        return SMALL[name]() if name in SMALL else whole(name, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "get_model", small)
        check_export(folder, backbone, 80 if backbone == "inception_v3" else 32)


def check_export(folder, backbone, size, **settings):
    """Export a backbone; at any batch the logits of its ONNX file are the checkpoint's."""
    settings |= {"backbone": backbone, "stored_size": size, "image_size": size}
    run = make_model(folder / "run", known=False, **settings)
    path = export_model(run, "onnx", None, False).path
    images = chest_like(5, size, seed=4)
    wanted = open_checkpoint(run, CPU, 5)(images)
    spread = np.ptp(wanted.logits, axis=0).max()
    assert spread > 1e-5  # else agreement would say nothing
    for batch_size in (1, 5):
        network = open_onnx(path, "cpu", batch_size)
        logits = [network(images[at : at + batch_size]).logits for at in range(0, 5, batch_size)]
        assert np.abs(np.concatenate(logits) - wanted.logits).max() < min(1e-4, spread / 10)
    return run
