"""``llmci doctor --checks``: every output check under the exemplars that it ships, as a table and as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ..checks import CHECKS, Exemplar, register
from ..checks.exemplars import ExemplarResult, run_exemplars
from ..errors import ConfigError, described
from ..records import to_json
from ..registry import Registry, import_target
from ..text import one_line, wrapped
from .main import EXIT_FAILED, printable
from .screen import text_columns

_INDENT: Final = " " * 10


def run_checks(targets: Sequence[str], *, as_json: bool) -> int:
    """Run the exemplars, print what came of them; the exit status.

    :param targets: ``package.module:Class`` of checks of one's own; empty: the built-in ones.
    :raises ConfigError: if one of them cannot be imported or ships none.
    """
    registry = Registry()
    register(registry)
    found = list(run_exemplars(registry, add_targets(registry, targets) if targets else list(CHECKS)))
    if as_json:
        print(json.dumps([to_json(result) for result in found], indent=1))
    else:
        for line in render(found, registry):
            print(printable(line))
    return EXIT_FAILED if any(result.state == "wrong" for result in found) else 0


def add_targets(registry: Registry, targets: Iterable[str]) -> list[str]:
    """Register checks by their class, under the name that their exemplars use; the names.

    :raises ConfigError: if one cannot be imported or ships no exemplar.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    names = []
    for target in targets:
        try:
            factory = import_target(target, "--checks")
        except ImportError as error:
            raise ConfigError(f"--checks: '{target}' cannot be imported: {described(error)}.") from error
        shipped: Sequence[Exemplar] = getattr(factory, "exemplars", ())
        if not shipped:
            raise ConfigError(f"--checks: '{target}' ships no exemplars; see docs/extending.md.")
        name = shipped[0].check.partition(":")[0].strip()
        registry.add("check", name, target)
        names.append(name)
    return names


def render(found: Sequence[ExemplarResult], registry: Registry) -> Iterator[str]:
    """The table in lines that fit the terminal, but for words that are longer."""
    for name in dict.fromkeys(result.name for result in found):
        summary = registry.get("check", name, "doctor").summary
        yield from wrapped(f"{name}: {summary}" if summary else name, text_columns(), rest="  ")
        for result in (each for each in found if each.name == name):
            yield from _rows(result)
        yield ""
    yield from summary_lines(found)


def _rows(result: ExemplarResult) -> Iterator[str]:
    if result.state == "not run":
        yield from wrapped(result.message, text_columns(), first="  not run ", rest=_INDENT)
        return
    verdict = "passes" if result.passes else "fails"
    context = f" ({result.context})" if result.context else ""
    mark = "  " if result.state == "right" else "! "
    asked = f"{_shown(result.check)} on {_shown(result.text, quoted=True)}{context}"
    yield from wrapped(one_line(asked), text_columns(), first=f"{mark}{verdict:<8}", rest=_INDENT)
    if result.state == "wrong" or not result.passes:
        yield from wrapped(
            result.message,
            text_columns(),
            first=f"{_INDENT}{'wrong: ' if result.state == 'wrong' else 'says '}",
            rest=_INDENT + "  ",
        )


def _shown(text: str, *, quoted: bool = False) -> str:
    """A text of an exemplar with its line breaks and invisible characters to be seen, its middle cut out where it is long."""
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    short = escaped if len(escaped) <= 100 else f"{escaped[:60]}...{escaped[-30:]}"
    return f'"{short}"' if quoted else short


def summary_lines(found: Sequence[ExemplarResult]) -> Iterator[str]:
    """What came of all of them, and each that is wrong or was not run."""
    counts = Counter(result.state for result in found)
    names = {result.name for result in found if result.state != "not run"}
    wrong = [result for result in found if result.state == "wrong"]
    right = "each with the right verdict" if not wrong else f"{counts['right']} with the right verdict"
    yield from wrapped(
        f"{counts['right'] + counts['wrong']} exemplars of {len(names)} checks, {right}.", text_columns()
    )
    for result in wrong:
        yield from wrapped(
            f"{_shown(result.check)}: {result.message}", text_columns(), first="  wrong   ", rest=_INDENT
        )
    missing = [result for result in found if result.state == "not run"]
    for message in dict.fromkeys(result.message.partition(" needs ")[2] for result in missing):
        mine = ", ".join(dict.fromkeys(result.name for result in missing if result.message.endswith(message)))
        yield from wrapped(f"{mine} needs {message}", text_columns(), first="  not run ", rest=_INDENT)
