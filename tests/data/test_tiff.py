import io

import numpy as np
import pytest
from PIL import Image

from deepchest_cli.data.radiograph import decode
from deepchest_cli.errors import UnreadableRadiographError

GRAY = np.random.default_rng(0).normal(120, 30, (200, 150)).clip(0, 255).astype(np.uint8)


def saved(image, **settings):
    memory = io.BytesIO()
    image.save(memory, format="TIFF", **settings)
    return memory.getvalue()


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw", "packbits", "raw"])
@pytest.mark.parametrize("large", [False, True])
def test_whole_files_read_as_they_are(compression, large):
    image, other = Image.fromarray(GRAY), Image.fromarray(GRAY[::-1].copy())
    data = saved(
        image, compression=compression, big_tiff=large, save_all=True, append_images=[other]
    )
    assert np.array_equal(np.asarray(decode(data)), GRAY)


def test_damaged_strips_of_deflate_are_refused():
    data = saved(Image.fromarray(GRAY), compression="tiff_adobe_deflate", strip_size=4096)
    image = Image.open(io.BytesIO(data))
    offsets, lengths = image.tag_v2[273], image.tag_v2[279]
    assert len(offsets) > 3
    for offset, length in zip(offsets, lengths, strict=True):
        spoilt = bytearray(data)
        spoilt[offset + length - 1] ^= 1  # of the checksum, which libtiff does not look at
        with pytest.raises(UnreadableRadiographError, match=f"damaged: .* at byte {offset:,}"):
            decode(bytes(spoilt))
