from base64 import b64decode

import pytest
from jinja2 import UndefinedError
from page_structure import checked

from deepchest_cli.reporting.html import (
    breakable,
    contents,
    data_uri,
    render,
    slug,
    template_environment,
)

HOSTILE = '<script>alert("1")</script>&'
ESCAPED = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;"
PAGE = {"title": HOSTILE, "subtitle": HOSTILE, "summary": [HOSTILE], "caution": HOSTILE}


def test_a_page_carries_its_style_and_escapes_its_content():
    page = render("reporting/page.html", **PAGE)
    assert f"<title>{ESCAPED}</title>" in page
    assert page.count(ESCAPED) == 5
    assert "<script" not in page
    assert "font-variant-numeric" in page
    assert "<link" not in page


def test_content_that_is_missing_is_an_error_and_not_an_empty_page():
    with pytest.raises(UndefinedError, match="subtitle"):
        render("reporting/page.html", title="x")


PARTS = """{% extends "reporting/page.html" %}
{% from "reporting/macros.html" import heading, table, row, grid, collapsible, figure %}
{% block answer %}{% call table(["A", "B"], "Answer") %}{{ row(["a", "better"]) }}{% endcall %}
{% endblock %}
{% block body %}
{{ heading("First & <last>") }}
{{ heading("Below", 3, "below-1") }}
{{ grid(["Name"] + columns, rows, "Numbers") }}
{{ heading("Plots") }}
{% call collapsible("More", true) %}{{ figure(plot, "A plot", "It rises.") }}{% endcall %}
{% endblock %}"""


def of_parts(count):
    """Return a page of every macro, whose grid has so many columns after the first."""
    columns = [f"column {i}" for i in range(count)]
    template = template_environment().from_string(PARTS)
    rows = [["one", *columns], ["two", *columns]]
    return template.render(PAGE, columns=columns, rows=rows, plot=b"<svg/>")


def test_headings_make_the_contents_and_tables_and_plots_can_be_read_aloud():
    text = of_parts(2)
    page = checked(text)
    assert page.headings[1:] == [
        (2, "first-last", "First & <last>"), (3, "below-1", "Below"), (2, "plots", "Plots")
    ]  # fmt: skip
    assert contents(text) == [("first-last", "First &amp; &lt;last&gt;"), ("plots", "Plots")]
    assert text.index("<header>") < text.index("Answer") < text.index("<nav") < text.index("<h2")
    assert page.rows("")[1] == ["a", "better"]
    assert page.images[0]["alt"] == "It rises." and page.folds == [True]


@pytest.mark.parametrize(("columns", "sizes"), [(1, [1]), (7, [7]), (8, [4, 4]), (20, [7, 7, 6])])
def test_a_table_of_many_columns_is_several_with_the_same_first_column(columns, sizes):
    tables = checked(of_parts(columns))["First & <last>"]
    assert [len(table.columns) - 1 for table in tables] == sizes
    assert {table.columns[0] for table in tables} == {"Name"}
    assert [name for table in tables for name in table.columns[1:]] == [
        f"column {i}" for i in range(columns)
    ]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Pleural_Thickening", "Pleural_<wbr>Thickening"),
        ("LungOpacity", "Lung<wbr>Opacity"),
        ("F, 20-39", "F, 20-39"),
        ("IoU", "IoU"),
        ("runs/dwa-1", "runs/<wbr>dwa-1"),
        ("Cardiomediastinum", "Cardiomedias<wbr>tinum"),
        ("<i>", "&lt;i&gt;"),
        (1200, "1200"),
        ("0.5 (0.4 to 0.6)", "0.5 <wbr>(0.4\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.6)"),
        ("0.5 ± 0.1", "0.5 ±\N{NO-BREAK SPACE}0.1"),
        ("Simultaneous 95 % CI", "Simultaneous 95\N{NO-BREAK SPACE}%\N{NO-BREAK SPACE}CI"),
    ],
)
def test_long_words_and_intervals_may_break_where_they_stay_readable(text, cell):
    assert breakable(text) == cell


def test_addresses_of_headings_are_plain():
    assert slug("Claims of the DeepChest paper (2025)") == "claims-of-the-deepchest-paper-2025"


@pytest.mark.parametrize(
    ("image", "start"),
    [(b"\x89PNG\r\n", "data:image/png;base64,"), (b"<svg/>", "data:image/svg+xml;base64,")],
)
def test_a_page_carries_its_images(image, start):
    uri = data_uri(image)
    assert uri.startswith(start)
    assert b64decode(uri.removeprefix(start)) == image
