"""The page itself: one template with its style sheet and script, filled and written piece by piece.

Whatever comes from a run is escaped by the template engine. Besides, the page's own policy lets nothing run and nothing load but
the one script and the one style sheet whose hashes it names, and pictures that are in the page.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from ..engine.reports.report import SessionReport
from ..plots.base import EXTRA
from ..registry import missing_package
from ..text import one_line
from .figures import Figures
from .view import RunView

TEMPLATES: Final = Path(__file__).parent / "templates"
_PIECES: Final = 64
"""Of the template's output that are written at once."""
_GOOD: Final = frozenset({"pass", "ok", "improved", "passed", "yes"})
_BAD: Final = frozenset({"failed", "regressed", "lost coverage"})
_OPEN: Final = frozenset({"inconclusive", "not comparable", "accepted", "undecided", "skipped"})
_WORDS: Final = {"failed": "failed", "pass": "passed", "inconclusive": "undecided", "unknown": "no verdict"}


def check_installed(what: str) -> None:
    """Refuse, before anything is measured, what cannot be written. Nothing is imported.

    :raises MissingExtraError: without Jinja.
    """
    if find_spec("jinja2") is None:
        raise missing_package(what, "jinja2", EXTRA)


def write_page(stream: IO[str], report: SessionReport, figures: Figures) -> None:
    """Write the page of a run. Equal logs give equal pages.

    :raises MissingExtraError: without Jinja.
    """
    from markupsafe import Markup

    css = f"{_file('report.css')}{figures.css}\n"
    script = _file("report.js")
    pieces = _template().stream(
        run=(view := RunView(report)),
        report=report,
        drill=view.drill,
        figures=figures,
        css=Markup(css),  # noqa: S704  # our own files; styles of figures hold no text of a run
        script=Markup(script),  # noqa: S704
        policy=policy(css, script),
    )
    pieces.enable_buffering(_PIECES)
    for piece in pieces:
        stream.write(piece)


def policy(css: str, script: str) -> str:
    """What the page may load and run: itself."""
    return f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; img-src data:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@cache
def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise missing_package("the HTML report", error.name or "jinja2", EXTRA) from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "line": one_line, "shell": _shell, "state_class": state_class, "is_state": is_state, "state_words": _WORDS.__getitem__,
    }  # fmt: skip
    return environment.get_template("report.html.j2")


def _shell(command: Sequence[str]) -> str:
    return one_line(shlex.join(command))


def is_state(text: str) -> bool:
    """Whether a text of a table is a verdict."""
    return text.lower() in _GOOD | _BAD | _OPEN and text.lower() != "yes"


def state_class(text: str) -> str:
    """The class of a verdict's colour.

    >>> state_class("REGRESSED"), state_class("2 failed, 1 undecided"), state_class("pass"), state_class("not judged")
    ('bad', 'bad', 'good', '')
    """
    text = text.lower()
    if text in _BAD or " failed" in text or " lost" in text:
        return "bad"
    if text in _OPEN or "undecided" in text:
        return "warn"
    return "good" if text in _GOOD else ""
