"""Another interpreter, with none of our dependencies, can run a model's process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest_llmci

CODE = """
import sys
sys.path.append(sys.argv[1])
for name in ("psutil", "yaml", "pytest", "numpy", "jsonschema", "scipy"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    print(name, "is there")
import pytest_llmci.runner.worker_main
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"pytest_llmci", "__main__"}
ours = [name for name in sys.modules if name.startswith("pytest_llmci.")]
print(sorted(foreign), sorted({name.split(".")[1] for name in ours}))
"""
BEFORE_THE_BACKEND = [
    "backends",
    "errors",
    "measure",
    "metrics",
    "quick_records",
    "records",
    "registry",
    "runner",
    "units",
]


def test_what_a_worker_imports_before_its_backend_needs_the_standard_library_alone(tmp_path: Path) -> None:
    (tmp_path / "pytest_llmci").symlink_to(Path(pytest_llmci.__file__).parent, target_is_directory=True)
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.stderr == ""
    assert done.stdout == f"[] {BEFORE_THE_BACKEND}\n"
