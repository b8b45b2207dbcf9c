from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from pytest_llmci.engine.planted.base import (
    TRIES,
    Finding,
    Sighting,
    Truth,
    burn,
    examine,
    judge,
    measure,
    metric_table,
    reported,
    worst,
)
from pytest_llmci.errors import ModelLoadError
from pytest_llmci.records import Missing

NEAR = Sighting(metric="latency", planted=1.0, reported=1.01, tolerance=0.02)


def changed(**fields: object) -> Sighting:
    return dataclasses.replace(NEAR, **fields)  # type: ignore[arg-type]  # fields of a sighting


@pytest.mark.parametrize(
    ("sighting", "state", "reason"),
    [
        (NEAR, "ok", ""),
        (changed(reported=0.985), "ok", ""),
        (changed(reported=1.021), "off", ""),
        (changed(reported=0.979), "off", ""),
        (changed(reported=2.0, doubt="the hypervisor took time"), "disturbed", "the hypervisor took time"),
        (changed(doubt="the hypervisor took time"), "ok", ""),
        (changed(tolerance=0.11), "disturbed", "the truth itself could not be told well enough"),
        (changed(reported=2.0, tolerance=0.11), "off", ""),
        (changed(reported=Missing("no clock")), "not measured", "no clock"),
        (changed(planted=0, reported=0, tolerance=0), "ok", ""),
        (changed(planted=10, reported=11, tolerance=0), "off", ""),
    ],
)
def test_a_sighting_is_judged_by_its_tolerance(sighting: Sighting, state: str, reason: str) -> None:
    finding = judge("a second", sighting)
    assert (finding.state, finding.metric, finding.truth) == (state, "latency", "a second")
    assert finding.reason.startswith(reason) and bool(finding.reason) == bool(reason)


def test_the_error_is_reported_less_planted() -> None:
    assert judge("x", changed(planted=10, reported=12)).error == 2
    assert Finding(truth="x", metric="latency", state="not measured").error is None


def truth(*answers: Sequence[Sighting] | Missing | Exception) -> tuple[Truth, list[object]]:
    """One that gives these answers in turn, the last for good."""
    asked: list[object] = []

    def plant() -> Sequence[Sighting] | Missing:
        asked.append(None)
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Truth(name="a second", metrics=("latency", "ttft"), plant=plant), asked


def test_what_was_disturbed_is_planted_again() -> None:
    disturbed = changed(reported=2.0, doubt="a neighbour")
    planted, asked = truth([disturbed], [disturbed], [NEAR])
    assert [finding.state for finding in examine(planted)] == ["ok"]
    assert len(asked) == 3
    planted, asked = truth([disturbed])
    assert [finding.state for finding in examine(planted)] == ["disturbed"]
    assert len(asked) == TRIES


def test_what_is_off_is_not_tried_until_it_is_right() -> None:
    planted, asked = truth([changed(reported=2.0)], [NEAR])
    assert [finding.state for finding in examine(planted)] == ["off"]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Missing("needs Linux"), "needs Linux"),
        (PermissionError(13, "Permission denied", "/proc/x"), "it could not be planted: /proc/x: Permission denied"),
        (ModelLoadError("no process"), "it could not be planted: no process"),
    ],
)
def test_what_cannot_be_planted_is_told_for_each_metric(answer: Missing | Exception, reason: str) -> None:
    findings = examine(truth(answer)[0])
    assert [(finding.metric, finding.state, finding.reason) for finding in findings] == [
        ("latency", "not measured", reason),
        ("ttft", "not measured", reason),
    ]


def test_the_worst_sighting_is_the_one_furthest_off_or_missing() -> None:
    far, lost = changed(reported=0.5), changed(reported=Missing("no"))
    assert worst([NEAR, far, NEAR]) is far
    assert worst([NEAR, far, lost]) is lost


def test_an_act_is_measured_as_an_inference_after_one_warm_up() -> None:
    calls: list[str] = []

    def act(stamp: object) -> None:
        calls.append("act")
        burn(0.001)

    record = measure(act, before=lambda: calls.append("before"))
    assert calls == ["before", "act", "before", "act"]
    assert reported(record, "cpu_time") == record.values["cpu_time"] / 1e9
    assert reported(record, "rss_growth") == record.values["rss_growth"]
    assert isinstance(reported(record, "ttft"), Missing)
    assert isinstance(reported(record, "nonsense"), Missing)
    assert metric_table()["latency"].unit == "s"
