from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest_llmci

_CODE = """
import sys
sys.path.append(sys.argv[1])
from pytest_llmci.measure import builtin_metrics, metric_defs, register
from pytest_llmci.measure.profile import Probe, llm_profile, profile
from pytest_llmci.registry import Registry
registry = Registry()
register(registry)
Probe(registry)
assert metric_defs(registry) == builtin_metrics()
assert llm_profile(sum, [1, 2]).value == 3
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"pytest_llmci", "__main__"}
print(sorted(foreign), "subprocess" in sys.modules, "asyncio" in sys.modules)
"""


def test_the_instruments_need_the_standard_library_alone() -> None:
    root = Path(pytest_llmci.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", _CODE, str(root)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.stderr == ""
    assert done.stdout == "[] False False\n"


def test_importing_opens_no_file_and_starts_no_process() -> None:
    code = """
import os, sys
sys.path.append(sys.argv[1])
before = sorted(os.listdir("/proc/self/fd"))
import pytest_llmci.measure.profile
print(sorted(os.listdir("/proc/self/fd")) == before)
"""
    if sys.platform != "linux":
        return
    root = Path(pytest_llmci.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(root)], capture_output=True, check=True, text=True
    )
    assert done.stdout == "True\n"
