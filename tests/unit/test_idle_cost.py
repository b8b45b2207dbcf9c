"""Installed but not armed, the plugin costs next to nothing: pytest loads it in every run of every project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("torch", "transformers", "pandas", "mlflow", "matplotlib"),
    *("numpy", "scipy", "psutil", "yaml", "jsonschema"),
}
ALWAYS = {"", ".plugin", ".plugin.options", ".plugin.fixtures", ".plugin.hookspecs"}
"""Modules of ours that every session loads."""
RECORDS = {
    ".records",
    *(f".records.{name}" for name in ("absent", "answered", "asked", "json_data", "log_lines", "verdicts")),
    *(".quick_records", ".metrics", ".units", ".errors"),
}
FOR_OUR_TESTS = {".plugin.collecting", *RECORDS}
"""What it takes besides to tell our fixtures from a user's own of the same name."""
FOR_A_TEST_FILE = {
    ".plugin.yaml_files",
    ".plugin.items",
    *RECORDS,
    ".testfiles",
    ".testfiles.names",
}
"""What it takes to take a test file without Python for one."""
SESSION = """
import json, sys
sys.path.insert(0, sys.argv[1])
import pytest
before = set(sys.modules)
status = pytest.main(["-q", "-p", "pytest_llmci.plugin", "-p", "no:cacheprovider", *sys.argv[2:]])
print("\\n" + json.dumps([int(status), sorted(sys.modules)]))
"""


def run_session(folder: Path, *arguments: str) -> tuple[int, set[str], str]:
    """Exit status, loaded modules and output of a session without any other plugin."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLMCI", "PYTEST_", "COV_"))}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(ROOT), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    *output, last = done.stdout.splitlines()
    status, modules = json.loads(last)
    return status, set(modules), "\n".join(output)


def ours(modules: set[str]) -> set[str]:
    return {name.removeprefix("pytest_llmci") for name in modules if name.partition(".")[0] == "pytest_llmci"}


def heavy(modules: set[str]) -> set[str]:
    return HEAVY & {name.partition(".")[0] for name in modules}


def test_an_empty_folder(tmp_path: Path) -> None:
    status, modules, output = run_session(tmp_path)
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert heavy(modules) == set()
    assert ours(modules) == ALWAYS
    assert "llmci" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_foreign_tests(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("def test_mine(tmp_path_factory): pass\n", "utf-8")
    status, modules, output = run_session(tmp_path)
    assert status == 0
    assert (heavy(modules), ours(modules)) == (set(), ALWAYS)
    assert "llmci" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]


def test_a_folder_with_a_test_of_ours(tmp_path: Path) -> None:
    (tmp_path / "test_ours.py").write_text("def test_ours(llm): raise SystemError\ndef test_mine(): pass\n", "utf-8")
    status, modules, output = run_session(tmp_path)
    assert status == 0
    assert "1 passed, 1 skipped" in output
    assert heavy(modules) == set()
    assert ours(modules) == ALWAYS | FOR_OUR_TESTS
    assert [path.name for path in tmp_path.iterdir()] == ["test_ours.py"]


def test_a_folder_with_a_test_file_without_python(tmp_path: Path) -> None:
    (tmp_path / "test_ours.llm.yaml").write_text("prompts: [Hi.]\n", "utf-8")
    (tmp_path / "test_other.yaml").write_text("not: ours\n", "utf-8")
    status, modules, output = run_session(tmp_path)
    assert status == pytest.ExitCode.OK
    assert "1 skipped" in output
    assert heavy(modules) == set()
    assert ours(modules) == ALWAYS | FOR_A_TEST_FILE


FOR_MEASURING = {".plugin.running", ".plugin.comparing", ".engine.session", ".engine.block_runner", ".engine.handles"}
"""What it takes to measure or to compare."""


def test_a_session_that_only_collects_imports_nothing_that_measures(tmp_path: Path) -> None:
    arguments = ["--collect-only", "--llm-models=echo", "--llmci-suite=inference"]
    status, modules, output = run_session(tmp_path, *arguments)
    assert status == 0 and "10 tests collected" in output
    assert FOR_MEASURING & ours(modules) == set()


def test_a_process_that_has_parallel_workers_imports_nothing_that_measures(tmp_path: Path) -> None:
    arguments = ["-p", "xdist", "-n2", "--llm-models=echo", "--llmci-suite=inference", "--llmci-rounds=1"]
    status, modules, output = run_session(tmp_path, *arguments)
    assert status == 0 and "10 passed" in output
    assert FOR_MEASURING & ours(modules) == set()


COMPARISONS = ".engine.comparisons"
FOR_COMPARING = {
    *(f"{COMPARISONS}.{name}" for name in ("against", "against_baseline", "cell_samples", "compare_runs", "comparing")),
    *(f"{COMPARISONS}.{name}" for name in ("comparison", "exact", "explain_comparison", "interleaved")),
    *(f"{COMPARISONS}.{name}" for name in ("process_pairs", "round_or_block", "rules", "runs_comparison", "slowdown")),
    *(".stats.compare", ".store.baseline_file", ".store.baseline_folder", ".store.baseline_record"),
}
FOR_WHAT_FEW_ASK_FOR = {
    *(
        ".cost.chosen",
        ".engine.benchmark",
        ".engine.reports.costs",
        ".engine.reports.explain_task",
        ".engine.shards",
        ".engine.task_cell",
    ),
    *(".engine.taken_over", ".load.accounting", ".plugin.sharding", ".sinks.apart", ".tasks"),
}


def test_a_session_imports_nothing_that_it_does_not_do(tmp_path: Path) -> None:
    arguments = ["--llm-models=echo", "--llmci-suite=inference", "--llmci-isolation=inline", "--llmci-rounds=1"]
    status, modules, output = run_session(tmp_path, *arguments)
    assert status == 0 and "10 passed" in output
    assert (FOR_COMPARING | FOR_WHAT_FEW_ASK_FOR) & ours(modules) == set()


def test_the_modules_that_are_not_to_be_imported_exist() -> None:
    named = FOR_MEASURING | FOR_COMPARING | FOR_WHAT_FEW_ASK_FOR
    assert [name for name in sorted(named) if find_spec(f"pytest_llmci{name}") is None] == []
