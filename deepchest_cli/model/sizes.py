"""Which image sizes a backbone takes; a rule, so that asking costs nothing."""

from collections.abc import Sequence
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

    def refuse(self, name: str, size: int) -> None:
        """Raise `UsageError`, with the nearest size that fits, for one that the backbone cannot."""
        if self.fits(size):
            return
        near, other = self.nearest(size)
        raise size_error(name, size, f"{near} or more" if self.multiple == 1 else (near, other))


def size_error(name: str, size: int, fitting: str | Sequence[int]) -> UsageError:
    """Return the error for a size that a backbone does not take: `fitting` has the nearest ones."""
    if not isinstance(fitting, str):
        first, *others = fitting
        fitting = f"{first} (or {others[0]})" if others else f"{first}"
    return UsageError(
        f"{name} does not take radiographs of {size} px.", f"Use --image-size {fitting}."
    )
