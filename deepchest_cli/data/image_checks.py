"""What is looked for in any image file; neither Pillow nor HDF5 is needed."""

import hashlib
import re
import warnings

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UnreadableRadiographError

# gray levels: the standard deviation of a radiograph is 25 to 85, that of a blank plate below 10
NEARLY_CONSTANT = 10.0
COLOR_SPREAD, COLOR_SHARE = 24, 0.05  # of 256 levels between channels, and of the pixels
LFS_POINTER = b"version https://git-lfs"  # how a file begins that git did not fetch
# a file of some kilobytes can unpack to gigabytes
LARGEST_PIXELS = 2**26  # 8192 × 8192


def damaged(what: str) -> UnreadableRadiographError:
    """Return the error for a file that is not as it was written."""
    return UnreadableRadiographError(f"damaged: {what}; fetch it again")


def is_colorful(sample: NDArray[np.int16]) -> bool:
    """Whether some pixels (H, W, 3) of 0 to 255 have colors that matter."""
    return bool((np.ptp(sample, axis=2) > COLOR_SPREAD).mean() > COLOR_SHARE)


def silence(package: str) -> None:
    """Keep the warnings that a package's own modules raise off the terminal.

    They name paths of the environment, once a process, and not the file. A filter for the package
    is set where it is called, because `warnings.catch_warnings` is not safe while threads decode.
    """
    pattern = rf"{re.escape(package)}(\.|$)"
    if ("ignore", None, Warning, re.compile(pattern), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=pattern)


def pixel_hash_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return 32 hexadecimal digits that equal pixels share, and no others."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest().encode()
