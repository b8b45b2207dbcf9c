"""What docs/baselines.md shows is what happens."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from pytest_llmci.cli.main import main
from pytest_llmci.plugin.options import OPTIONS
from pytest_llmci.store.accepted import accept, read_accepted
from pytest_llmci.store.baseline_log import LOCK_FILES

TEXT = (Path(__file__).parents[3] / "docs" / "baselines.md").read_text(encoding="utf-8")


def test_the_entry_is_what_is_read_and_written(tmp_path: Path) -> None:
    (entry,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    tmp_path.joinpath("accepted.toml").write_text(entry, "utf-8")
    entries = read_accepted(tmp_path).entries
    written = accept(tmp_path / "again", entries).read_text("utf-8")
    assert re.sub(r"\s*#.*", "", entry).strip() in written
    assert f"accepted: {entries[0]}\n" in TEXT


def test_every_option_and_lock_file_that_is_named_exists() -> None:
    flags = {flag for option in OPTIONS for flag in option.flags} | {"--llmci"}
    assert set(re.findall(r"--llmci[a-z-]*", TEXT)) <= flags
    for name in LOCK_FILES[:-1]:
        assert f"`{name}`" in TEXT


def test_every_command_and_its_options_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("list", "show", "accept", "prune"):
        assert f"`llmci baseline {action}" in TEXT
        main(["baseline", action, "--help"])
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help", "--baselines"}:
            assert option in TEXT


def test_what_is_named_for_python_exists() -> None:
    named = re.findall(r"`(pytest_llmci\.store\.[a-z_.]+)` \((.*?)\)", TEXT)
    assert len(named) == 3
    for module, functions in named:
        for name in re.findall(r"`(\w+)`", functions):
            assert callable(getattr(importlib.import_module(module), name))
