"""Every figure of the package: type of at least 9 points on a page, nothing cut or hidden."""

import every_figure
import numpy as np
import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.reporting.plots import PAGE, POINTS, STYLE

IMAGES = 1500
MAKERS = {
    "evaluation": lambda names: every_figure.evaluation_figures(names, IMAGES),
    "comparison": every_figure.comparison_figures,
    "training": every_figure.training_figures,
}
NAMES = {
    "one finding": ("Hernia",),
    "NIH": FINDINGS,
    "forty of 32 letters": every_figure.long_names(40),
}
ON_A_PAGE = 832 / 96 * POINTS  # points that a figure has on a page: 52rem of `page.css`


def drawn_texts(figure):
    """Return the texts that a figure draws and the boxes (N, 4) that they cover, in pixels."""
    from matplotlib.text import Text

    found, draw = {}, Text.draw

    def record(text, *arguments):
        if text.get_visible() and text.get_text().strip():
            found[text] = None
        draw(text, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.draw_without_rendering()
    return list(found), np.array([text.get_window_extent().extents for text in found])


def overlapping(texts, boxes):
    """Return the pairs of texts that cover each other by more than a pixel each way."""
    level = np.array([text.get_rotation() in (0, 90) for text in texts])
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    over = ((high - low) > 1).all(axis=-1) & level[:, None] & level
    pairs = np.argwhere(np.triu(over, 1))
    return [(texts[i].get_text(), texts[j].get_text()) for i, j in pairs]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("maker", MAKERS)
def test_all_type_can_be_read_and_none_is_cut_or_covered(maker, names):
    from matplotlib import rc_context

    with rc_context(STYLE):
        for name, figure in MAKERS[maker](NAMES[names]).items():
            texts, boxes = drawn_texts(figure)
            width, height = figure.bbox.size
            inches = figure.get_size_inches()[0]
            assert inches * POINTS == pytest.approx(PAGE) == pytest.approx(ON_A_PAGE)
            sizes = {text.get_fontsize() * ON_A_PAGE / (inches * POINTS) for text in texts}
            assert min(sizes) >= 9 - 1e-6, name
            outside = (boxes < -0.5).any(axis=1) | (boxes[:, 2:] > (width + 0.5, height + 0.5)).any(
                axis=1
            )
            assert not [texts[place].get_text() for place in np.flatnonzero(outside)], name
            assert not overlapping(texts, boxes), name
