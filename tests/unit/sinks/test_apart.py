from __future__ import annotations

import itertools
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import comes_true, gone

from pytest_llmci.sinks import apart
from pytest_llmci.sinks.apart import Patience, Sent, later, send_apart

RUN = Path("llmci-results") / "20260101T000000Z-abcdef"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the process runs in place of the command."""
    script = tmp_path / "child.py"
    monkeypatch.setattr(
        apart, "_START", f"import runpy; _ = {{place!r}}; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    monkeypatch.chdir(tmp_path)
    return script


@pytest.fixture
def from_its_words_on(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait by the limits only when the process has said its words: how long it takes to start is no silence."""
    watch = apart._watch

    def later_on(process: subprocess.Popen[str], *rest: Any) -> Sent:
        assert comes_true(child.with_name("said").exists)
        return watch(process, *rest)

    monkeypatch.setattr(apart, "_watch", later_on)


def send(child: Path, text: str, *, silence: float = 30, limit: float = 60, sink: str = "mlflow:http://h:1") -> Sent:
    child.write_text(
        f"import os, sys, time\ndef say(text): print(text, flush=True)\ndef said(): open('said', 'w').close()\n{text}\n",
        "utf-8",
    )
    return send_apart(RUN, sink, patience=Patience(silence_s=silence, limit_s=limit))


def test_results_are_handed_on_and_nothing_else(child: Path) -> None:
    sent = send(
        child, "say('step: a'); say('chatter'); say('result: MLflow: here'); say('result: http://h'); say('wrote x')"
    )
    assert sent == Sent(results=["MLflow: here", "http://h"], warning="")


def test_it_is_the_command_that_uploads_later(child: Path) -> None:
    sent = send(child, "say('result: ' + ' '.join(sys.argv[1:]))")
    assert sent.results == [f"report {RUN} --sink mlflow:http://h:1 --progress"]


@pytest.mark.usefixtures("from_its_words_on")
def test_silence_ends_it_and_what_was_answered_is_counted(child: Path) -> None:
    began = time.monotonic()
    sent = send(child, "say('step: load MLflow'); say('step: b'); said(); time.sleep(600)", silence=1.5, limit=1000)
    assert 1.5 <= time.monotonic() - began < 500
    assert sent.warning == (
        "sink 'mlflow': no answer for 2 s (2 steps were done before). Nothing is lost; this sends the run later:"
        f" llmci report {RUN} --sink mlflow:http://h:1"
    )


def test_an_answer_starts_the_silence_anew(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()  # each look at the clock takes one: two for an answer
    monkeypatch.setattr(apart, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    sent = send(child, "for _ in range(30): say('step: x'); time.sleep(0.05)", silence=40, limit=1000)
    assert sent.warning == "" and next(seconds) > 60


def test_chatter_is_no_answer(child: Path) -> None:
    sent = send(child, "while True: say('still trying'); time.sleep(0.1)", silence=1.0)
    assert "no answer for 1 s" in sent.warning


def test_there_is_an_end_however_much_is_answered(child: Path) -> None:
    sent = send(child, "while True: say('step: x'); time.sleep(0.05)", limit=2)
    assert "not done within 2 s" in sent.warning


def test_its_own_complaint_is_the_reason(child: Path) -> None:
    sent = send(
        child,
        "print('noise', file=sys.stderr); print('llmci: error: MLflow at http://***@h: gone.', file=sys.stderr); sys.exit(4)",
    )
    assert sent.warning.startswith(
        "sink 'mlflow': MLflow at http://***@h: gone. Nothing is lost; this sends the run later: "
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sys.exit(3)", "the process ended with status 3"),
        ("raise SystemError('odd')", "the process ended with status 1: SystemError: odd"),
        ("os.kill(os.getpid(), 9)", "the process ended with status -9"),
    ],
)
def test_a_death_without_a_complaint(child: Path, text: str, reason: str) -> None:
    assert send(child, text).warning.startswith(f"sink 'mlflow': {reason}. Nothing is lost")


@pytest.mark.usefixtures("from_its_words_on")
def test_what_it_started_ends_with_it(child: Path) -> None:
    script = (
        "import subprocess; other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "say(f'result: {other.pid}'); said(); time.sleep(600)"
    )
    sent = send(child, script, silence=1.5)
    (pid,) = sent.results
    assert gone(int(pid))


def test_settings_of_the_session_are_not_inherited(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_MLFLOW_EXPERIMENT", "x")
    monkeypatch.setenv("MLFLOW_RUN_ID", "of the environment")
    child.write_text(
        "import os\nprint('result:', os.environ.get('LLMCI_MLFLOW_EXPERIMENT'), os.environ['MLFLOW_RUN_ID'], flush=True)"
    )
    sent = send_apart(RUN, "mlflow", variables={"MLFLOW_RUN_ID": "abc"})
    assert sent.results == ["None abc"]


def test_an_impatient_user_ends_the_wait_and_not_the_session(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Sent:
        raise KeyboardInterrupt

    monkeypatch.setattr(apart, "_watch", interrupted)
    sent = send(child, "time.sleep(600)")
    assert sent.warning.startswith("sink 'mlflow': interrupted. Nothing is lost")


def test_no_process_is_a_warning(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert "no process could be started: Resource temporarily unavailable. Nothing" in send(child, "").warning


def test_no_password_is_shown_and_the_command_can_be_pasted() -> None:
    line = later(
        Path("my runs/x"),
        "mlflow:http://ann:secret@h:1",
        {"MLFLOW_RUN_ID": "a b"},
        "cannot reach http://ann:secret@h:1",
    )
    assert "secret" not in line
    assert line.endswith("later: MLFLOW_RUN_ID='a b' llmci report 'my runs/x' --sink 'mlflow:http://***@h:1'")


def test_the_sink_is_named_once() -> None:
    line = later(
        Path("run"), "mlflow:file:///store", {}, "sink 'mlflow': 'file:///store': MLflow keeps no new runs there."
    )
    assert line.startswith("sink 'mlflow': 'file:///store': MLflow keeps no new runs there. Nothing is lost")


def test_the_real_command_is_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest_llmci.py").write_text("raise SystemError('another one')")
    sent = send_apart(tmp_path / "none", "csv")
    assert "no run " in sent.warning and "SystemError" not in sent.warning
