from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from mlflow_stores import fresh_store
from registered import log_run
from stored_runs import simple, write_run

from pytest_llmci.cli.main import main
from pytest_llmci.store.log import LOG_NAME
from pytest_llmci.tracking.connection import connect


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with four logged runs: usual, slow, one round, fast; and a store that the environment names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", fresh_store(tmp_path / "store"))
    connection = connect("", "test")
    for number, records in enumerate((simple(), simple(factor=1.6), simple(n=1), simple(factor=0.5)), 1):
        log_run(connection, write_run(tmp_path / "llmci-results", number, records))
    return tmp_path


def test_promoted_refused_undecided_and_rolled_back(command: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "assistant", "--run", "20260102"]) == 0
    out = capsys.readouterr().out
    assert "  ok    checks    2 of 2 passed" in out
    assert "PROMOTED: assistant@champion is version 1 now\nregistered model assistant is new" in out

    assert main(["promote", "assistant", "--run", "20260103"]) == 1
    out = capsys.readouterr().out
    assert "  FAILS champion  worse than version 1: " in out
    assert (
        "REFUSED: assistant@champion stays version 1. This is recorded as version 2 (validation_status: refused)" in out
    )

    assert main(["promote", "assistant", "--run", "20260104", "--fail-on", "inconclusive"]) == 2
    assert "  ?     champion  not proven to be as good as version 1" in capsys.readouterr().out

    assert main(["promote", "assistant", "--dry-run"]) == 0
    assert "would be PROMOTED to assistant@champion, now version 1; nothing was written" in capsys.readouterr().out
    assert main(["promote", "assistant", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["outcome"], data["version"], data["before"], data["reasons"]) == ("promoted", 4, 1, [])
    assert main(["promote", "assistant"]) == 0
    assert "assistant@champion is version 4 already: nothing to do" in capsys.readouterr().out

    assert main(["rollback", "assistant", "--dry-run"]) == 0
    assert (
        "would be ROLLED BACK: assistant@champion from version 4 to version 1; nothing was written"
        in capsys.readouterr().out
    )
    assert main(["rollback", "assistant", "--reason", "it swears sk-abcdefghijklmnopqrstuvwx1234"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "ROLLED BACK: assistant@champion is version 1 again; version 4 is withdrawn\n  because it swears [secret]\n"
    )
    assert "  pytest --llmci --llm-models=a=echo   # the model of version 1" in out
    assert main(["rollback", "assistant", "--json"]) == 4
    assert "there is nothing to go back to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["promote", "assistant", "--alias", "latest"], 4, "promote: 'latest' is no alias"),
        (["promote", "assistant", "--run", "nosuch"], 4, "no run 'nosuch'"),
        (["promote", "assistant", "--fail-on", "never"], 4, "invalid choice: 'never'"),
        (["promote", "assistant", "--detect", "x"], 4, "--detect: 'x' is no smallest change"),
        (["promote", "assistant", "--mlflow", "nosuch://x"], 4, "promote --mlflow: 'nosuch://x': MLflow has no store of the kind 'nosuch'"),
        (["rollback", "nosuch"], 4, "rollback: MLflow at sqlite:"),
        (["rollback", "assistant", "--mlflow", "http://127.0.0.1:9"], 4, "MLflow at http://127.0.0.1:9: cannot read the registered model"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    command: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_run_that_does_not_verify_is_refused_in_one_line(command: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log,) = (command / "llmci-results").glob(f"20260105*/{LOG_NAME}")
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"float32", b"float16", 1))
    assert main(["promote", "assistant"]) == 1
    assert "llmci: error: refused: the run does not verify: " in capsys.readouterr().err
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert main(["promote", "assistant"]) == 1
    assert "its session was killed or the end was cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["rollback", "x"], 4),
        (["serve", "x"], 4),
        (["verify", "20260102", "--against", "mlflow"], 4),
        (["promote", "x", "--run", "20260102", "--model", "nope"], 4),
        (["promote", "a/b", "--run", "20260102"], 4),
        (["promote", "x", "--run", "20260102", "--dry-run"], 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_no_store_is_made_in_vain(
    arguments: list[str],
    status: int,
    command: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    before = sorted(path.name for path in command.iterdir())
    assert main(arguments) == status
    shown = capsys.readouterr()
    assert "nothing was written" in shown.out if status == 0 else shown.err.count("\n") == 1
    assert sorted(path.name for path in command.iterdir()) == before
