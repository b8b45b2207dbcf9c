from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.records import ModelSpec
from pytest_llmci.runner.placement import cpus_of, format_cpus, pin, pinned_cpus

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")


def spec(cpus: str | None) -> ModelSpec:
    return ModelSpec(alias="a", backend="echo", text="a=echo", options={} if cpus is None else {"cpus": cpus})


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use CPUs 0 to 5 and 7."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4, 5, 7}, raising=False)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", (0,)), ("0-3", (0, 1, 2, 3)), ("0,2", (0, 2)), ("0-1,4", (0, 1, 4)), ("7,0", (0, 7)), ("3-3", (3,)),
        ("1,0-2,1", (0, 1, 2)), (" 0 , 2 ", (0, 2)),
    ],
)  # fmt: skip
def test_reads_what_taskset_reads(text: str, cpus: tuple[int, ...]) -> None:
    assert cpus_of(spec(text)) == cpus


def test_without_the_key_nothing_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cpus_of(spec(None)) is None
    assert pinned_cpus(spec(None)) is None


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("text", ["all", "0-", "-1", "3-1", "0,,1", "0x1", "0;1", "0-1-2", "1.5", "\u0661", "1" * 400])
def test_what_is_no_list_of_cpus_is_one_line(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^model 'a=echo': '\+cpus=.*' must be CPU numbers and ranges .* 0, 0-3 or 0-1,4\.$"
    ):
        cpus_of(spec(text))


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("text", "named"), [("6", 6), ("0,8", 8), ("4-7", 6), ("0-999999", 6), ("999999", 999999)])
def test_a_cpu_that_the_process_may_not_use_is_named_with_the_allowed_ones(text: str, named: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"'\+cpus={text}' names CPU {named}, which this .* not use; it may use 0-5,7\.$"
    ):
        cpus_of(spec(text))


def test_other_systems_refuse_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"^model 'a=echo': '\+cpus=0' .* works on Linux only\.$"):
        cpus_of(spec("0"))


@pytest.mark.parametrize(
    ("cpus", "text"), [([], ""), ([3], "3"), ([0, 1], "0-1"), ([0, 2, 3, 4, 9], "0,2-4,9"), ([1, 3], "1,3")]
)
def test_cpus_are_shown_as_they_are_written(cpus: list[int], text: str) -> None:
    assert format_cpus(cpus) == text


PINS = """
import os, sys, threading
from pytest_llmci.runner.placement import pin
pin([int(sys.argv[1])])
seen = []
thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
thread.start(); thread.join()
print(os.sched_getaffinity(0), seen[0])
"""


@linux_only
def test_the_process_and_the_threads_that_it_starts_are_pinned() -> None:
    cpu = max(os.sched_getaffinity(0))
    done = subprocess.run([sys.executable, "-c", PINS, str(cpu)], capture_output=True, check=True, text=True)
    assert done.stdout == f"{{{cpu}}} {{{cpu}}}\n"


@linux_only
def test_a_pin_that_the_system_refuses_or_narrows_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^'\+cpus=100000': the process cannot be pinned: Invalid argument\.$"):
        pin([100_000])
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    with pytest.raises(ConfigError, match=r"^'\+cpus=0-1': the system lets the process run on 1 only\.$"):
        pin([0, 1])
