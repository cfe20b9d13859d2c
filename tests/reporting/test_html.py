from base64 import b64decode

import pytest
from jinja2 import UndefinedError

from deepchest_cli.reporting.html import data_uri, render

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


@pytest.mark.parametrize(
    ("image", "start"),
    [(b"\x89PNG\r\n", "data:image/png;base64,"), (b"<svg/>", "data:image/svg+xml;base64,")],
)
def test_a_page_carries_its_images(image, start):
    uri = data_uri(image)
    assert uri.startswith(start)
    assert b64decode(uri.removeprefix(start)) == image
