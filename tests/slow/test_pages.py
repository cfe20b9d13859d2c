"""Every page in a browser: nothing is cut or overflows, on screens of three widths and on paper."""

import shutil
from html import unescape

import numpy as np
import pytest
from comparison_results import comparison_results, of_two_data_sets
from evaluation_documents import evaluation_document, external_document, external_validation
from page_structure import checked

from deepchest_cli.comparison.output.writing import report_page as comparison_page
from deepchest_cli.evaluation.output.external import external_page
from deepchest_cli.evaluation.output.page import report_page as evaluation_page
from deepchest_cli.reporting.html import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 768, 390)
LIMIT = 300_000  # ms that a busy machine may take for what takes less than a second
A4 = (794 - 2 * 45, 1123 - 2 * 53)  # pixels of 1/96 inch, without the margins of page.css
LONG = [f"Finding_{i:02d}_ofThirtyTwoLetters_xy" for i in range(40)]
UNBROKEN = [f"unbrokennameofthirtytwoletters{i:02d}" for i in range(40)]
CASES = {"one": LONG[:1], "forty": LONG, "unbroken": UNBROKEN}
FIGURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="785pt" height="1300pt"/>'

# Right edges of what is not within a frame that scrolls, beyond the page's.
BEYOND = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const one of document.body.querySelectorAll("*")) {
    const box = one.getBoundingClientRect();
    const scrolls = getComputedStyle(one.closest(".wide") || one).overflowX === "auto";
    const inside = scrolls && one.closest(".wide") !== one && one.closest(".wide");
    if (box.width && !inside && (box.right > width + 0.5 || box.left < -0.5))
      found.push(`${one.tagName} to ${Math.round(box.right)}: ${one.textContent.slice(0, 40)}`);
  }
  return found;
}"""
# Of each table: where its first column is after scrolling, and whether it covers what is below.
FIRST_COLUMNS = """() => [...document.querySelectorAll(".wide:has(table)")].map(frame => {
  frame.scrollLeft = 1e6;
  const cell = frame.querySelector("tbody th");
  if (!cell || !frame.clientWidth) return null;
  const box = cell.getBoundingClientRect(), outer = frame.getBoundingClientRect();
  scrollTo(0, scrollY + box.top - innerHeight / 2);
  const middle = cell.getBoundingClientRect();
  const top = document.elementFromPoint(middle.left + 2, middle.top + middle.height / 2);
  return {moved: frame.scrollLeft, offset: box.left - outer.left, covers: cell.contains(top),
          opaque: getComputedStyle(cell).backgroundColor};
}).filter(one => one)"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # a container's root may not make the sandbox
        one = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=LIMIT)
        yield one
        one.close()


def new_page(browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_default_timeout(LIMIT)
    return page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The files of all pages, by page and case."""
    folder, files = tmp_path_factory.mktemp("pages"), {}
    for case, findings in CASES.items():
        for name, text in _pages(findings).items():
            checked(text)
            files[name, case] = folder / f"{name}-{case}.html"
            files[name, case].write_text(text, encoding="utf-8")
    return files


def _pages(findings):
    labels = [f"weighter-number-{i}[option={i}]" for i in range(14)]
    results = comparison_results(findings, labels)
    traces = {"best": dict.fromkeys(findings, np.array([1.0, 2.0]))}
    drawn = dict.fromkeys(("differences", "findings", "cost", "weights"), FIGURE)
    names = ("roc", "precision-recall", "confusion", "reliability", "subgroups", "errors")
    external = external_validation("a" * 32, findings, tuple(f"data-set-{i}" for i in range(5)))
    return {
        "evaluation": evaluation_page(evaluation_document(findings), dict.fromkeys(names, FIGURE)),
        "external": external_page(external_document(external), FIGURE),
        "comparison": comparison_page(of_two_data_sets(results), drawn, "{}", traces),
        "interim": render("comparison/output/interim.html", **_interim(results)),
    }


def _interim(results):
    """Return the content of an interim report with all its tables."""
    progress = dict.fromkeys(("planned", "finished", "diverged", "failed", "missing"), 3)
    weighters = {
        label: {**entry, "progress": progress, "complete_seeds": [0, 1]}
        for label, entry in results["weighters"].items()
    }
    run = {"run": "r" * 60, "job": 7, "folder": "f" * 80, "status": "failed", "error": "e" * 200}
    results = {
        **results, "weighters": weighters, "single_task": progress, "stage": "tuning",
        "missing": [run], "errors": [run],
    }  # fmt: skip
    return {
        "results": results, "data": results["data"], "design": results["design"], "caution": "c",
        "ranked": tuple(results["design"]["metrics"]), "shortened": str, "listed": "x",
        "settings": "s" * 300, "environment": "{}",
    }  # fmt: skip


@pytest.fixture(params=["evaluation", "external", "comparison", "interim"])
def page_name(request):
    return request.param


@pytest.fixture(params=list(CASES))
def opened(request, page_name, pages, browser):
    """A page of the browser that shows a page, all folds open."""
    page = new_page(browser, WIDTHS[0])
    page.goto(pages[page_name, request.param].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    yield page
    page.close()


def test_nothing_overflows_on_screens(opened):
    for width in WIDTHS:
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.evaluate(BEYOND) == []


def test_the_first_column_stays_while_a_table_scrolls(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    tables = opened.evaluate(FIRST_COLUMNS)
    assert any(one["moved"] > 50 for one in tables)
    for one in tables:
        assert abs(one["offset"]) < 1, one
        assert one["covers"] and one["opaque"] == "rgb(255, 255, 255)", one
    # half of a narrow page is left for the other columns
    widest = "Math.max(...[...document.querySelectorAll('tbody th')].map(one => one.offsetWidth))"
    assert opened.evaluate(widest) < 390 / 2


def test_a_shadow_at_the_edge_says_that_there_is_more(opened):
    """Until the end of a frame has been reached."""
    image = pytest.importorskip("PIL.Image")
    opened.set_viewport_size({"width": 390, "height": 800})
    for selector in (".wide:has(table)", ".wide:has(img)"):
        for frame in opened.query_selector_all(selector)[:2]:
            edges = []
            for place in (0, 1e6):
                frame.evaluate("(one, place) => one.scrollLeft = place", place)
                frame.scroll_into_view_if_needed()
                edges.append(_edge(image, frame.screenshot()))
            can_scroll = frame.evaluate("one => one.scrollWidth > one.clientWidth")
            assert (edges[0] < 215, edges[1] > 250) == (can_scroll, True)


def _edge(image, png):
    """Return the brightness of a picture's right edge, the median of its rows."""
    import io

    with image.open(io.BytesIO(png)) as picture:
        gray = np.asarray(picture.convert("L"))
    return np.median(gray[:, -2])


def test_frames_scroll_by_the_keyboard(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    frame = next(
        one
        for one in opened.query_selector_all(".wide")
        if one.evaluate("one => one.scrollWidth > one.clientWidth + 20")
    )
    frame.focus()
    opened.keyboard.press("ArrowRight")
    opened.wait_for_function("document.activeElement.scrollLeft > 0")


def test_the_table_of_contents_leads_to_the_headings(opened):
    for link in opened.query_selector_all("nav a"):
        target = link.get_attribute("href")
        heading = opened.query_selector(f"h2{target}")
        assert heading.inner_text() == link.inner_text()
        link.click()
        top = heading.bounding_box()["y"]
        at_end = opened.evaluate("scrollY + innerHeight >= document.body.scrollHeight - 1")
        assert abs(top) < 2 or at_end


def test_nothing_is_cut_on_paper(opened):
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": A4[0], "height": A4[1]})
    assert opened.evaluate("document.documentElement.scrollWidth") <= A4[0]
    assert opened.evaluate(BEYOND) == []
    hidden = "[...document.querySelectorAll('details *')].filter(one => !one.checkVisibility())"
    assert opened.evaluate(f"{hidden}.length") == 0
    tallest = "Math.max(0, ...[...document.querySelectorAll('img')].map(one => one.height))"
    assert opened.evaluate(tallest) < A4[1]


def test_one_rule_of_operating_points_is_shown_at_a_time(browser, pages):
    page = new_page(browser, 1280)
    page.goto(pages["evaluation", "forty"].as_uri())
    folds = page.query_selector_all("h2#operating-points ~ details")
    titles = [one.query_selector("summary").inner_text() for one in folds]
    assert titles[0] == "Youden (reference operating point)"
    assert [one.evaluate("one => one.open") for one in folds[:4]] == [True, False, False, False]
    page.close()


def test_the_comparison_answers_in_its_first_screen(browser, pages):
    page = new_page(browser, 1280)
    page.goto(pages["comparison", "one"].as_uri())
    table = page.query_selector("header table")
    first = unescape(page.inner_text("header"))
    assert "tested on 20 radiographs of 9 patients" in first
    assert table.query_selector("tbody tr").bounding_box()["y"] < 800
    page.close()
