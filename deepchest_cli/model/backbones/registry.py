"""Which source a backbone's name belongs to, by what the name begins with."""

import re
from importlib import import_module

from deepchest_cli.config.flags import is_own_backbone
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.model.backbones import torchvision_models
from deepchest_cli.model.backbones.base import AUTO_POOL, BackboneSource, BackboneSpec
from deepchest_cli.model.backbones.small_cnn import SMALL_CNN, SmallCnnSource

ALIASES = {
    "cnn": SMALL_CNN,
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "inception": "inception_v3",
    "maxvit": "maxvit_t",
    "mobilenet": "mobilenet_v2",
    "resnet": "resnet50",
    "resnext": "resnext50_32x4d",
    "shufflenet": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_b",
    "vgg": "vgg16",
    "vit": "vit_b_16",
}
# what needs an extra, or runs code of one's own, is imported only when it is named
SOURCES: dict[str, tuple[str, str]] = {
    "timm/": ("timm_models", "TimmSource"),
    "hf/": ("hugging_face", "HuggingFaceSource"),
    "xrv/": ("xrv_models", "XrvSource"),
}
OWN = ("own_function", "OwnFunctionSource")


def backbone_names() -> list[str]:
    """Return the canonical names without a prefix: our small CNN and torchvision's classifiers."""
    return sorted([SMALL_CNN, *torchvision_models.names()])


def source_of(name: str) -> BackboneSource:
    """Return the source that a backbone of this name comes from."""
    for prefix, place in SOURCES.items():
        if name.startswith(prefix):
            return _load(*place)
    if is_own_backbone(name):
        return _load(*OWN)
    if ALIASES.get(name, name) == SMALL_CNN:
        return SmallCnnSource()
    return torchvision_models.TorchvisionSource()


def _load(module: str, name: str) -> BackboneSource:
    found = getattr(import_module(f"deepchest_cli.model.backbones.{module}"), name)
    source: BackboneSource = found()
    return source


def resolve_backbone(name: str) -> str:
    """Return the canonical name of a backbone; raises `UsageError` for an unknown one."""
    canonical = ALIASES.get(name, name)
    if is_own_backbone(name) or name.startswith(tuple(SOURCES)):
        return source_of(name).resolve(name)
    known = backbone_names()
    if f"{name}/" in SOURCES:
        raise UsageError(
            f"--backbone {name} names no network.",
            f"Write {name}/NAME; docs/training.md says which.",
        )
    if canonical not in known:
        error = unknown_name("backbone", name, [*known, *ALIASES])
        if name.endswith(".py"):
            raise UsageError(error.message, f"A file's function is named too: {name}:FUNCTION")
        raise error
    return canonical


def describe_backbone(name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
    """Return the description of a backbone, which may be named by its family.

    Raises `UsageError` for an unknown name, a size or a way of pooling that it does not take, and
    a missing extra.
    """
    canonical = resolve_backbone(name)
    return source_of(canonical).describe(canonical, image_size, pool)


def folder_name(name: str) -> str:
    """Return a backbone's name as part of a folder's: its last part, without what paths forbid."""
    prefix = next((one for one in SOURCES if name.startswith(one)), "")
    last = re.split(r"[/\\]", name.removeprefix(prefix).rstrip("/\\"))[-1]
    return re.sub(r"[^\w.-]+", "_", prefix.replace("/", "-") + last)
