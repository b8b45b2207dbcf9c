from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.cli import calibrate as module
from pytest_llmci.cli.calibrate import render
from pytest_llmci.cli.main import main
from pytest_llmci.engine.machine.advice import Cost, advise, visible
from pytest_llmci.engine.machine.calibrate import Calibration, MetricNoise, SessionResult, Trial
from pytest_llmci.stats.noise import Noise, Part

NOISE = Noise(
    round=Part(sd=0.0212, most=0.03, freedom=20), ratio=Part(sd=0.0187, most=0.03, freedom=20),
    process=Part(sd=0.004, most=0.011, freedom=6), session=Part(sd=0.05, most=0.31, freedom=2),
)  # fmt: skip
GATED = {"net_time": NOISE, "cpu_time": NOISE}
SESSION = SessionResult(number=1, seconds=40.0, complete=True)


def calibration(**changes: Any) -> Calibration:
    facts: dict[str, Any] = {
        "started": "2026-01-01T00:00:00Z", "model": "smollm2", "prompts": ("first", "second"), "max_new_tokens": 16, "rounds": 5,
        "block": 3, "environment": {}, "environment_digest": "0123456789abcdef", "sessions": (SESSION,) * 3, "judged": 3,
        "false_alarms": 0, "false_alarm_limit": 0.632, "gated": ("net_time", "cpu_time"),
        "noise": (
            MetricNoise(metric="latency", noise=NOISE), MetricNoise(metric="net_time", noise=NOISE),
            MetricNoise(metric="cpu_time", noise=NOISE), MetricNoise(metric="ttft", noise=None, reason="a script has none " * 6),
        ),
        "visible": tuple(visible(GATED, 2)), "advice": advise(GATED, 2, Cost(round_s=4.0, pair_s=10.0)),
    }  # fmt: skip
    return Calibration(**{**facts, **changes})


def shown(**changes: Any) -> str:
    return "\n".join(render(calibration(**changes)))


@pytest.mark.parametrize(("told", "most"), [("45", 45), ("60", 60), ("80", 80), ("200", 100)])
def test_the_report_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, told: str, most: int) -> None:
    monkeypatch.setenv("COLUMNS", told)
    lines = list(render(calibration(left_out=("word " * 40,), model="m" * (most - 10))))
    assert most - 4 <= max(map(len, lines)) <= most


def test_false_alarms_have_a_limit_and_not_only_a_count() -> None:
    assert "0 of 3: under 63.2 % with 95 % confidence" in shown()
    assert "--sessions=299" in shown()
    alarm = dataclasses.replace(SESSION, false_alarms=("net_time of smollm2-first",), inconclusive=1)
    told = shown(sessions=(alarm, SESSION), judged=2, false_alarms=1, false_alarm_limit=0.975)
    assert "1 of 2: under 97.5 %" in told and "  net_time of smollm2-first" in told
    assert "1 of 2 sessions decided not every cell" in told
    assert "--sessions=299" not in shown(judged=299, false_alarm_limit=0.00997)
    assert "No session was judged" in shown(judged=0, false_alarm_limit=None)


def test_noise_stands_by_cause_with_limits() -> None:
    told = shown()
    assert "  net time    2.12 %      1.87 %     0.40 % (< 1.10 %)    5.00 % (< 31.00 %)" in told
    assert "  1st token n/a: a script has none" in told
    assert "Sessions here differ by more in net time and CPU time than" in told.replace("\n  ", " ")


def test_processes_that_differ_more_than_the_gate_assumes() -> None:
    wild = dataclasses.replace(NOISE, process=Part(sd=0.02, most=0.05, freedom=6))
    told = shown(noise=(MetricNoise(metric="net_time", noise=wild), MetricNoise(metric="latency", noise=wild)))
    assert "Processes here differ by more in net time than" in told.replace("\n  ", " ")
    assert "Processes here differ" not in shown()


def test_what_could_not_be_separated_is_said() -> None:
    one = dataclasses.replace(NOISE, session=Part(sd=None, reason="it takes at least two sessions"))
    told = shown(noise=(MetricNoise(metric="net_time", noise=one),))
    assert "Not separated: it takes at least two sessions." in told and "counts as" in told
    assert "Sessions here differ" not in told


def test_what_can_be_seen_by_mode_and_rounds() -> None:
    lines = shown().splitlines()
    head = next(line for line in lines if "saved" in line and "history" in line)
    assert head.split() == ["rounds", "5", "10", "20", "40", "saved", "history"]
    (row,) = [line for line in lines if line.startswith("  CPU time, one cell")]
    assert row.count("%") == 6


def test_what_the_frozen_model_makes_visible_stands_beside_it() -> None:
    quiet = dataclasses.replace(NOISE, session=Part(sd=0.01, most=0.03, freedom=2))
    beside = tuple(MetricNoise(metric=name, noise=quiet) for name in GATED)
    told = shown(beside=beside, visible=tuple(visible(GATED, 2, dict.fromkeys(GATED, quiet))))
    lines = told.splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "saved" in line and "history" in line)
    assert head.split() == ["rounds", "5", "10", "20", "40", "saved", "frozen", "history"]
    (row,) = [line for line in lines if line.startswith("  CPU time, one cell")]
    saved, frozen = (float(each) for each in row.replace("%", "").split()[8:10])
    assert frozen < 0.85 * saved
    assert "  net/frozen  2.12 %" in told and "  CPU/frozen  2.12 %" in told
    assert "Beside the frozen model sessions differ" not in told
    assert "or beside a frozen model, with --llmci-anchor." in told.replace("\n  ", " ")
    wild = shown(beside=(MetricNoise(metric="net_time", noise=NOISE),))
    assert "Beside the frozen model sessions differ by more in net time than" in wild.replace("\n  ", " ")
    assert "with --llmci-versus." in wild.replace("\n  ", " ")
    (row,) = [line for line in wild.splitlines() if line.startswith("  CPU time, one cell")]
    assert "n/a" in row, "no size where none could be worked out"


def test_settings_stand_as_they_are_pasted() -> None:
    told = shown()
    assert "[tool.llmci]\nrounds = " in told and 'detect = ["5%"]' in told
    assert "None: no time that is gated could be measured." in shown(advice=None, visible=(), gated=())


def test_left_out() -> None:
    assert "1 of 3 sessions: no time" in shown(left_out=("1 of 3 sessions: no time",))
    assert "left out" not in shown()


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Trial]:
    """What the engine was asked for."""
    asked: list[Trial] = []

    def stand_in(trial: Trial, *_: object) -> Calibration:
        asked.append(trial)
        return calibration()

    monkeypatch.setattr(module, "calibrate", stand_in)
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return asked


def test_the_command_line(trials: list[Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--model=echo", "--limit=3", "--time-limit=10m", "--rounds=7", "--sessions=4"]) == 0
    (trial,) = trials
    assert (trial.model, len(trial.prompts), trial.sessions, trial.rounds, trial.time_limit_s) == ("echo", 3, 4, 7, 600)
    kept = tmp_path / "cache/calibration/0123456789abcdef-smollm2.json"
    assert json.loads(kept.read_text())["judged"] == 3
    assert capsys.readouterr().out.splitlines()[-1] == "kept in cache/calibration/0123456789abcdef-smollm2.json"


def test_json_and_a_file_of_ones_own(trials: list[Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--model=echo", "--json", "--output=noise.json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "noise.json").read_text())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=echo", "--rounds=2"], "'2' must be a whole number of at least 3"),
        (["--model=echo", "--sessions=x"], "'x' must be a whole number of at least 1"),
        (["--model=echo", "--prompts=nosuch"], "--prompts"),
        (["--model=echo", "--time-limit=soon"], "--time-limit"),
        ([], "--model"),
    ],
)
def test_bad_input(trials: list[Trial], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *arguments]) == 4
    assert message in capsys.readouterr().err
    assert trials == []
