"""Writes docs/checks.md from the checks and their exemplars: ``python tools/checks_doc.py`` (``--check`` only compares).

Every exemplar is run, so the packages of the extra ``checks`` must be there.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_llmci.checks import CHECKS, NEED_THE_EXTRA, register
from pytest_llmci.checks.exemplars import ExemplarResult, run_exemplars
from pytest_llmci.registry import Registry

TARGET = Path(__file__).resolve().parent.parent / "docs" / "checks.md"
HEAD = """# Checks

<!-- Written by tools/checks_doc.py from the checks and their exemplars. Do not edit. -->

A check judges one answer. Each answer has to pass `valid` and the checks that the session, its test or its prompt row names. How to ask
for them: [writing-tests.md](writing-tests.md#checks). A check of your own: [extending.md](extending.md#a-check).

Each check ships answers that it passes and answers that it fails. `llmci doctor --checks` runs them on your machine and prints them as a
table, with `--json` for programs.
"""


def render() -> str:
    """The whole page.

    :raises SystemExit: if an exemplar does not get its verdict, or cannot be run.
    """
    registry = Registry()
    register(registry)
    found = list(run_exemplars(registry, CHECKS))
    if faults := [f"{result.check}: {result.message}" for result in found if result.state != "right"]:
        raise SystemExit("\n".join(faults))
    rows = [f"| [`{name}`](#{name}) | {_cell(summary)} |" for name, (_, summary) in CHECKS.items()]
    parts = [HEAD, "| check | |\n|---|---|\n" + "\n".join(rows) + "\n"]
    told: set[str] = set()
    parts += [
        "\n".join(_section(name, registry, [each for each in found if each.name == name], told)) for name in CHECKS
    ]
    return "\n".join(parts)


def _section(name: str, registry: Registry, found: list[ExemplarResult], told: set[str]) -> Iterator[str]:
    factory = registry.load("check", name, "docs")
    yield f"## {name}\n"
    yield _prose(inspect.getdoc(factory) or "") + "\n"
    module = str(factory.__module__)
    about = (importlib.import_module(module).__doc__ or "").partition("\n\n")[2]
    if about and module not in told:
        told.add(module)
        yield _prose(inspect.cleandoc(about)) + "\n"
    if name in NEED_THE_EXTRA:
        yield "Needs `pip install 'pytest-llmci[checks]'`.\n"
    yield "| | check | answer | what it says |\n|---|---|---|---|"
    for each in found:
        context = f" ({_cell(each.context)})" if each.context else ""
        verdict = "passes" if each.passes else "fails"
        yield f"| {verdict} | {_code(each.check)} | {_code(each.text)}{context} | {'' if each.passes else _cell(each.message)} |"
    yield ""


def _prose(text: str) -> str:
    return text.replace("``", "`").replace(":class:", "").replace("the rule of this module", "the rule below")


def _cell(text: str) -> str:
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    for char in "\\|<>*_[]":
        escaped = escaped.replace(char, "\\" + char)
    return escaped


def _code(text: str) -> str:
    """A text as code in a table's cell, with what cannot be seen written out."""
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    short = escaped if len(escaped) <= 90 else f"{escaped[:60]}...{escaped[-20:]}"
    if not short.strip():
        return "white space" if text else "nothing"
    fence = "``" if "`" in short else "`"
    if "```" in short:
        fence = "````"
    room = " " if fence != "`" or short != short.strip() else ""
    return f"{fence}{room}{short}{room}{fence}".replace("|", "\\|")


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is out of date")
    text = render()
    if parser.parse_args().check:
        return 0 if TARGET.exists() and TARGET.read_text("utf-8") == text else 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
