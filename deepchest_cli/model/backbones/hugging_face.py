"""Vision backbones of transformers: RAD-DINO, DINOv2 and v3, ViT, Swin, ConvNeXt and others.

Named hf/OWNER/NAME, a repository of Hugging Face, or hf/FOLDER. Code of repositories is never run.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    GRAY,
    RGB,
    BackboneSource,
    BackboneSpec,
    Published,
    refuse_pooling,
)
from deepchest_cli.model.backbones.hugging_face_files import (
    PICKLED,
    SAFE,
    cached,
    fetch,
    place_of,
    read_configuration,
    read_normalization,
)
from deepchest_cli.model.backbones.hugging_face_network import (
    PIXELS,
    Outputs,
    add_pooling,
    build_network,
    configuration,
    current_names,
    is_removed,
    outputs_of,
    silenced,
    without_values,
)
from deepchest_cli.model.backbones.positions import resample_positions
from deepchest_cli.model.backbones.stem import fit_stem
from deepchest_cli.model.sizes import SizeRule

# whose authors resample positions so; the others' do not
ANTIALIASED = ("dinov2_with_registers",)


class HuggingFaceSource(BackboneSource):
    """Every model of images that `transformers.AutoModel` builds without code from elsewhere."""

    def resolve(self, name: str) -> str:
        """Return the name, with a folder's whole path."""
        return place_of(name).name

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description, with the whole configuration.

        Raises as `read_configuration`, and `UsageError` for a size that the patches do not divide
        and a way of pooling that the network has not.
        """
        place = place_of(name)
        with silenced():
            config = read_configuration(place)
            normalization = read_normalization(place)
            channels, outputs = _find_outputs(name, config, image_size)
        refuse_pooling(name, pool, outputs.ways)
        return BackboneSpec(
            name=name,
            image_size=image_size,
            channels=channels,
            mean=normalization.mean,
            std=normalization.std,
            pool=outputs.ways[0] if pool == AUTO_POOL else pool,
            config=config,
        )

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return the network, which pools by itself, and its number of features."""
        with silenced():
            config = configuration(spec.config, spec.channels, spec.image_size, drop_path)
            network = build_network(config)
            return network, add_pooling(network, config, spec.channels, spec.image_size, spec.pool)

    def published(self, spec: BackboneSpec) -> Published | None:
        """Return where the weights of the repository or the folder are; None: a folder has none."""
        place = place_of(spec.name)
        file = cached(place, (*SAFE, *PICKLED))
        if place.folder is not None and file is None:
            return None
        return Published(place.url, file is not None)

    def pretrained(self, spec: BackboneSpec) -> Mapping[str, Tensor]:
        """Return the weights as transformers reads them: safetensors, else tensors of a pickle."""
        place = place_of(spec.name)
        here = cached(place, (*SAFE, *PICKLED))
        is_safe = any(fetch(place, name) for name in SAFE)
        config = configuration(spec.config)
        with silenced():
            kind: Any = type(without_values(config))
            try:
                network, report = kind.from_pretrained(
                    str(place),
                    config=config,
                    dtype="float32",
                    use_safetensors=is_safe,
                    local_files_only=here is not None,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
            except Exception as error:  # damaged files raise errors of many kinds
                raise RuntimeError(str(error) or type(error).__name__) from error
        if report["mismatched_keys"]:
            key, found, wanted = sorted(report["mismatched_keys"])[0]
            raise DeepChestError(
                f"The weights of {place} are not those of its config.json: {key} is "
                f"{tuple(found)} and not {tuple(wanted)}.",
                "Fetch both from one place.",
            )
        state: dict[str, Tensor] = network.state_dict()
        return {k: v for k, v in state.items() if k not in report["missing_keys"]}

    def adapt(self, trunk: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors by today's names, with one channel and positions for the image size."""
        state = current_names(trunk, state)
        state = {key: value for key, value in state.items() if not is_removed(trunk, key)}
        antialias = trunk.config.model_type in ANTIALIASED
        return resample_positions(trunk.state_dict(), fit_stem(trunk, state), antialias)


def _find_outputs(name: str, config: Mapping[str, Any], image_size: int) -> tuple[int, Outputs]:
    """Return the channels that a network takes, one where it can, and what it returns.

    Raises `UsageError` for what is no model of single images and for sizes that it does not take.
    """
    patch = config.get("patch_size") or 1
    patch = patch if isinstance(patch, int) else patch[0]
    try:
        channels, outputs = _run(name, config, image_size)
        if outputs.is_grid_of(image_size // patch):  # others pad, or stride over what is left
            SizeRule(multiple=patch).refuse(name, image_size)
        return channels, outputs
    except UsageError:
        raise
    except Exception as error:  # whatever a forward of somebody else raises
        reason = str(error).strip().partition("\n")[0]
        own = config.get("image_size")
        raise UsageError(
            f"{name} ({config['model_type']}) does not take single radiographs of {image_size} px: "
            f"{reason}",
            f"Its own size is {own} px: --image-size {own}."
            if isinstance(own, int)
            else "Name a model that turns one image into a vector, a map or tokens.",
        ) from error


def _run(name: str, config: Mapping[str, Any], image_size: int) -> tuple[int, Outputs]:
    takes_one = "num_channels" in config
    network = without_values(configuration(config, GRAY, image_size))
    if network.main_input_name != PIXELS:
        raise UsageError(
            f"{name} ({config['model_type']}) takes {network.main_input_name}, not images.",
            "Name a vision model, for instance hf/microsoft/rad-dino.",
        )
    if takes_one:
        try:
            return GRAY, outputs_of(network, GRAY, image_size)
        except Exception:  # some architectures know three colors only
            network = without_values(configuration(config, RGB, image_size))
    return RGB, outputs_of(network, RGB, image_size)
