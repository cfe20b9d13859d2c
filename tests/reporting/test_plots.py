import numpy as np
import pytest

from deepchest_cli.reporting.plots import needs_log_scale, new_figure, render_figures


def draw():
    figure = new_figure(72)
    figure.add_subplot().set_title("a$x^$b")  # no formula
    return figure


def test_the_same_figure_is_the_same_file():
    first, second = (render_figures({"one": draw})["one"] for _ in range(2))
    assert first == second
    png, svg = first
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg


def test_photographs_have_no_svg():
    assert render_figures({"one": draw}, photographs=("one",))["one"][1] == b""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([], False), ([1.0, 5.0], False), ([1.0, 5.1], True), ([0.0, 9.0], False), ([-1, 9], False)],
)
def test_a_logarithmic_scale_is_for_positive_weights_far_apart(weights, expected):
    assert needs_log_scale(np.array(weights)) is expected
