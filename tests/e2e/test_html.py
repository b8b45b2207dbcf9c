"""``--llmci-sink=html``: the page of a session, in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Page, browser

pytest.importorskip("jinja2")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
HOSTILE = "<script>alert(1)</script></textarea><img src=x onerror=alert(2)> \x1b[31mred \u202eabc <b>&amp;"


def measured(folder: Path, *more: str) -> Path:
    """The page of three models of which one fails its budget, with prompts that try to run code."""
    rows = [{"id": "first", "prompt": HOSTILE}, {"id": "second", "prompt": "W" * 2000}]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider",
            "--llm-models=zeta=echo:+itl=1ms,alpha=echo:+itl=2ms,mid=echo:+ttft=300ms", "--llmci-suite=inference",
            "--llm-prompts=hostile.jsonl", "--llmci-max-new-tokens=8", "--llmci-max-latency=200ms", "--llmci-sink=html",
            "--llmci-rounds=3", "--llmci-max-rounds=3", *more,
        ],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "LLMCI_LOCK_FILE": str(folder / "timing.lock")},
    )  # fmt: skip
    assert re.search(r"^Saved in .*report\.html", result.stdout, re.MULTILINE), result.stdout[-3000:] + result.stderr
    return folder / "llmci-results" / "latest" / "report.html"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured(tmp_path_factory.mktemp("session"))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    profile = tmp_path / "profile"
    profile.mkdir()
    with browser(profile) as found:
        found.look(width=1280)
        yield found


def names(page: Page) -> list[str]:
    found: list[str] = page.value("[...document.querySelectorAll('#models-table tbody th')].map(e => e.textContent)")
    return found


@needs_browser
def test_the_page_runs_nothing_of_a_run_loads_nothing_and_works(path: Path, page: Page) -> None:
    page.open(path)
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.dialogs == [] and page.console == []
    assert [each for each in page.requests if not each.startswith("data:")] == [path.resolve().as_uri()]
    assert page.value("document.images.length") == 0
    texts = page.value("[...document.querySelectorAll('.text')].map(e => e.textContent)")
    assert any(text.startswith("<script>alert(1)</script></textarea><img") for text in texts)
    assert re.match(r"2 of 6 cells failed$", page.value("document.querySelector('h1').textContent"))
    # A script that somebody smuggles in after all does not run: the page's own policy forbids it.
    page.value("document.body.appendChild(document.createElement('script')).textContent = 'alert(3)'")
    page.wait_for_message("Content Security Policy")
    assert page.dialogs == []


@needs_browser
def test_tables_are_sorted_by_click_and_by_key(path: Path, page: Page) -> None:
    page.open(path)
    assert names(page) == ["zeta", "alpha", "mid"]
    page.click("#models-table thead th:first-child button")
    assert names(page) == ["alpha", "mid", "zeta"]
    headings = "document.querySelectorAll('#models-table thead th')"
    assert page.value(f"[...{headings}].filter(e => e.getAttribute('aria-sort')).map(e => e.ariaSort)") == ["ascending"]
    page.press("Enter", 13, "\r")
    assert names(page) == ["zeta", "mid", "alpha"]
    assert page.value(f"{headings}[0].ariaSort") == "descending"
    for _ in range(2):  # verdict, then latency
        page.press("Tab", 9)
    assert page.value("document.activeElement.textContent") == "latency"
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(" ", 32, " ")
    by_latency = names(page)
    values = page.value("[...document.querySelectorAll('#models-table tbody tr')].map(e => +e.cells[2].dataset.v)")
    assert values == sorted(values) and by_latency[-1] == "mid"
    page.click("input[type=search]")
    page.call("Input.insertText", text="alp")
    assert page.value("[...document.querySelectorAll('#models-table tbody tr:not([hidden])')].length") == 1
    assert page.value("document.querySelector('[data-count]').textContent") == "1 of 3"
    assert page.console == [] and page.dialogs == []


@needs_browser
def test_the_first_tab_skips_to_the_results_and_a_link_opens_its_cell(path: Path, page: Page) -> None:
    page.open(path)
    page.press("Tab", 9)
    assert page.value("document.activeElement.className") == "skip"
    assert page.value("document.activeElement.getBoundingClientRect().left") >= 0
    page.press("Enter", 13, "\r")
    page.wait("document.activeElement.id === 'main'")
    page.click("#failures a")
    page.wait("document.querySelector(location.hash).open && document.querySelector(location.hash).parentElement.open")


@needs_browser
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_can_be_read_in_the_dark(path: Path, page: Page, width: int, dark: bool) -> None:
    page.look(width=width, dark=dark)
    page.open(path)
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value(LOW_CONTRAST) == []
    captions = page.value("[...document.querySelectorAll('caption')].map(e => e.getBoundingClientRect().right)")
    assert captions and max(captions) <= width  # a table may be wider, and scrolls


LOW_CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; })
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) { return c; } } return [255, 255, 255]; };
  const bad = new Set();
  for (const e of document.querySelectorAll('body *:not(svg *)')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length) { continue; }
    const [one, other] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) { bad.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2)); }
  }
  return [...bad];
})()
"""
"""Elements whose own text has less contrast than WCAG's AA asks for."""


@needs_browser
def test_all_is_open_and_light_on_paper(path: Path, page: Page) -> None:
    page.look(width=1000, dark=True, media="print")
    page.open(path)
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = "[...document.querySelectorAll('details .text')].map(e => e.getBoundingClientRect().height)"
    assert min(page.value(heights)) > 10  # though no details are open
    assert page.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.pdf().startswith(b"%PDF")


@needs_browser
def test_nothing_is_cut_on_paper(path: Path, page: Page) -> None:
    page.look(width=720, media="print")  # what letter paper has between its margins
    page.open(path)
    assert page.value("document.documentElement.scrollWidth") <= 720
    assert max(page.value("[...document.querySelectorAll('table')].map(e => e.getBoundingClientRect().right)")) <= 720
    button = "document.querySelector('th button')"
    assert page.value(f"getComputedStyle({button}, '::after').content") == "none"
    assert page.value(f"getComputedStyle({button}).display") == "contents"  # else further pages have empty headings


def test_without_matplotlib_there_is_a_page_without_plots(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'matplotlib' else found(name, package)\n"
    )
    source = measured(tmp_path).read_text(encoding="utf-8")
    assert "The plots need matplotlib, which is not installed: pip install &#39;pytest-llmci[report]&#39;." in source
    assert "plot-box" not in source.split("</style>")[1]
