"""The style that all plots share, and how a figure becomes a file."""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Apart from each other by at least 30 in CIELAB, and dark enough for type on white.
COLORS = (
    "#2a6fdb", "#e06c00", "#1a8f3c", "#d11f2f", "#8a3fd1", "#7d4a2a", "#e254a8",
    "#6f7a85", "#8f9a00", "#00a3c4", "#1b2a78", "#00665a", "#e08a7a", "#7a0040",
)  # fmt: skip
BLUE, ORANGE, GRAY = COLORS[0], COLORS[1], "#57606a"
LOG_FROM = 5  # the largest weight over the smallest from which a logarithmic scale shows more
# the same figure is the same file; a finding's name is no formula
STYLE: dict[Any, Any] = {"svg.hashsalt": "deepchest", "text.parse_math": False}

Draw = Callable[[], "Figure"]


def new_figure(
    width: float, height: float, dpi: int = 150, layout: Any = "constrained"
) -> "Figure":
    """Return an empty white figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def hide_frame(axes: "Axes") -> None:
    """Leave only the axes that have ticks."""
    axes.spines[["top", "right"]].set_visible(False)


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
