from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from served import ScriptedServer, promoted_model, weights

from pytest_llmci.cli import serve as module
from pytest_llmci.cli.main import main
from pytest_llmci.serving import serve
from pytest_llmci.serving.canary import Canary

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are looked at as POSIX has them")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that are promoted."""
    place = weights(tmp_path / "w")
    found = promoted_model(place)
    monkeypatch.setattr(module, "connect", lambda *_, **more: None)
    monkeypatch.setattr(module, "promoted", lambda *_: found)
    monkeypatch.setattr(serve, "server_of", lambda *_: ScriptedServer())
    return place


def test_it_says_where_the_model_is_ready(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "support-bot", "--port", "0", "--check"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("READY: http://127.0.0.1:") and said.out.endswith("/v1, model 'support-bot'\n")
    assert "llmci: first request, cold: " in said.err and "asks for no password" not in said.err


def test_one_line_of_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "support-bot", "--port=0", "--check", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["version"] == 3 and told["first_request_s"] > 0 and told["canary"] is None


def test_other_weights_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").write_bytes(b"other")
    assert main(["serve", "support-bot", "--port=0", "--check"]) == 1
    said = capsys.readouterr()
    assert "llmci: error: refused: " in said.err and not said.out


def test_another_host_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "support-bot", "--port=0", "--host=0.0.0.0", "--check"]) == 0
    said = capsys.readouterr()
    assert "whoever reaches 0.0.0.0 may use the model" in said.err and "READY: http://0.0.0.0:" in said.out


@pytest.mark.parametrize("passed", [True, False])
def test_a_canary_decides(
    passed: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def run(served: object, prompts: list[str], output: Path, more: list[str]) -> Canary:
        asked.append((prompts, output.name, more))
        return Canary(passed=passed, run="r1", verdict="2 of 2")

    monkeypatch.setattr(module, "run_canary", run)
    monkeypatch.chdir(folder.parent)
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text("- Say hello.\n", "utf-8")
    status = main(
        ["serve", "x", "--port=0", "--check", "--canary=a.yaml,b.yaml", "--canary-options=--llmci-max-latency=2s -x"]
    )
    said = capsys.readouterr()
    assert (status, "READY" in said.out) == ((0, True) if passed else (1, False))
    assert asked == [(["a.yaml,b.yaml"], "llmci-results", ["--llmci-max-latency=2s", "-x"])]
    assert ("canary passed: 2 of 2 (run r1)" if passed else "refused: the canary failed: 2 of 2 (run r1)") in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port=70000"], "70000 is no port"),
        (["--timeout=soon"], "--timeout"),
        (["--canary-options=-x"], "there is no canary"),
        (["--canary=nosuch.yaml"], "--canary: there is no prompt"),
        (["--server-options='"], "cannot be split into words"),
        (["--port=0", "--log=/nowhere/x"], "--log: /nowhere/x: cannot be written"),
        (["--port=0", "--host=203.0.113.7"], "nothing can listen at 203.0.113.7"),
    ],
)
def test_bad_input(arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "x", "--check", *arguments]) == 4
    assert message in capsys.readouterr().err
