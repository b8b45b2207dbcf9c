"""pytest finds the plugin by a distribution of its own, as it reads the list of files of each that has one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

ENTRY = Path(__file__).parents[2] / "entry"
START_WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
import pytest
import pytest_llmci_entry
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"], plugins=[pytest_llmci_entry.plugin]))
"""


def start_without(missing: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """pytest with the entry point, where a module cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", START_WITHOUT, missing],
        cwd=folder,
        env={"PYTHONPATH": str(ENTRY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pytest_reads_a_short_list_of_files_to_find_the_plugin() -> None:
    import pytest_llmci.plugin

    (entry,) = entry_points(group="pytest11", name="llmci")
    assert entry.load() is pytest_llmci.plugin
    assert entry.dist is not None and len(entry.dist.files or ()) < 20


def test_the_entry_point_has_the_version_of_the_plugin_which_pytest_shows() -> None:
    project = tomllib.loads((ENTRY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == version("pytest-llmci")


def test_an_entry_point_left_behind_by_uninstalling_does_not_stop_pytest(tmp_path: Path) -> None:
    done = start_without("pytest_llmci", tmp_path)
    assert (done.stderr, "no tests collected" in done.stdout) == ("", True)


def test_a_plugin_that_cannot_be_imported_is_not_passed_over(tmp_path: Path) -> None:
    done = start_without("pytest_llmci.plugin", tmp_path)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr
