"""``llmci dashboard`` in a real browser: every page, from a folder and from MLflow; nothing is asked of another host."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from waiting import PATIENCE_S, comes_true

from pytest_llmci.cli.main import main

pytest.importorskip("streamlit")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HEADINGS = {"Runs": "Runs", "Compare": "Compare two runs", "History": "History", "Plots": "Plots", "Live": "Live"}


@pytest.fixture(scope="module", autouse=True)
def _mlflow_is_loaded() -> None:
    """Before any session in this process, which forgets what it imports itself: MLflow replaces the finder of metadata."""
    if importlib.util.find_spec("mlflow") is not None:
        from mlflow_stores import load_all_of_mlflow

        load_all_of_mlflow()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[str]:
    """The command, until it answers; ended like by Ctrl-C."""
    port = free_port()
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "dashboard", "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        until_answered(f"http://127.0.0.1:{port}/_stcore/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert "Streamlit" not in said and "URL:" not in said  # the address is told once, by us


def until_answered(address: str, process: subprocess.Popen[str]) -> None:
    """Until a server that was just started takes connections."""

    def answers() -> bool:
        assert process.poll() is None, "the server has ended"
        with suppress(OSError), urllib.request.urlopen(address, timeout=10):
            return True
        return False

    assert comes_true(answers), "the server does not answer"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_every_page_in_a_browser(bench: Bench) -> None:
    api: Any = pytest.importorskip("playwright.sync_api")
    bench.write(
        "prompts.yaml",
        "- {id: first, prompt: 'Say <script>alert(1)</script>'}\n- {id: second, prompt: 'Say <script>alert(2)</script>'}\n",
    )
    for delay in ("5ms", "9ms"):
        assert bench.suite(f"m=echo+ttft={delay}", fresh=True).ret == 0
    asked: set[str] = set()
    faults: list[str] = []
    with serving(folder=bench.path) as address, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 950})
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(address)
        for name, heading in HEADINGS.items():
            page.get_by_role("radiogroup").get_by_text(name, exact=True).click(timeout=120_000)
            page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=120_000)
        page.get_by_text("No session is running; this is the newest run.").wait_for(timeout=120_000)
        assert "<script>" in page.locator("code").first.inner_text()
        browser.close()
    assert asked == {address.removeprefix("http://")}
    assert faults == []


@pytest.mark.slow
def test_the_server_listens_on_this_machine_alone(bench: Bench) -> None:
    assert bench.suite("echo", fresh=True).ret == 0
    with serving(folder=bench.path) as address, urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        assert answer.status == 200
        port = int(address.rpartition(":")[2])
        with socket.socket() as other:
            other.settimeout(5)
            assert other.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.slow
def test_runs_that_were_logged_to_mlflow_are_listed_and_read(bench: Bench) -> None:
    pytest.importorskip("mlflow")
    from mlflow_stores import fresh_store

    from pytest_llmci.dashboard.source import open_source
    from pytest_llmci.engine.reports.report_builder import build_report

    store = fresh_store(bench.path)
    result = bench.suite("a=echo,b=echo", f"--llmci-mlflow={store}", fresh=True)
    assert result.ret == 0
    (row,) = (source := open_source(store)).rows()
    (run,) = [folder.name for folder in (bench.path / "llmci-results").iterdir() if folder.name.startswith("2")]
    assert (row.id, row.state, set(row.models)) == (run, "passed", {"a", "b"})
    assert row.metrics["a"]["latency"] > 0
    report = build_report(source.folder(row.id))
    assert len(report.cells) == 4 and source.folder(row.id) == source.folder(row.id)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["--port=0", "."], "0 is no port"),
        (["ftp://x/y"], "MLflow has no store of the kind 'ftp'"),
    ],
)
def test_what_cannot_be_shown_is_told_before_a_server_starts(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "://" in arguments[0]:
        pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", *arguments]) == 4
    assert message in capsys.readouterr().err
