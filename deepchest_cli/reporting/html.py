"""Pages from Jinja2 templates: whatever comes from outside is escaped.

A template stands beside the module that fills it and is named by its path in the package. A page
extends `reporting/page.html`, which makes its table of contents from the headings;
`reporting/macros.html` has headings, tables, collapsible sections, figures and definitions.
"""

import re
from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import count_of
from deepchest_cli.reporting import numbers

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONGEST = 16  # letters of a word that a narrow column need not break
PIECE = 12  # letters of a piece of a longer one
NO_BREAK = "\N{NO-BREAK SPACE}"

FILTERS = (
    numbers.number, numbers.signed, numbers.integer, numbers.significant, numbers.interval,
    numbers.with_interval, numbers.mean_and_sd, numbers.p_value, numbers.gigabytes, count_of,
)  # fmt: skip


def render(template: str, **content: Any) -> str:
    """Return a page; `template` is a path in the package."""
    return template_environment().get_template(template).render(content)


def render_markdown(template: str, **content: Any) -> str:
    """Return a Markdown document; signs that Markdown or HTML would read are escaped."""
    environment = template_environment().overlay(autoescape=False, finalize=_escaped_markdown)
    return environment.get_template(template).render(content)


@cache
def template_environment() -> "Environment":
    """Return what templates are read with; one of its own a caller makes by `from_string`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deepchest_cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {one.__name__: one for one in FILTERS}
    environment.filters |= {"data_uri": data_uri, "code": _code}
    environment.filters |= {"slug": slug, "contents": contents, "breakable": breakable}
    return environment


def slug(title: str) -> str:
    """Return a heading's address within its page, in small letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(page: str) -> list[tuple[str, "Markup"]]:
    """Return the addresses and titles of the headings of level 2 of a rendered page."""
    from markupsafe import Markup

    found = re.findall('<h2 id="([^"]*)">(.*?)</h2>', page)
    return [(address, Markup(title)) for address, title in found]


def breakable(value: object) -> "Markup":
    """Return a table's cell, escaped, with the places where its line may break.

    Words break after signs, before capitals and, where they are long, anywhere. A number's interval
    in brackets may stand below it, but stays whole, as does a number with its sign.
    """
    from markupsafe import Markup, escape

    text = re.sub(" (?=[%≥])|(?<=[±≥]) |(?<=%) (?=CI)", NO_BREAK, str(value))
    number, bracket, rest = text.partition(" (")
    if bracket and re.fullmatch(r"[-+]?[\d.]+", number):
        return escape(number) + Markup(" <wbr>") + escape("(" + rest.replace(" ", NO_BREAK))
    words = (_pieces(word) for word in text.split(" "))
    return Markup(" ").join(Markup("<wbr>").join(map(escape, pieces)) for pieces in words)


def _pieces(word: str) -> list[str]:
    """Return the pieces of a word between which its line may break."""
    parts = re.split(
        r"(?<=[_/:=+\]])(?=\w)|(?<=[-.,])(?=[A-Za-z])|(?<=[a-z]{3})(?=[A-Z][a-z])", word
    )
    return [
        piece
        for part in parts
        for piece in ([part] if len(part) <= LONGEST else re.findall(f"(?s).{{1,{PIECE}}}", part))
    ]


def data_uri(image: bytes) -> str:
    """Return an SVG or PNG image as an address that carries it: a page needs no other file."""
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{b64encode(image).decode()}"


def _escaped_markdown(value: Any) -> Any:
    from markupsafe import Markup

    if isinstance(value, Markup):  # escaped already
        return value
    text = str(value).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("|", "\\|").replace("\n", " ")


def _code(value: Any) -> str:
    from markupsafe import Markup

    return Markup(f"`{str(value).replace('`', '')}`")  # in code, nothing else is read
