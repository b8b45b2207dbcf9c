from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from mlflow_server import Server, unused_port
from mlflow_stores import fresh_store, load_all_of_mlflow

from pytest_llmci.sinks import apart
from pytest_llmci.sinks.apart import Patience, send_apart
from pytest_llmci.tracking.connection import connect
from pytest_llmci.tracking.lookup import TrackedRun, find_children, find_runs, list_artifacts

pytest.importorskip("mlflow")
EVERY_REQUEST = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n%s"


@pytest.fixture(scope="module", autouse=True)
def _mlflow_is_loaded() -> None:
    load_all_of_mlflow()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes seconds to import where all is well, and the process that sends a run begins with it."""
    monkeypatch.setattr(apart, "Patience", lambda: Patience(silence_s=240, limit_s=480))


@pytest.fixture
def uri(bench: Bench) -> str:
    return fresh_store(bench.path / "store")


def logged(uri: str, run: Path) -> tuple[TrackedRun, dict[str, TrackedRun]]:
    """The run of a folder, which is there once, and those of its models."""
    store = connect(uri, "test")
    (parent,) = find_runs(store, run.name)
    assert parent.is_whole
    children = find_children(store, parent)
    assert len({child.model for child in children}) == len(children)
    assert "log.jsonl" in list_artifacts(store, parent.id)
    return parent, {child.model: child for child in children}


def the_run(bench: Bench) -> Path:
    (run,) = [path for path in (bench.path / "llmci-results").iterdir() if path.name not in ("latest", ".gitignore")]
    return run


@pytest.mark.parametrize("option", ["--llmci-mlflow={}", "--llmci-sink=mlflow:{}"])
@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["", "xdist"])
def test_a_session_is_logged_at_its_end(bench: Bench, uri: str, option: str, parallel: tuple[str, ...]) -> None:
    result = bench.suite("a=echo,b=echo+crash=SIGSEGV", option.format(uri), "--llmci-mlflow-experiment=mine", *parallel)
    result.stdout.fnmatch_lines(
        ["MLflow: logged in experiment 'mine'", f"MLflow: run *; look with: mlflow ui --backend-store-uri {uri}"]
    )
    parent, children = logged(uri, the_run(bench))
    assert set(children) == {"a", "b"} and parent.params["mlflow_experiment"] == "mine"


def test_mlflow_is_imported_in_the_process_that_logs_alone(bench: Bench, uri: str) -> None:
    bench.write(
        "conftest.py",
        "import sys\n\ndef pytest_unconfigure(config):\n"
        "    print('\\nloaded:', sorted({'mlflow', 'sqlalchemy', 'pandas'} & set(sys.modules)))\n",
    )
    result = bench.suite("echo", f"--llmci-mlflow={uri}", fresh=True)
    result.stdout.fnmatch_lines(["MLflow: logged in experiment *", "loaded: []"])


def test_the_default_store_is_that_of_mlflow(bench: Bench, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    bench.suite("echo", "--llmci-mlflow").stdout.fnmatch_lines(["MLflow: logged in experiment 'LLM_CI_CD_Benchmark'"])
    logged(uri, the_run(bench))


def test_settings_and_environment_ask_for_it_too(bench: Bench, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write("pytest.ini", f"[pytest]\nllmci_mlflow = {uri}\nllmci_mlflow_experiment = of the file\n")
    bench.suite("echo").stdout.fnmatch_lines(["MLflow: logged in experiment 'of the file'"])
    monkeypatch.setenv("LLMCI_MLFLOW", "no")
    bench.suite("echo").stdout.no_fnmatch_line("MLflow: *")


def test_it_nests_in_a_run_of_the_users_own(bench: Bench, uri: str) -> None:
    bench.write(
        "conftest.py",
        "import mlflow, pytest, warnings\n"
        "@pytest.fixture(scope='session', autouse=True)\ndef mine():\n"
        f"    mlflow.set_tracking_uri({uri!r})\n    mlflow.set_experiment('own')\n"
        "    with mlflow.start_run(run_name='mine') as run:\n        yield run\n",
    )
    bench.write("test_two.py", "def test_one(llm): llm.generate('a')\ndef test_two(llm): llm.generate('b')\n")
    result = bench.run("--llm-models=echo", "--llmci-mlflow", "-W", "ignore", fresh=True)
    result.stdout.fnmatch_lines(["MLflow: logged in experiment 'own'"])
    parent, children = logged(uri, the_run(bench))
    store = connect(uri, "test")
    mine = store.client.get_run(parent.tags["mlflow.parentRunId"])
    assert mine.info.run_name == "mine" and list(children) == ["echo"]


def test_a_run_of_a_single_test_is_not_nested_in(bench: Bench, uri: str) -> None:
    bench.write(
        "conftest.py",
        "import mlflow, pytest\n"
        "@pytest.fixture(autouse=True)\ndef mine():\n"
        f"    mlflow.set_tracking_uri({uri!r})\n    with mlflow.start_run() as run:\n        yield run\n",
    )
    bench.write("test_two.py", "def test_one(llm): llm.generate('a')\ndef test_two(llm): llm.generate('b')\n")
    bench.run("--llm-models=echo", "--llmci-mlflow", "-W", "ignore", fresh=True)
    assert "mlflow.parentRunId" not in logged(uri, the_run(bench))[0].tags


@pytest.mark.parametrize("option", ["--llmci-mlflow=htp://ann:secret@h", "--llmci-sink=mlflow:htp://ann:secret@h"])
def test_an_unknown_kind_of_store_is_refused_before_anything_runs(bench: Bench, option: str) -> None:
    result = bench.suite("echo", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: sink 'mlflow': 'htp://[*][*][*]@h': MLflow has no store of the kind 'htp'. *"])
    assert "secret" not in result.stderr.str() and not (bench.path / "llmci-results").exists()


def test_no_password_of_an_address_is_written(bench: Bench) -> None:
    port = unused_port()
    result = bench.suite("echo", f"--llmci-mlflow=http://ann:hunter2@127.0.0.1:{port}")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"warning: sink 'mlflow': *http://[*][*][*]@127.0.0.1:{port}*"])
    assert "hunter2" not in result.stdout.str()
    for path in bench.path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_a_session_that_was_stopped_sends_nothing_and_says_how(bench: Bench, uri: str) -> None:
    bench.write("test_stop.py", "def test_a(llm): llm.generate('a')\ndef test_b(): raise KeyboardInterrupt\n")
    result = bench.run("--llm-models=echo", f"--llmci-mlflow={uri}", fresh=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["warning: sink 'mlflow': the session was stopped early. Nothing is lost; this sends *"]
    )
    assert find_runs(connect(uri, "test"), the_run(bench).name) == []


# -------------------------------------------------------------------------------------- servers that are no good


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on this machine that treats every request in one way."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65536)
                answer(self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def fails(connection: socket.socket) -> None:
    body = b'{"error_code": "INTERNAL_ERROR", "message": "no"}'
    connection.sendall(EVERY_REQUEST % (b"500 Internal Server Error", len(body), body))


def answers_half(connection: socket.socket) -> None:
    connection.sendall(EVERY_REQUEST % (b"200 OK", 500, b'{"experiments": [{"exper'))


def talks_nonsense(connection: socket.socket) -> None:
    connection.sendall(EVERY_REQUEST % (b"200 OK", 5, b"<html"))


def asks_to_wait(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 503 Later\r\nRetry-After: 100\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def hangs(connection: socket.socket) -> None:
    while connection.recv(65536):  # the body may come after the headers
        pass


@pytest.mark.parametrize("answer", [fails, answers_half, talks_nonsense, asks_to_wait], ids=lambda f: f.__name__)
def test_a_server_that_is_no_good_costs_little_and_changes_nothing(
    bench: Bench, uri: str, answer: Callable[[socket.socket], None]
) -> None:
    with answering(answer) as bad:
        began = time.monotonic()
        result = bench.suite("echo", f"--llmci-mlflow={bad}")
        took = time.monotonic() - began
    assert result.ret == 0 and took < 60
    assert result.stdout.str().count("warning:") == 1
    result.stdout.fnmatch_lines([f"warning: sink 'mlflow': MLflow at {bad}: cannot list the experiments: *"])
    again = next(line for line in result.stdout.lines if "this sends the run later:" in line)
    assert again.endswith(f"llmci report {the_run(bench).relative_to(bench.path)} --sink mlflow:{bad}")
    assert send_apart(the_run(bench), f"mlflow:{uri}").warning == ""
    logged(uri, the_run(bench))


def test_nobody_there_fails_only_where_it_was_asked_to(bench: Bench) -> None:
    with socket.socket() as held:  # bound and not listening: refused
        held.bind(("127.0.0.1", 0))
        bad = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert bench.suite("echo", f"--llmci-mlflow={bad}").ret == 0
        result = bench.suite("echo", f"--llmci-mlflow=required:{bad}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"warning: sink 'mlflow': MLflow at {bad}: *"])


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")  # the user's own patience is larger than ours
    monkeypatch.setattr(apart, "Patience", Patience)
    with answering(hangs) as bad:
        began = time.monotonic()
        result = bench.suite("echo", f"--llmci-mlflow={bad}")
        took = time.monotonic() - began
    assert result.ret == 0 and 20 <= took < 60
    result.stdout.fnmatch_lines(
        ["warning: sink 'mlflow': no answer for 20 s (1 step was done before). Nothing is lost; *"]
    )


# --------------------------------------------------------------------------------------------------- a real server


@pytest.fixture
def server(bench: Bench) -> Iterator[Server]:
    made = Server(bench.path / "server")
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.mark.slow
def test_a_real_server(bench: Bench, server: Server) -> None:
    result = bench.suite("a=echo,b=echo", f"--llmci-mlflow={server.uri}")
    result.stdout.fnmatch_lines(
        ["MLflow: logged in experiment 'LLM_CI_CD_Benchmark'", f"MLflow: {server.uri}/#/experiments/1/runs/*"]
    )
    parent, children = logged(server.uri, the_run(bench))
    assert parent.status == "FINISHED" and set(children) == {"a", "b"}
    store = connect(server.uri, "test")
    kept = store.client.download_artifacts(parent.id, "log.jsonl", str(bench.path))
    assert Path(kept).read_bytes() == (the_run(bench) / "log.jsonl").read_bytes()
    sent = send_apart(the_run(bench), f"mlflow:{server.uri}")
    assert sent.results[0].startswith("MLflow: was there already")
    assert logged(server.uri, the_run(bench)) == (parent, children)


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_gets_the_run_once_when_it_is_back(bench: Bench, server: Server) -> None:
    bench.suite("a=echo,b=echo,c=echo")
    run = the_run(bench)
    command = [
        sys.executable,
        "-m",
        "pytest_llmci.cli.main",
        "report",
        str(run),
        "--sink",
        f"mlflow:{server.uri}",
        "--progress",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sending:
        assert sending.stdout is not None
        for line in sending.stdout:
            if line.startswith("step: make the run b"):
                server.kill()
                break
        _, errors = sending.communicate(timeout=240)
    assert sending.returncode == 4
    assert errors.startswith(f"llmci: error: MLflow at {server.uri}: cannot ") and errors.count("\n") == 1
    server.start()
    store = connect(server.uri, "test")
    (half,) = find_runs(store, run.name)
    assert not half.is_whole
    sent = send_apart(run, f"mlflow:{server.uri}")
    assert (sent.warning, sent.results[0]) == ("", "MLflow: completed in experiment 'LLM_CI_CD_Benchmark'")
    parent, children = logged(server.uri, run)
    assert parent.id == half.id and set(children) == {"a", "b", "c"}
    assert {child.status for child in children.values()} == {"FINISHED"}


def test_a_killed_session_is_recovered_and_said_so(bench: Bench, uri: str) -> None:
    bench.suite("echo")
    run = the_run(bench)
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # the footer never got to the disk
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "report", str(run), "--sink", f"mlflow:{uri}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{run.name}: the session was killed: recovered" in done.stdout and "MLflow: logged" in done.stdout
    parent, _ = logged(uri, run)
    assert (parent.status, parent.tags["llmci.recovered"]) == ("KILLED", "true")


def test_a_log_of_a_newer_version_is_one_line(bench: Bench, uri: str) -> None:
    bench.suite("echo")
    run = the_run(bench)
    log = run / "log.jsonl"
    first, *rest = log.read_text("utf-8").splitlines(keepends=True)
    data: dict[str, Any] = json.loads(first)
    assert data["schema_version"] >= 1
    log.write_text(first.replace('"schema_version":1', '"schema_version":999') + "".join(rest), "utf-8")
    sent = send_apart(run, f"mlflow:{uri}")
    assert "999" in sent.warning or "not what was written" in sent.warning or "changed" in sent.warning
    assert find_runs(connect(uri, "test"), run.name) == []
