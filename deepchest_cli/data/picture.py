"""What is looked for in any picture, whatever file it came from."""

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UnreadableRadiographError

# gray levels: the standard deviation of a radiograph is 25 to 85, that of a blank plate below 10
NEARLY_CONSTANT = 10.0
COLOUR_SPREAD, COLOUR_SHARE = 24, 0.05  # of 256 levels between channels, and of the pixels
LFS_POINTER = b"version https://git-lfs"  # how a file begins that git did not fetch
# a file of some kilobytes can unpack to gigabytes
LARGEST_PIXELS = 2**26  # 8192 × 8192


def damaged(what: str) -> UnreadableRadiographError:
    """Return the error for a file that is not as it was written."""
    return UnreadableRadiographError(f"damaged: {what}; fetch it again")


def is_colorful(sample: NDArray[np.int16]) -> bool:
    """Whether some pixels (H, W, 3) of 0 to 255 have colors that matter."""
    return bool((np.ptp(sample, axis=2) > COLOUR_SPREAD).mean() > COLOUR_SHARE)
