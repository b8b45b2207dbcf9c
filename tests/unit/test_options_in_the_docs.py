"""Every option and command that a page names exists."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmci.cli import COMMANDS
from pytest_llmci.cli.main import build_parser
from pytest_llmci.plugin.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
OF_PYTEST = {flag for option in OPTIONS for flag in option.flags}


@pytest.fixture(scope="module")
def commands() -> Mapping[str, argparse.ArgumentParser]:
    (action,) = [one for one in build_parser([*COMMANDS])._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(action.choices)


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    """Those of a command and of what stands below it, as ``llmci baseline accept``."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(_flags, action.choices.values()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_option_of_the_plugin_exists(page: Path, commands: Mapping[str, argparse.ArgumentParser]) -> None:
    known = OF_PYTEST.union(*map(_flags, commands.values()))
    named = set(re.findall(r"(?<![\w-])--(?:llm|llmci)-[a-z-]*[a-z](?![\w*])", page.read_text("utf-8")))
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_exists_with_its_options(page: Path, commands: Mapping[str, argparse.ArgumentParser]) -> None:
    text = page.read_text("utf-8").replace("\\\n", " ")
    code = [*re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text), *re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)]
    called = [found for piece in code for found in re.findall(r"(?:^|\$ )llmci ([a-z]+)\b(.*)$", piece, re.MULTILINE)]
    for name, arguments in called:
        assert name in commands
        flags = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", re.split(r"#|\||;|&&", arguments)[0]))
        assert flags - _flags(commands[name]) == set(), name
