"""The classifiers of timm (PyTorch Image Models, Wightman 2019), by name or from a repository.

`timm/NAME` and `timm/NAME.TAG` are timm's own, `timm/hf-hub:OWNER/NAME` is any repository on the
Hugging Face hub whose config.json names an architecture of timm, `timm/local-dir:FOLDER` one that
lies on this machine. Nothing of a repository is run: it holds settings and tensors.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from deepchest_cli.errors import DeepChestError, UsageError, unknown_name
from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    GRAY,
    RGB,
    BackboneSource,
    BackboneSpec,
    Published,
    no_drop_path,
)
from deepchest_cli.model.backbones.hub import WEIGHTS, cached_file, hub_file, hub_url
from deepchest_cli.model.backbones.timm_networks import (
    create,
    features_of,
    has_drop_path,
    silence,
    timm,
)

PREFIX, HUB, FOLDER = "timm/", "hf-hub:", "local-dir:"
CONFIG = "config.json"
# arguments of timm.create_model that a config.json does not decide: some fetch or read other files
OURS = {
    "in_chans", "num_classes", "features_only", "pretrained", "pretrained_cfg", "checkpoint_path",
    "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir",
}  # fmt: skip
# of timm's settings, what says where weights are
PLACES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source")


@dataclass(frozen=True)
class Origin:
    """What a name stands for: an architecture, and what is published with it."""

    architecture: str
    arguments: Mapping[str, Any]  # of the architecture, beside size and channels
    published: Any  # timm.models.PretrainedCfg


class TimmSource(BackboneSource):
    """All of timm's classifiers."""

    def resolve(self, name: str) -> str:
        """Return the name with the tag of the weights that timm has it with by default."""
        models = timm().models
        bare = name.removeprefix(PREFIX).replace("hf_hub:", HUB)
        if bare.startswith((HUB, FOLDER)):
            return PREFIX + bare
        if "/" in bare:
            raise UsageError(
                f"{name} is no model of timm.",
                f"A repository on the hub is {PREFIX}{HUB}{bare}; a folder {PREFIX}{FOLDER}{bare}.",
            )
        bare = models.get_deprecated_models().get(bare) or bare
        architecture, tag = models.split_model_name_tag(bare)
        if not models.is_model(architecture):
            raise unknown_name("timm model", bare, models.list_models())
        if tag:
            return PREFIX + bare
        published = models.get_pretrained_cfg(architecture)
        usual = published.tag if published is not None and published.has_weights else None
        return f"{PREFIX}{architecture}.{usual}" if usual else PREFIX + architecture

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description, after the network has run once without numbers.

        Mean and std are the means over the three colors of what the weights were trained with.
        Raises `UsageError` also for a network that does not end in features (B, D).
        """
        origin = _origin(name)
        published = origin.published
        config = {
            "architecture": origin.architecture,
            "arguments": dict(origin.arguments),
            "has_image_size": published.fixed_input_size,
        }
        spec = BackboneSpec(
            name=name,
            image_size=image_size,
            mean=sum(published.mean) / len(published.mean),
            std=sum(published.std) / len(published.std),
            pool=pool,
            config=config,
        )
        features = features_of(spec, published.input_size[-1])
        return replace(spec, config={**config, "features": features})

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return the network without its classification layer, with a stem of one channel."""
        arguments = {"drop_path_rate": drop_path} if drop_path else {}
        try:
            network = create(spec, **arguments)
        except TypeError as error:  # its constructor has no such argument
            raise (no_drop_path(spec.name) if drop_path else error) from error
        if drop_path and not has_drop_path(network):
            raise no_drop_path(spec.name)
        return network, spec.config["features"]

    def published(self, spec: BackboneSpec) -> Published | None:
        """Return where the weights are: on the hub nearly always."""
        published = _origin(spec.name).published
        if published.file:
            return Published(published.file, is_cached=True)
        if published.hf_hub_id:
            files = _weight_files(published)
            cached = cached_file(published.hf_hub_id, files)
            return Published(hub_url(published.hf_hub_id, files[0]), cached is not None)
        if published.url:
            name = Path(urlparse(published.url).path).name
            is_cached = (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
            return Published(published.url, is_cached)
        return None

    def pretrained(self, spec: BackboneSpec) -> Mapping[str, Tensor]:
        """Return the published weights as timm loads them: for one channel and this size."""
        published = _origin(spec.name).published
        overlay: dict[str, Any] = {}
        if published.hf_hub_id and not published.file:
            file = hub_file(published.hf_hub_id, _weight_files(published))
            overlay = {"file": str(file), "source": ""}
        try:
            network = create(
                spec, pretrained=True, pretrained_cfg=published, pretrained_cfg_overlay=overlay
            )
        except OSError:
            raise
        except Exception as error:  # of damaged files, and of others than tensors
            raise RuntimeError(str(error) or type(error).__name__) from error
        return network.state_dict()

    def adapt(self, trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights in timm's naming for one channel and another size.

        timm's own filters translate older names and resample positions and windows.
        """
        shapes = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
        if {name: tensor.shape for name, tensor in state.items()} == shapes:
            return state
        convert = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            try:
                with silence():
                    state = dict(convert(dict(state), trunk))
            except Exception:  # of another network: the comparison that follows names its keys
                return state
        if getattr(trunk, "attn_pool", trunk) is None:  # another way of pooling took its place
            state = {k: v for k, v in state.items() if not k.startswith("attn_pool.")}
        return _fit_stem(trunk, state)


def _origin(name: str) -> Origin:
    """Return what a canonical name stands for; raises `UsageError` where that cannot be had."""
    models = timm().models
    bare = name.removeprefix(PREFIX)
    if bare.startswith(HUB):
        repository = bare.removeprefix(HUB)
        try:
            file = hub_file(repository, (CONFIG,))
        except OSError as error:
            # as for other sources: without a network the name may be right
            kind = DeepChestError if isinstance(error, ConnectionError) else UsageError
            raise kind(
                f"{name} cannot be had: {error}.",
                f"Check the name. A downloaded repository is --backbone {PREFIX}{FOLDER}FOLDER.",
            ) from error
        return _origin_of(file, hf_hub_id=repository)
    if bare.startswith(FOLDER):
        folder = Path(bare.removeprefix(FOLDER)).expanduser()
        found = next((folder / w for w in WEIGHTS if (folder / w).is_file()), None)
        return _origin_of(folder / CONFIG, file=str(found) if found else None)
    architecture, tag = models.split_model_name_tag(bare)
    tagged = models.list_pretrained(f"{architecture}.*") if tag else []
    if tag and bare not in tagged:
        tags = [models.split_model_name_tag(name)[1] for name in tagged]
        raise unknown_name(f"weights of {PREFIX}{architecture}:", tag, tags)
    published = models.get_pretrained_cfg(bare) or models.PretrainedCfg()
    return Origin(architecture, {}, published)


def _origin_of(config: Path, **where: str | None) -> Origin:
    """Return what the config.json of a repository says, as `timm.models.save_for_hf` writes it."""
    models = timm().models
    try:
        content = json.loads(config.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"There is no file {config}.", "It names the architecture.") from error
    except ValueError as error:
        raise UsageError(f"{config} is no JSON: {error}.") from error
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str) or not models.is_model(architecture):
        raise UsageError(
            f"{config} names no architecture of timm: {architecture!r}.",
            "A model of transformers is --backbone hf/REPOSITORY.",
        )
    usual = models.get_pretrained_cfg(architecture) or models.PretrainedCfg()
    known = {field.name for field in fields(models.PretrainedCfg)}
    try:
        arguments = {k: v for k, v in content.get("model_args", {}).items() if k not in OURS}
        # older files have all in one dictionary
        settings = content.get("pretrained_cfg", content)
        settings = {k: v for k, v in settings.items() if k in known and v is not None}
        settings["num_classes"] = int(content.get("num_classes", usual.num_classes))
        for key in ("mean", "std"):
            settings[key] = tuple(map(float, settings.get(key) or getattr(usual, key)))
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{config} is damaged: {error}.", "Download it again.") from error
    published = replace(usual, **{**settings, **dict.fromkeys(PLACES), **where})
    return Origin(architecture, arguments, published)


def _weight_files(published: Any) -> tuple[str, ...]:
    """Return the files that the weights are in, the best first."""
    named = published.hf_hub_filename
    return (str(Path(named).with_suffix(".safetensors")), named) if named else WEIGHTS


def _fit_stem(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum filters of three colors as timm does, also where pixels are folded into channels."""
    settings: Any = trunk.pretrained_cfg
    stems = settings.get("first_conv") or ()
    wanted = trunk.state_dict()
    for stem in (stems,) if isinstance(stems, str) else stems:
        key = f"{stem}.weight"
        if key in state and key in wanted and state[key].shape[1] == RGB * wanted[key].shape[1]:
            state[key] = timm().models.adapt_input_conv(GRAY, state[key])
    return state
