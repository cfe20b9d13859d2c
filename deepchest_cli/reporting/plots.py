"""The style that all plots share, and how a figure becomes a file.

A page shows a figure 832 CSS pixels wide. Figures are made at this width, so that a point of type
is a point on the page, and no type is smaller than `TYPE`.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = 624.0  # points, the 52rem of `reporting/page.css`
POINTS = 72  # an inch
TYPE, TITLE = 9, 10  # points, of all type and of titles; an average letter is half as wide
APART = 5.0  # points between the labels of ticks

# Apart from each other by at least 30 in CIELAB, and dark enough for type on white.
COLORS = (
    "#2a6fdb", "#e06c00", "#1a8f3c", "#d11f2f", "#8a3fd1", "#7d4a2a", "#e254a8",
    "#6f7a85", "#8f9a00", "#00a3c4", "#1b2a78", "#00665a", "#e08a7a", "#7a0040",
)  # fmt: skip
BLUE, ORANGE, GRAY = COLORS[0], COLORS[1], "#57606a"
# What tells lines and points apart where colors do not: on gray paper, or for a color-blind reader.
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "<", ">", "p", "*", "h", "d", "8")
LOG_FROM = 5  # the largest weight over the smallest from which a logarithmic scale shows more
# the same figure is the same file; a finding's name is no formula
STYLE: dict[Any, Any] = {"svg.hashsalt": "deepchest", "text.parse_math": False}

DPI = 150

Draw = Callable[[], "Figure"]


def new_figure(height: float, layout: Any = "constrained") -> "Figure":
    """Return an empty white figure as wide as the page; height: in points."""
    size = PAGE / POINTS, height / POINTS
    figure: Figure = _shown_figure()(figsize=size, dpi=DPI, facecolor="white", layout=layout)
    return figure


@cache
def _shown_figure() -> type["Figure"]:
    """Return a figure's class that a notebook shows, without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            FigureCanvasAgg(self)

        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

        def get_tightbbox(self, *_: Any, **__: Any) -> Any:
            # Jupyter crops figures, once pyplot is imported, and labels beside a chart would be cut
            return self.bbox_inches

    return ShownFigure


def drawn(draw: Draw) -> "Figure":
    """Return a figure in the style that all plots share."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        return draw()


def hide_frame(axes: "Axes") -> None:
    """Leave only the axes that have ticks."""
    axes.spines[["top", "right"]].set_visible(False)


@cache
def _advance(letter: str) -> float:
    """Return how wide a letter is in the font of all plots, over the size of type."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    size = 100.0
    font = FontProperties(size=size)
    between, none = (
        text_to_path.get_text_width_height_descent(f"|{inside}|", font, False)[0]
        for inside in (letter, "")
    )
    return float(between - none) / size


def text_width(text: str, size: float = TYPE) -> float:
    """Return how wide a line of text is, in points."""
    return 1.03 * size * sum(map(_advance, text))  # hinted letters are wider


def fitted(text: str, width: float, size: float = TYPE) -> str:
    """Return a line of text, its end cut so that it is not wider than so many points."""
    if text_width(text, size) <= width:
        return text
    kept = len(text)
    while kept > 1 and text_width(f"{text[:kept]}…", size) > width:
        kept -= 1
    return f"{text[:kept]}…"


def wrapped(text: str, width: float, size: float = TYPE, max_lines: int = 3) -> str:
    """Return a text in lines of at most so many points, broken behind spaces, `_` and `-`.

    A longer word is broken anywhere, and what is behind `max_lines` lines is cut.
    """
    lines: list[str] = []
    while text and len(lines) < max_lines - 1 and text_width(text, size) > width:
        fits = max(len(fitted(text, width, size)) - 1, 1)
        seams = [place for place in range(fits // 3, fits) if text[place] in " _-"]
        end = seams[-1] + 1 if seams else fits
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return "\n".join([*lines, fitted(text, width, size)] if text else lines)


def ticks_apart(
    series: Sequence[Sequence[float]],
    place: Callable[[float], float],
    limits: tuple[float, float],
    length: float,
    size: Callable[[float], float],
) -> list[float]:
    """Return the first series of ticks whose labels stand apart on an axis, if it has two.

    series: the finest one first, of the last one those that fit; place: where a tick's value
    stands, in the units of `limits`; length: of the axis, and size: of a label along it, in points.
    """
    low, high = limits
    kept: list[tuple[float, float]] = []
    for ticks in series:
        inside = [(one, place(one)) for one in ticks if low - 1e-9 <= place(one) <= high + 1e-9]
        kept = []
        for tick, at in inside:
            room = (size(tick) + size(kept[-1][0])) / 2 + APART if kept else 0
            if not kept or (at - kept[-1][1]) * length / (high - low) >= room:
                kept.append((tick, at))
        if len(kept) == len(inside) >= 2:
            break
    return [tick for tick, _ in kept]


def needs_log_scale(weights: Any) -> bool:
    """Whether finite weights (N,) are positive and span more than a linear scale shows."""
    return bool(len(weights) and weights.min() > 0 and weights.max() / weights.min() > LOG_FROM)


def render_figures(
    figures: Mapping[str, Draw], photographs: tuple[str, ...] = ()
) -> dict[str, tuple[bytes, bytes]]:
    """Return each figure as PNG and as SVG; no SVG of `photographs`, which would be larger."""
    from matplotlib import rc_context

    rendered = {}
    for name, draw in figures.items():
        with rc_context(STYLE):
            figure, png, svg = draw(), io.BytesIO(), io.BytesIO()
            figure.savefig(png, format="png", metadata={"Software": None})
            figure.set_layout_engine("none")  # it is laid out by now
            if name not in photographs:
                figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            rendered[name] = png.getvalue(), svg.getvalue()
    return rendered
