"""From the description of a backbone to a trunk with its initial weights."""

from torch import nn

from deepchest_cli.model.backbones.base import BackboneSpec
from deepchest_cli.model.backbones.registry import source_of
from deepchest_cli.model.weights import InitialWeights, load_weights


def build_trunk(
    spec: BackboneSpec, weights: InitialWeights | None = None, drop_path: float = 0.0
) -> tuple[nn.Module, int]:
    """Return a backbone without its classification layer, and its number of features D.

    The trunk maps (B, channels, S, S) to (B, D). Without `weights` they are as drawn. drop_path:
    rate of stochastic depth. Raises `UsageError` where the network has none, and `DeepChestError`
    for weights that do not fit.
    """
    source = source_of(spec.name)
    trunk, features = source.build(spec, drop_path)
    if weights is not None:
        load_weights(trunk, spec, weights, source)
    return trunk, features
