from __future__ import annotations

import dataclasses
import io
import json
import sys
from typing import Any

import pytest

from pytest_llmci.checks.exemplars import ExemplarResult
from pytest_llmci.cli import doctor as module
from pytest_llmci.cli.doctor import advise_threads, render
from pytest_llmci.cli.main import main
from pytest_llmci.engine.machine.doctor import Checkup
from pytest_llmci.engine.machine.findings import Remark
from pytest_llmci.engine.machine.spinning import ThreadTiming
from pytest_llmci.engine.planted.base import Finding

OK = Finding(truth="ten tokens", metric="latency", state="ok", planted=0.065, reported=0.0650042, tolerance=9e-5)
OFF = Finding(truth="a spike", metric="peak_rss", state="off", planted=90 << 20, reported=26 << 20, tolerance=786_432)
DISTURBED = dataclasses.replace(OK, metric="ttft", state="disturbed", reason="the machine was busy")
LOST = Finding(truth="", metric="steal", state="not planted", reason="only a hypervisor can take CPU time")
LIMIT = Remark(
    topic="swap", limits=True, found="there is 2 GiB of swap", means="weights are written out", advice="swapoff -a"
)
GIFT = Remark(topic="clock", limits=False, found="tsc takes 40 ns", means="a stamp costs nothing")


def timing(threads: int, policy: str, busy_s: float, **more: Any) -> ThreadTiming:
    return ThreadTiming(threads=threads, wait_policy=policy, alone_s=0.005, busy_s=busy_s, **more)


TRAP = [timing(1, "PASSIVE", 0.01), timing(2, "PASSIVE", 0.012), timing(2, "ACTIVE", 0.2)]


def checkup(**changes: Any) -> Checkup:
    facts: dict[str, Any] = {
        "environment": {"cpu_model": "Some CPU", "memory_total_bytes": 16 << 30, "cpu_quota_cores": None, "governor": None,
                        "container": False, "load_average": [0.5, 0.4, 0.3], "packages": {"torch": "2.6"}, "brand_new": 3,
                        "platform": "linux", "gil": True},
        "environment_s": 0.0204, "findings": [OK, LOST], "remarks": [LIMIT, GIFT], "threads": TRAP,
    }  # fmt: skip
    return Checkup(**(facts | changes))


def lines(**changes: Any) -> list[str]:
    return list(render(checkup(**changes)))


@pytest.mark.parametrize(("told", "most"), [("45", 45), ("60", 60), ("80", 80), ("200", 100)])
def test_the_report_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, told: str, most: int) -> None:
    monkeypatch.setenv("COLUMNS", told)
    long = dataclasses.replace(LOST, reason="word " * 60)
    wide = dataclasses.replace(
        OFF, metric="involuntary_switches", planted=123_456_789, reported=-123_456_789, tolerance=123_456_789
    )
    shown = lines(findings=[OK, OFF, DISTURBED, wide, long], remarks=[dataclasses.replace(LIMIT, found="word " * 60)])
    assert max(map(len, shown)) <= most
    rows = [line for line in shown if "involuntary_switches" in line or "peak_rss" in line]
    assert all(len(line.split()) >= (6 if most >= 80 else 2) for line in rows)


def test_facts_stand_in_groups_with_units_and_words() -> None:
    shown = "\n".join(lines())
    for expected in (
        "environment (read in 20.4 ms)", "  CPU                  Some CPU", "  memory               16 GiB",
        "  CPU quota, cores     none", "  governor             not told", "  container            no",
        "  load average         0.5 0.4 0.3", "  packages             torch 2.6", "other\n  brand new            3",
    ):  # fmt: skip
        assert expected in shown
    assert "platform" not in shown


def test_findings_stand_under_their_truths() -> None:
    shown = lines(findings=[OK, DISTURBED, OFF, LOST])
    assert "  ok           latency                    65 ms      65 ms   +4.20 µs     90 µs" in shown
    assert "  off          peak_rss                  90 MiB     26 MiB    -64 MiB   768 KiB" in shown
    at = shown.index("ten tokens")
    assert shown[at + 2].startswith("  disturbed    ttft")
    assert shown[at + 3] == " " * 15 + "the machine was busy"
    assert "nothing could be planted for" in shown
    assert "  not planted  steal: only a hypervisor can take CPU time" in shown


def test_metrics_that_share_a_reason_share_a_line() -> None:
    lost = [Finding(truth="t", metric=name, state="not measured", reason="no GPU") for name in ("energy", "steal")]
    assert "  not measured energy, steal: no GPU" in lines(findings=lost)


def test_limits_stand_before_gifts_and_say_what_to_do() -> None:
    shown = lines()
    at = shown.index("swap: there is 2 GiB of swap")
    assert shown[at + 1 : at + 3] == ["  means  weights are written out", "  do     swapoff -a"]
    assert shown.index("clock: tsc takes 40 ns") > at


@pytest.mark.parametrize(
    ("findings", "last", "count"),
    [
        ([OK, LOST], "Every instrument that can measure here is right.", "1 ok, 1 not planted"),
        ([OK, OFF], "Do not trust peak_rss on this machine; please report this output.", "1 ok, 1 off"),
        ([OK, DISTURBED], "run it again.", "1 ok, 1 disturbed"),
    ],
)
def test_the_end_says_what_came_of_it(findings: list[Finding], last: str, count: str) -> None:
    shown = lines(findings=findings)
    assert last in " ".join(shown[-2:])
    assert any(f" {count} " in line for line in shown[-3:])


def test_other_sessions_that_could_not_be_kept_out_are_told() -> None:
    assert any("Other sessions" in line for line in lines(exclusive=False))
    assert not any("Other sessions" in line for line in lines())


def test_the_trap_is_shown_with_ratios() -> None:
    shown = lines()
    row = next(line for line in shown if "ACTIVE" in line and "POLICY" not in line)
    assert row.split() == ["2", "ACTIVE", "5", "ms", "1.0x", "200", "ms", "20.0x"]
    stuck = lines(threads=[*TRAP[:2], timing(2, "ACTIVE", 6.0, stuck=True)])
    assert any("over 6 s  600.0x" in line for line in stuck)


def test_a_trap_that_was_not_shown_says_why() -> None:
    shown = lines(threads=[], threads_reason="torch is not installed")
    assert "not shown: torch is not installed" in shown
    assert "one thread a model" in " ".join(shown)


@pytest.mark.parametrize(
    ("busy_s", "words"),
    [(0.2, "take 20 times as long as one thread"), (0.02, "take 2 times"), (0.019, "did not spring this time")],
)
def test_the_advice_depends_on_what_was_seen(busy_s: float, words: str) -> None:
    advice = advise_threads([*TRAP[:2], timing(2, "ACTIVE", busy_s)])
    assert words in advice
    assert advice.endswith("net_time is defined for it only.")


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the next check finds, and how it was asked."""
    seen: dict[str, Any] = {"changes": {}}

    def check(clock: object, *, quick: bool, say: Any) -> Checkup:
        seen["quick"] = quick
        say("planting: something")
        return checkup(**seen["changes"])

    monkeypatch.setattr(module, "check_machine", check)
    return seen


@pytest.mark.parametrize(
    ("findings", "status"), [([OK, LOST], 0), ([OK, OFF], 1), ([DISTURBED], 0), ([LOST], 0), ([], 0)]
)
def test_only_a_wrong_instrument_is_a_failed_check(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str], findings: list[Finding], status: int
) -> None:
    found["changes"] = {"findings": findings}
    assert main(["doctor"]) == status
    shown = capsys.readouterr()
    assert shown.out.startswith("=")
    assert shown.err == ""  # no terminal, no progress
    assert found["quick"] is False


WRONG = ExemplarResult(
    name="bleu", check="bleu:0.5", text="x", context="", passes=True, state="wrong", message="found 0"
)


def test_a_check_with_a_wrong_verdict_is_a_failed_check(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found["changes"] = {"exemplars": [WRONG]}
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "  wrong   bleu:0.5: found 0" in shown
    assert "Do not trust the checks bleu here" in shown


def test_json_is_all_of_it(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found["changes"] = {"findings": [OFF]}
    assert main(["doctor", "--json", "--quick"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["environment"]["cpu_model"] == "Some CPU"
    assert data["findings"][0]["state"] == "off"
    assert data["remarks"][0]["advice"] == "swapoff -a"
    assert data["threads"][2]["wait_policy"] == "ACTIVE"
    assert found["quick"] is True


def test_a_terminal_without_the_micro_sign_gets_a_letter(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["doctor"]) == 0
    text = raw.getvalue().decode("ascii")
    assert "+4.20 us" in text and "\\" not in text


def test_progress_is_a_line_of_a_terminal_that_goes_away(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().err
    assert "planting: something" in shown
    assert shown.endswith("\r\x1b[K\r")
