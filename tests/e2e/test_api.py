"""``llmci api``: a real server, and its page in a real browser; nothing is asked of another host."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import CHROMIUM, browser
from mlflow_server import Server
from stored_runs import simple, write_run
from waiting import PATIENCE_S

from pytest_llmci.cli.main import main

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@contextmanager
def serving(folder: Path | str) -> Iterator[str]:
    """The command, until it listens; ended like by Ctrl-C."""
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "api", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        host, _, port = address.removeprefix("http://").partition(":")
        until_listening(host, int(port), process)
        try:
            yield address
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=PATIENCE_S)
    assert errors == ""


def until_listening(host: str, port: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex((host, port)) == 0:
                return
    raise AssertionError("the server has ended")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_run(tmp_path / "runs", number, simple(seed=number, outputs=["<script>alert(1)</script>"]))
    return tmp_path / "runs"


@pytest.mark.slow
def test_it_answers_reads_only_and_listens_here_alone(folder: Path) -> None:
    with serving(folder) as address:
        with urllib.request.urlopen(f"{address}/runs?limit=1", timeout=PATIENCE_S) as answer:
            assert json.load(answer)["total"] == 2
        host, _, port = address.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        for method, status in (("HEAD", 200), ("GET", 200), ("DELETE", 405), ("POST", 405)):
            connection.request(method, "/health")
            told = connection.getresponse()
            body = told.read()
            assert (told.status, bool(body)) == (status, method != "HEAD")
        connection.request("GET", "/runs", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
        connection.close()
        with socket.socket() as other:
            other.settimeout(5)
            assert other.connect_ex(("127.0.0.2", int(port))) != 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_its_page_in_a_browser(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as address, browser(tmp_path / "profile") as page:
        page.look(width=1000, height=1100)
        page.call("Page.navigate", url=address)
        page.wait("document.body && document.body.dataset.ready === 'yes'")
        assert page.value("document.querySelectorAll('#paths details').length") == 7
        assert page.value("document.querySelector('h1').textContent").startswith("pytest-llmci results ")
        assert page.value("document.querySelectorAll('#schemas details').length") > 10
        page.value("document.querySelectorAll('#paths details')[3].open = true")
        run = min(each.name for each in folder.iterdir())
        page.value(f"document.querySelectorAll('#paths details')[3].querySelector('input').value = '{run}'")
        page.click("#paths details:nth-of-type(4) button")
        page.wait("(document.querySelector('#paths pre')?.textContent ?? '') !== ''")
        shown = page.value("document.querySelector('#paths pre').textContent")
        assert shown.startswith("200\n") and "<script>alert(1)</script>" in shown
        if place := os.environ.get("LLMCI_PICTURE"):
            page.value("window.scrollTo(0, 0)")
            page.picture(Path(place))
        assert page.dialogs == [] and page.console == []
        assert {request.split("/")[2] for request in page.requests if "://" in request} == {
            address.removeprefix("http://")
        }


@pytest.mark.slow
def test_a_tracking_server_that_dies_is_told_and_one_that_is_dead_refused(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    server = Server(tmp_path / "store")
    try:
        server.start()
        with serving(server.uri) as address:
            assert status_of(f"{address}/health") == (200, "ok")
            server.kill()
            for path in ("/runs", "/runs/x", "/health"):
                status, said = status_of(f"{address}{path}")
                assert status == 503 and said.startswith(f"MLflow at {server.uri}: cannot list the experiments: ")
    finally:
        server.kill()
    for command_name in ("api", "dashboard"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest_llmci.cli.main", command_name, server.uri], check=False, capture_output=True,
            text=True, timeout=PATIENCE_S, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (4, "")
        if command_name == "api" or find_spec("streamlit") is not None:
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"llmci: error: MLflow at {server.uri}: cannot list the experiments: ")


def status_of(address: str) -> tuple[int, str]:
    """HTTP status, and what is said: the reason or detail where there is one, else the status that health tells."""
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            status, told = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, told = error.code, json.load(error)
    return status, told.get("reason") or told.get("detail") or told["status"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["--port=-1", "."], "-1 is no port"),
        (["--host=203.0.113.7", "."], "nothing can listen at 203.0.113.7"),
    ],
)
def test_bad_input_is_told_before_a_server_starts(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["api", *arguments]) == 4
    assert message in capsys.readouterr().err
