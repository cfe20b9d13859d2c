"""Small pieces of HTML: everything that comes from outside is escaped here."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files

MARKED = ("better", "worse", "holds", "does not hold")


def page_style() -> str:
    """Return the style that all reports share."""
    return files("deepchest_cli").joinpath("reporting", "page.css").read_text("utf-8")


def cell(value: str, text: bool = False) -> str:
    """Return a table's cell; verdicts are colored, and `text` may break its lines."""
    names = [value.replace(" ", "-")] if value in MARKED else []
    names += ["text"] if text else []
    kind = f' class="{" ".join(names)}"' if names else ""
    return f"<td{kind}>{escape(value)}</td>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[str] = ()) -> str:
    """Return a table that scrolls by itself on a narrow screen; `texts` are columns of words."""
    head = "".join(
        f'<th class="text">{escape(name)}</th>' if name in texts else f"<th>{escape(name)}</th>"
        for name in columns
    )
    body = "\n".join(
        f"<tr>{''.join(cell(v, n in texts) for n, v in zip(columns, row, strict=True))}</tr>"
        for row in rows
    )
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def picture(content: bytes | None, caption: str) -> str:
    """Return a picture, SVG or PNG, that the page carries with it; nothing without one."""
    if content is None:
        return ""
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
    source = f"data:image/{kind};base64,{b64encode(content).decode()}"
    alternative = escape(caption, quote=True)
    return (
        f'<figure class="wide"><img src="{source}" alt="{alternative}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; nothing for no text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>" if text else ""


def definitions(entries: Sequence[tuple[str, str]]) -> str:
    """Return a list of terms and what they are."""
    inside = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in entries)
    return f"<dl>{inside}</dl>"
