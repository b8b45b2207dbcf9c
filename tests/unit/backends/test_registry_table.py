"""The table of built-in model sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmci.backends import BACKENDS, register
from pytest_llmci.registry import Entry, Registry

ROOT = Path(__file__).parents[3]


def test_the_promised_names_are_registered() -> None:
    registry = Registry()
    register(registry)
    assert registry.names("backend") == ["echo", "hf", "openai", "py", "smollm2", "tiny", "transformers"]
    assert all(entry.summary for entry in BACKENDS)


@pytest.mark.parametrize("entry", BACKENDS, ids=lambda entry: entry.name)
def test_every_entry_is_a_backend(entry: Entry) -> None:
    registry = Registry()
    register(registry)
    factory = registry.load("backend", entry.name, "test")
    for name in ("load", "generate", "complete", "close", "preflight", "unmeasurable"):
        assert callable(getattr(factory, name, None)), name


def test_hf_is_another_name_of_transformers() -> None:
    targets = {entry.name: entry.target for entry in BACKENDS}
    assert targets["hf"] == targets["transformers"]


def test_no_backend_module_needs_a_package_to_be_imported() -> None:
    """The model's process may be another interpreter, and the parent asks the classes before anything loads."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from pytest_llmci.backends import register\n"
        "from pytest_llmci.registry import Registry\n"
        "registry = Registry(); register(registry)\n"
        "for name in registry.names('backend'): registry.load('backend', name, 'test')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'numpy', 'psutil', 'yaml', 'pytest'}))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
