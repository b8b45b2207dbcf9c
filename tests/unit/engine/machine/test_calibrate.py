from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sample_run import CRASH, header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.machine.calibrate import Calibration, Trial, calibrate, read_session, write
from pytest_llmci.errors import ConfigError
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.measure.anchor import ANCHOR_METRICS
from pytest_llmci.records import ComparisonResult, LogRecord, Message, Prompt, RoundsRecord
from pytest_llmci.stats.noise import Noise

PROMPTS = (
    Prompt(id="tcp", text="What is TCP?", tags=("gate",), checks=("json",), max_new_tokens=3),
    Prompt(id="chat", messages=(Message(role="user", content="Hi"),)),
)


def trial(**changes: Any) -> Trial:
    return Trial(**{"model": "a", "prompts": PROMPTS, "sessions": 3, "rounds": 3, "max_new_tokens": 8, **changes})


def compared(verdict: Any = "pass", metric: str = "latency", against: str = "a") -> ComparisonResult:
    return ComparisonResult(
        metric=metric, mode="interleaved", verdict=verdict, against=against, base=0.1, candidate=0.1, change=0.0
    )


def session_records(
    base: Sequence[float] = (100, 110, 120), candidate: Sequence[float] = (101, 109, 121), **more: Any
) -> list[LogRecord]:
    """Both prompts in one pair of processes."""
    found: list[LogRecord] = [header(), worker()]
    for prompt in PROMPTS:
        for origin, values in (("reference", base), ("measured", candidate)):
            found.append(
                rounds(f"{origin}-{prompt.id}", prompt_id=prompt.id, latencies_ms=values, origin=origin, pair=0)
            )
        found.append(verdict(f"v-{prompt.id}", prompt_id=prompt.id, **{"comparisons": [compared()], **more}))
    return found


class Sessions:
    """Stands in for pytest: each session takes the next time and leaves the next log; what was asked is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
        self.clock, self.commands = clock, list[list[str]]()
        self.environments: list[dict[str, str]] = []
        self.rows: Any = None
        self.left: list[float | None] = []
        self.header: dict[str, Any] = {}
        self.next: list[tuple[float, list[LogRecord] | None, int, str]] = []
        monkeypatch.setattr(subprocess, "Popen", self)

    def __call__(self, command: list[str], *, env: dict[str, str], stdout: Any, **_: Any) -> Sessions:
        self.commands.append(command)
        self.environments.append(env)
        prompts, output = (self._option(name) for name in ("--llm-prompts", "--llmci-output"))
        self.rows = json.loads(Path(prompts).read_text("utf-8"))
        self.seconds, records, self.status, said = self.next[min(len(self.commands), len(self.next)) - 1]
        stdout.write(said)
        if records is not None:
            run = Path(output) / "20260101T000000Z-abcdef"
            run.mkdir()
            write_log(run, records, **self.header)
        self.stopped = False
        return self

    def _option(self, name: str) -> str:
        return next(word.partition("=")[2] for word in self.commands[-1] if word.startswith(name + "="))

    def wait(self, timeout: float | None = None) -> int:
        if self.stopped:
            return self.status
        self.left.append(timeout)
        if timeout is not None and self.seconds > timeout:
            self.clock.sleep(timeout)
            raise subprocess.TimeoutExpired("pytest", timeout)
        self.clock.sleep(self.seconds)
        self.stopped = True
        return self.status

    def send_signal(self, _: int) -> None:
        self.stopped = True

    def kill(self) -> None:
        raise AssertionError("it ended when it was asked to")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Sessions:
    return Sessions(monkeypatch, clock)


def log(**changes: Any) -> list[LogRecord]:
    return [record for record in session_records(**changes) if record.TYPE != "header"]


def run(clock: FakeClock, **changes: Any) -> tuple[Calibration, list[str]]:
    said: list[str] = []
    return calibrate(trial(**changes), clock, said.append), said


def noise_of(found: Calibration, metric: str) -> Noise:
    return next(each.noise for each in found.noise if each.metric == metric and each.noise is not None)


def test_sessions_of_the_model_against_itself(
    sessions: Sessions, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LLMCI", "LLMCI_ROUNDS", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LLMCI_CACHE_DIR", "/cache")
    sessions.next = [(10, log(), 0, "")]
    found, said = run(clock, rounds=7)
    assert len(sessions.commands) == 3
    assert {"--llm-models=a", "--llmci-versus=a", "--llmci-rounds=7", "--llmci-max-rounds=7", "--llmci-block=4"} <= set(
        sessions.commands[0]
    )
    assert not {"LLMCI", "LLMCI_ROUNDS", "PYTEST_ADDOPTS"} & sessions.environments[0].keys()
    assert sessions.environments[0]["LLMCI_CACHE_DIR"] == "/cache"
    assert sessions.rows == [
        {"id": "tcp", "prompt": "What is TCP?"},
        {"id": "chat", "messages": [{"role": "user", "content": "Hi"}]},
    ]
    assert said[0] == "session 1 of 3 runs; how long it takes is known after it"
    assert said[2] == "session 2 of 3 runs; about 20 s to go"
    assert [session.seconds for session in found.sessions] == [10, 10, 10]


def test_what_they_tell(sessions: Sessions, clock: FakeClock) -> None:
    louder = log(base=(200, 220, 240), candidate=(202, 218, 242))
    sessions.next = [(10, log(), 0, ""), (20, louder, 0, ""), (10, log(), 0, "")]
    found, _ = run(clock)
    assert (found.judged, found.false_alarms) == (3, 0)
    assert found.false_alarm_limit == pytest.approx(1 - 0.05 ** (1 / 3))
    assert found.gated == ("latency",)
    session, process = noise_of(found, "latency").session.sd, noise_of(found, "latency").process.sd
    assert session == pytest.approx(0.40, abs=0.01) and process is not None and process < 0.01
    assert {each.metric: each.reason for each in found.noise if each.noise is None} == {"net_time": "it was not measured", "cpu_time": "it was not measured"}  # fmt: skip
    assert {row.metric for row in found.visible} == {"latency"} and found.advice is not None
    assert found.environment_digest and found.left_out == ()


def test_times_beside_the_frozen_model_are_split_as_well(sessions: Sessions, clock: FakeClock) -> None:
    """A session in which both were twice as slow is no noise of the ratio."""

    def beside(factor: float) -> list[LogRecord]:
        return [timed(record, factor) for record in log(comparisons=[compared(metric="cpu_time")])]

    def timed(record: LogRecord, factor: float) -> LogRecord:
        if not isinstance(record, RoundsRecord):
            return record
        cpu: list[float | None] = [factor * value for value in record.values["latency"] if value is not None]
        return dataclasses.replace(
            record, values={**record.values, "cpu_time": cpu, "anchor_cpu_time": [factor * 2e7] * len(cpu)}
        )

    sessions.header = {"metrics": [*builtin_metrics(), *ANCHOR_METRICS]}

    sessions.next = [(10, beside(1), 0, ""), (10, beside(2), 0, ""), (10, beside(1), 0, "")]
    found, _ = run(clock)
    assert "--llmci-anchor" in sessions.commands[0]
    assert [each.metric for each in found.beside] == ["cpu_time"]
    (ratio,) = [each.noise for each in found.beside]
    assert (noise_of(found, "cpu_time").session.sd or 0) > 0.3
    assert ratio is not None and (ratio.session.sd or 0) < 0.02
    assert [row.metric for row in found.visible if row.mode == "anchored"] == ["cpu_time"]


def test_a_regression_that_is_none_is_a_false_alarm(sessions: Sessions, clock: FakeClock) -> None:
    alarm = log(comparisons=[compared("regressed"), compared("inconclusive", "ttft")])
    sessions.next = [(10, log(), 0, ""), (10, alarm, 1, ""), (10, log(), 0, "")]
    found, said = run(clock)
    assert (found.judged, found.false_alarms) == (3, 1)
    assert found.sessions[1].false_alarms == ("latency of a-tcp", "latency of a-chat")
    assert found.sessions[1].inconclusive == 2
    assert "a false alarm (latency of a-tcp, latency of a-chat)" in said[3]


def test_a_regression_against_a_baseline_is_no_false_alarm(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(10, log(comparisons=[compared(), compared("regressed", against="main")]), 1, "")]
    found, _ = run(clock)
    assert (found.judged, found.false_alarms) == (3, 0)
    named, _ = run(clock, model="b=a")
    assert named.gated == ("latency",), "the alias is no part of what it is compared with"


def test_a_session_that_does_not_fit_is_left_out(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(40, log(), 0, "")]
    found, said = run(clock, time_limit_s=100.0)
    assert len(found.sessions) == 2 and sessions.left == [95, 55]
    assert found.left_out == ("1 of 3 sessions: the time limit would not have held for the next one",)
    assert "at most 1 min 40 s in all" in said[0]


def test_a_session_that_the_limit_cuts_tells_of_noise_alone(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(40, log(), 0, ""), (1000, log(base=(1, 2), candidate=(1, 2)), 0, "")]
    found, _ = run(clock, time_limit_s=100.0)
    assert found.judged == 1 and len(found.sessions) == 2
    assert clock.now_ns() / 1e9 <= 100
    assert found.left_out[-1].startswith("session 2: not all rounds were measured")


def test_no_time_for_the_first_one(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(1000, None, 2, "")]
    with pytest.raises(ConfigError, match="did not measure: the time limit came first; give more with --time-limit"):
        run(clock, time_limit_s=60.0)


@pytest.mark.parametrize(
    ("seconds", "records", "message"),
    [
        (1000, [worker()], "the time limit came first"),
        (1, [worker(), verdict(error=CRASH)], "killed by SIGKILL, cause unknown"),
    ],
)
def test_a_first_one_without_any_round(
    sessions: Sessions, clock: FakeClock, seconds: float, records: list[LogRecord], message: str
) -> None:
    sessions.next = [(seconds, records, 1, "")]
    with pytest.raises(ConfigError, match=f"the first session did not measure: {message}"):
        run(clock, time_limit_s=60.0)


def test_what_pytest_refuses_is_told_in_its_words(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(1, None, 4, "\nERROR: --llm-models: unknown backend 'x'.\n\n")]
    with pytest.raises(ConfigError, match="the first session did not measure: --llm-models: unknown backend 'x'."):
        run(clock)


def test_a_later_session_that_goes_wrong_is_left_out(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(1, log(), 0, ""), (1, None, 3, "INTERNALERROR> no space\n"), (1, log(error=CRASH), 1, "")]
    found, _ = run(clock)
    assert found.judged == 1
    assert found.left_out == (
        "session 2: INTERNALERROR> no space",
        "session 3: killed by SIGKILL, cause unknown; it is in the noise, not in the false alarms",
    )


def test_one_model_at_a_time(sessions: Sessions, clock: FakeClock) -> None:
    with pytest.raises(ConfigError, match="--model: 'a,b' must be one model"):
        run(clock, model="a,b")
    assert sessions.commands == []


def test_answers_taken_together_are_one_sample() -> None:
    records: list[LogRecord] = [
        header(), worker(),
        *(rounds(origin, latencies_ms=(1, 3) * 3, origin=origin, pair=0, repeats=2) for origin in ("reference", "measured")),
    ]  # fmt: skip
    found = read_session(records, 0, 1.0, trial(prompts=PROMPTS[:1]))
    assert found.complete and found.measured_s == pytest.approx(0.024)
    assert not read_session(records, 0, 1.0, trial(prompts=PROMPTS[:1], rounds=4)).complete
    assert not read_session(records, 0, 1.0, trial()).complete, "one of two cells"


def test_a_log_without_a_comparison_tells_nothing() -> None:
    found = read_session([header(), *usual_records()], 0, 1.0, trial())
    assert (found.complete, found.pairs, found.false_alarms) == (False, 0, ())


def test_a_clock_that_ties_is_no_noise(sessions: Sessions, clock: FakeClock) -> None:
    sessions.next = [(1, log(base=(0, 1, 1)), 0, "")]
    found, _ = run(clock)
    assert (
        next(each.reason for each in found.noise if each.metric == "latency") == "a round was too short to be measured"
    )


def test_what_is_kept_can_be_read(sessions: Sessions, clock: FakeClock, tmp_path: Path) -> None:
    sessions.next = [(1, log(), 0, "")]
    found, _ = run(clock)
    path = tmp_path / "deep" / "noise.json"
    write(found, path)
    data = json.loads(path.read_text("utf-8"))
    assert (data["schema_version"], data["model"], data["prompts"]) == (1, "a", ["tcp", "chat"])
    assert {each["metric"] for each in data["noise"]} == {"latency", "net_time", "cpu_time", "ttft", "peak_rss"}
    with pytest.raises(ConfigError, match="cannot be written: .*--output"):
        write(found, path / "below-a-file.json")
