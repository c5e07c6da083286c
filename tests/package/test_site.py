"""The built site in a browser: pages, a picture of the gallery, a graph of the dashboard, and nothing on the console.

NUMBA_LSTM_SITE names the folder that docs/build.sh and docs/dashboard.sh made; without it, Selenium and Chromium
nothing is tested.
"""
from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SITE = os.environ.get("NUMBA_LSTM_SITE")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
EXAMPLES = sorted(path.stem for path in Path(__file__).parents[2].glob("docs/examples/plot_*.py"))
WAIT = 30
"""Seconds until something that should be there counts as missing."""

BEHIND = ["engines", "forms", "streams", "training", "limits"]
"""The pages behind the one on performance."""

pytestmark = pytest.mark.skipif(not (SITE and CHROMIUM and DRIVER), reason="needs NUMBA_LSTM_SITE, chromium and driver")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Leave out the line for each request."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    assert SITE is not None
    assert Path(SITE, "index.html").is_file()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver


def visit(browser: Any, address: str, ready: Callable[[Any], Any]) -> Any:
    """Open a page and return what is there once it is ready; hold that it left no error on the console."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")  # another fragment alone would not load the page again
    browser.get_log("browser")
    browser.get(address)
    found = WebDriverWait(browser, WAIT).until(ready)
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    return found


@contextlib.contextmanager
def screen(browser: Any, width: int) -> Iterator[None]:
    """Give the browser a screen so many pixels wide; one as narrow as a phone's is a phone's."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_start_page_leads_on(browser: Any, address: str) -> None:
    visit(browser, f"{address}/index.html", lambda b: "numba-lstm" in b.title)
    for link in ("start.html", "howto/index.html", "reference/index.html", "gallery/index.html"):
        assert browser.find_elements("css selector", f'article a[href^="{link}"]'), link


def test_reference_of_lstm(browser: Any, address: str) -> None:
    found = visit(
        browser,
        f"{address}/reference/lstm.html",
        lambda b: b.find_elements("id", "numba_lstm.LSTM"),
    )
    assert "input_size" in found[0].text
    assert browser.find_elements("id", "numba_lstm.LSTM.stream")


def test_reference_leads_from_names_to_their_pages(browser: Any, address: str) -> None:
    links = "table.autosummary a[href*='#numba_lstm.']"
    found = visit(browser, f"{address}/reference/index.html", lambda b: b.find_elements("css selector", links))
    targets = {link.text: link.get_attribute("href") for link in found}
    assert targets["LSTM"] == f"{address}/reference/lstm.html#numba_lstm.LSTM"
    assert targets["io.dask.map_sequences"].startswith(f"{address}/reference/io.html#")


def test_equations_are_set(browser: Any, address: str) -> None:
    """By the browser: a line of its own for each, and nothing of LaTeX left."""
    lines = "mtable mtr"
    found = visit(browser, f"{address}/explain/equations.html", lambda b: b.find_elements("css selector", lines))
    assert len({line.rect["y"] for line in found}) == 6
    assert "\\" not in browser.find_element("css selector", "article").text


def test_code_is_copied_without_prompts(browser: Any, address: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    button = "div.highlight-console button.copybtn"
    found = visit(browser, f"{address}/index.html", lambda b: b.find_elements("css selector", button))
    browser.execute_script("document.addEventListener('copy', event => window.copied = event.target.value)")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
    found[0].click()
    copied = WebDriverWait(browser, WAIT).until(lambda b: b.execute_script("return window.copied"))
    assert copied == "pip install .\nnumba-lstm demo"


@pytest.mark.parametrize("name", EXAMPLES)
def test_gallery_has_its_picture(name: str, browser: Any, address: str) -> None:
    loaded = "return [...document.querySelectorAll('img.sphx-glr-single-img')].some(i => i.naturalWidth > 300)"
    visit(browser, f"{address}/gallery/{name}.html", lambda b: b.execute_script(loaded))


@pytest.mark.parametrize("width", [1400, 390])
def test_thumbnails_are_large_enough_to_read(width: int, browser: Any, address: str) -> None:
    with screen(browser, width):
        widths = """
            const pictures = [...document.querySelectorAll(".sphx-glr-thumbcontainer img")];
            const seen = pictures.filter(i => i.checkVisibility());  // each is there for the other mode, too
            return seen.length && seen.every(i => i.naturalWidth) && seen.map(i => i.getBoundingClientRect().width);
        """
        shown = visit(browser, f"{address}/gallery/index.html", lambda b: b.execute_script(widths))
        assert len(shown) == len(EXAMPLES)
        assert min(shown) >= 225  # the text is of ten points in pictures four inches wide


PHONE = ["index", "start", "performance", "reference/index", "reference/lstm", "explain/kernel", "explain/equations"]
PHONE += ["gallery/index", "differences", "howto/reproducible", "reference/io", "reference/packed_sequence"]


@pytest.mark.parametrize("page", PHONE)
def test_fits_a_phone(page: str, browser: Any, address: str) -> None:
    with screen(browser, 390):
        visit(browser, f"{address}/{page}.html", lambda b: b.find_elements("css selector", "article h1"))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        # An article that is wider than its room is cut or moved sideways, and the page is no wider.
        article = browser.find_element("css selector", ".bd-article-container")
        assert article.get_property("scrollWidth") <= article.get_property("clientWidth")


@pytest.mark.parametrize("page", ["performance", *(f"performance/{name}" for name in BEHIND)])
def test_tables_of_figures_fit_a_laptop(page: str, browser: Any, address: str) -> None:
    with screen(browser, 1366):
        tables = visit(browser, f"{address}/{page}.html", lambda b: b.find_elements("css selector", "article table"))
        room = browser.find_element("css selector", "article").rect
        assert all(table.rect["x"] + table.rect["width"] <= room["x"] + room["width"] + 1 for table in tables)


@pytest.mark.parametrize("page", ["index", "performance", "explain/kernel", "gallery/index", "gallery/plot_speech"])
def test_pictures_are_of_the_readers_colour_mode(page: str, browser: Any, address: str) -> None:
    for mode, other in (("light", "dark"), ("dark", "light")):
        visit(browser, f"{address}/{page}.html", lambda b: b.find_elements("css selector", "img.only-light"))
        browser.execute_script("document.documentElement.dataset.theme = arguments[0]", mode)
        shown, hidden = (browser.find_elements("css selector", f"img.only-{each}") for each in (mode, other))
        assert shown
        assert all(picture.is_displayed() and picture.get_property("naturalWidth") > 300 for picture in shown)
        assert not any(picture.is_displayed() for picture in hidden)


def test_dashboard_says_what_it_has_and_leads_back(browser: Any, address: str) -> None:
    rows = visit(browser, f"{address}/dashboard.html", lambda b: b.find_elements("css selector", "#measured tbody tr"))
    graphs = [row.find_element("css selector", "a").get_attribute("href") for row in rows]
    assert f"{address}/dashboard/index.html#benchmarks.streams.Step.time_step" in graphs
    assert all(int(row.find_elements("css selector", "td")[1].text) > 0 for row in rows)
    assert "commits, the first of 20" in browser.find_element("id", "measured").text
    back = visit(
        browser,
        f"{address}/dashboard/index.html",
        lambda b: b.find_elements("link text", "Back to the documentation"),
    )
    assert back[0].get_attribute("href") == f"{address}/dashboard.html"


def test_dashboard_draws_a_graph(browser: Any, address: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    visit(browser, f"{address}/dashboard.html", lambda b: b.find_elements("id", "open-dashboard"))
    browser.find_element("id", "open-dashboard").click()
    WebDriverWait(browser, WAIT).until(lambda b: b.current_url.startswith(f"{address}/dashboard/"))
    visit(
        browser,
        f"{address}/dashboard/index.html",
        lambda b: b.find_elements("css selector", ".benchmark-plot canvas.flot-base"),
    )
    visit(
        browser,
        f"{address}/dashboard/index.html#benchmarks.streams.Step.time_step",
        lambda b: b.find_elements("css selector", "#main-graph canvas.flot-base"),
    )
    drawn = """
        const canvas = document.querySelector("#main-graph canvas.flot-base");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.some(value => value > 0);
    """
    assert browser.execute_script(drawn)
