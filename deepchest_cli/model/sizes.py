"""Which image sizes a backbone takes; a table, so that asking costs nothing."""

from dataclasses import dataclass

from deepchest_cli.errors import UsageError


@dataclass(frozen=True)
class SizeRule:
    """The heights and widths in pixels that a backbone can train at."""

    least: int = 28  # what every command asks for; smaller maps vanish on the way down
    multiple: int = 1  # of the patches or partitions that the map is cut into
    short_by: int = 0  # pixels below a multiple that the padding of strided layers makes up for

    def fits(self, size: int) -> bool:
        """Whether radiographs of this size can be trained on."""
        return size >= self.least and -size % self.multiple <= self.short_by

    def nearest(self, size: int) -> tuple[int, int]:
        """Return the nearest size that fits and the next one, for a size that does not."""
        first = -(-self.least // self.multiple) * self.multiple
        below = max(size // self.multiple * self.multiple, first)
        near, other = sorted((below, below + self.multiple), key=lambda fit: abs(fit - size))
        return near, other


# by the beginning of the name; who is not here takes every size
RULES = {
    "alexnet": SizeRule(least=63),
    "convnext": SizeRule(least=32),
    "densenet": SizeRule(least=29),
    "inception_v3": SizeRule(least=75),
    "maxvit": SizeRule(least=221, multiple=224, short_by=3),  # 7 x 7 cells after five halvings
    "vgg": SizeRule(least=32),
    "vit_b_16": SizeRule(least=32, multiple=16),
    "vit_b_32": SizeRule(least=32, multiple=32),
    "vit_h_14": SizeRule(least=28, multiple=14),
    "vit_l_16": SizeRule(least=32, multiple=16),
    "vit_l_32": SizeRule(least=32, multiple=32),
}


def size_rule(name: str) -> SizeRule:
    """Return the sizes that a backbone of this canonical name takes."""
    return next((rule for start, rule in RULES.items() if name.startswith(start)), SizeRule())


def refuse_unfit_size(name: str, size: int) -> None:
    """Raise `UsageError`, with the nearest size that fits, when a backbone cannot train at this."""
    rule = size_rule(name)
    if rule.fits(size):
        return
    near, other = rule.nearest(size)
    also = " or more" if rule.multiple == 1 else f" (or {other})"
    raise UsageError(
        f"{name} does not take radiographs of {size} px.", f"Use --image-size {near}{also}."
    )
