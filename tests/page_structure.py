"""What a written page consists of, read by the standard library's parser, and what it must obey."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"img", "meta", "wbr", "br"}


@dataclass
class Table:
    """A table with the heading above it; texts of cells have plain spaces."""

    heading: str
    label: str | None  # of its frame
    caption: str = ""
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    scopes: set[tuple[str, str, str | None]] = field(default_factory=set)  # (place, tag, scope)


class Page(HTMLParser):
    """Headings, tables, images, links and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[tuple[int, str | None, str]] = []  # level, address, title
        self.tables: list[Table] = []
        self.images: list[dict[str, str | None]] = []
        self.frames: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.folds: list[bool] = []  # whether they are open
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._text = ""
        self.feed(text)
        assert not self._open, "elements that are not closed"

    def __getitem__(self, heading: str) -> list[Table]:
        """Return the tables below a heading of level 2."""
        return [table for table in self.tables if table.heading == heading]

    def rows(self, heading: str) -> list[list[str]]:
        """Return the first table below a heading, its columns first."""
        return [self[heading][0].columns, *self[heading][0].rows]

    def titles(self, level: int = 2) -> list[str]:
        """Return the titles of the headings of a level."""
        return [title for number, _, title in self.headings if number == level]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.addresses.append(values["id"] or "")
        if tag not in VOID:
            self._open.append((tag, values))
        if tag == "table":
            frame = self._open[-2][1]
            self.tables.append(Table((self.titles() or [""])[-1], frame.get("aria-label")))
        elif tag == "img":
            self.images.append(values)
        elif tag == "a":
            self.links.append(values["href"] or "")
        elif tag == "details":
            self.folds.append("open" in values)
        elif tag == "div" and values.get("class") == "wide":
            self.frames.append(values)
        elif tag == "tr" and self._is_in("tbody"):
            self.tables[-1].rows.append([])
        if tag in ("th", "td", "caption", "h1", "h2", "h3"):
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        opened, values = self._open.pop()
        assert opened == tag, f"{opened} is closed by {tag}"
        text = " ".join(self._text.replace("\N{NO-BREAK SPACE}", " ").split())
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), values.get("id"), text))
        elif tag == "caption":
            self.tables[-1].caption = text
        elif tag in ("th", "td"):
            in_head, table = self._is_in("thead"), self.tables[-1]
            cells = table.columns if in_head else table.rows[-1]
            place = "head" if in_head else "first" if not cells else "other"
            table.scopes.add((place, tag, values.get("scope")))
            cells.append(text)

    def _is_in(self, tag: str) -> bool:
        return any(opened == tag for opened, _ in self._open)


SCOPES = {("head", "th", "col"), ("first", "th", "row"), ("other", "td", None)}


def checked(text: str) -> Page:
    """Return a page that anybody can read and move about in, also by a screen reader."""
    page = Page(text)
    levels = [level for level, *_ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(next_ <= level + 1 for level, next_ in pairwise(levels))
    assert len(set(page.addresses)) == len(page.addresses)
    assert all(address for level, address, _ in page.headings if level > 1)
    contents = [f"#{address}" for level, address, _ in page.headings if level == 2]
    assert [link for link in page.links if link.startswith("#")] == contents
    for table in page.tables:
        assert table.caption and table.label == table.caption
        assert len(set(table.columns)) == len(table.columns), table.columns
        assert {len(row) for row in table.rows} <= {len(table.columns)}, table.caption
        assert table.scopes <= SCOPES, table.caption
        assert all(row[0] for row in table.rows), table.caption
    captions = [table.caption for table in page.tables]
    assert len(set(captions)) == len(captions), captions
    assert all(image["alt"] for image in page.images)
    assert len(page.frames) == len(page.tables) + len(page.images)
    assert {(one["tabindex"], one["role"]) for one in page.frames} <= {("0", "region")}
    return page
