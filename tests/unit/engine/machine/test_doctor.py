from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_llmci.clock import SystemClock
from pytest_llmci.engine.machine import doctor
from pytest_llmci.engine.machine.doctor import check_machine, plant_all
from pytest_llmci.engine.machine.spinning import ThreadTiming
from pytest_llmci.engine.planted import NOT_PLANTED
from pytest_llmci.engine.planted.base import Sighting, Truth
from pytest_llmci.records import Missing

TIMING = ThreadTiming(threads=1, wait_policy="PASSIVE", alone_s=0.1, busy_s=0.2)


def seen(reported: float) -> Sequence[Sighting]:
    return [Sighting(metric="latency", planted=1.0, reported=reported, tolerance=0.01)]


TRUTHS = (
    Truth(name="short", metrics=("latency",), plant=lambda: seen(1.0)),
    Truth(name="long", metrics=("latency", "ttft"), plant=lambda: seen(2.0), quick=False),
)


def test_all_truths_are_planted_and_what_has_none_is_told() -> None:
    said: list[str] = []
    findings = plant_all(TRUTHS, quick=False, say=said.append)
    assert [(each.truth, each.state) for each in findings[:2]] == [("short", "ok"), ("long", "off")]
    assert {each.metric: each.reason for each in findings[2:]} == dict(NOT_PLANTED)
    assert {each.state for each in findings[2:]} == {"not planted"}
    assert said == ["planting: short", "planting: long"]


def test_quick_leaves_out_what_takes_long() -> None:
    findings = plant_all(TRUTHS, quick=True, say=lambda text: None)
    assert [(each.metric, each.state, each.reason) for each in findings[1:3]] == [
        ("latency", "not planted", "left out by --quick"),
        ("ttft", "not planted", "left out by --quick"),
    ]


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "timing.lock"
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(path))
    monkeypatch.setattr(doctor, "TRUTHS", TRUTHS)
    return path


def test_a_checkup_holds_all_parts(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "show_trap", lambda: [TIMING])
    begin = time.monotonic()
    found = check_machine(SystemClock(), quick=False, say=lambda text: None)
    assert found.environment["python"]
    assert 0 < found.environment_s <= time.monotonic() - begin
    assert [each.metric for each in found.off] == ["latency"]
    assert {remark.topic for remark in found.remarks} >= {"peak memory", "neighbours", "clock"}
    assert (found.threads, found.threads_reason, found.exclusive) == ([TIMING], "", True)
    assert lock.exists()


def test_a_trap_that_is_not_shown_has_a_reason(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "show_trap", lambda: Missing("torch is not installed"))
    found = check_machine(SystemClock(), quick=False, say=lambda text: None)
    assert (found.threads, found.threads_reason) == ([], "torch is not installed")
    monkeypatch.setattr(doctor, "show_trap", lambda: [TIMING])
    found = check_machine(SystemClock(), quick=True, say=lambda text: None)
    assert (found.threads, found.threads_reason) == ([], "left out by --quick")


def test_without_a_lock_it_says_that_others_may_measure(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(lock / "no" / "such" / "folder"))
    assert check_machine(SystemClock(), quick=True, say=lambda text: None).exclusive is False
