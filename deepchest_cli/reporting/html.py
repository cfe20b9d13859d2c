"""Pages from Jinja2 templates: whatever comes from outside is escaped.

A template stands beside the module that fills it and is named by its path in the package. A page
extends `reporting/page.html`; `reporting/macros.html` has tables, figures and definitions.
"""

from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import count_of
from deepchest_cli.reporting import numbers

if TYPE_CHECKING:
    from jinja2 import Environment

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
    return environment


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
