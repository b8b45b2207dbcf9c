"""The run folder: verified, rebuilt, recovered; every text survives the way into every file."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import Bench
from waiting import gone

from pytest_llmci.cli.main import main

NASTY = {
    "quotes": "She said \"'so'\", then; left\tnow",
    "lines": "one\ntwo\r\nthree\rfour",
    "escape": "red \x1b[31mred\x1b[0m bell\x07 \x9b0m",
    "unicode": "naïve 漢字 🙂 \u202eevil\u202c \u0000 end",
    "formula": '=HYPERLINK("http://example.org")',
    "script": "<script>alert(1)</script>",
    "long": "word " * 20_000,
}


@pytest.fixture
def nasty(bench: Bench) -> Bench:
    rows = [{"id": name, "prompt": text} for name, text in NASTY.items()]
    bench.write("prompts.json", json.dumps(rows))
    bench.write("parrot.py", "def answer(prompt): return prompt[:3000] + ' done'\n")
    return bench


def test_every_text_survives(nasty: Bench) -> None:
    result = nasty.run(
        "--llm-models=py:parrot:answer",
        "--llmci-suite=inference",
        "--llm-prompts=prompts.json",
        "--llmci-rounds=1",
        "--llmci-budget=latency.max <= 1ns",
    )
    result.assert_outcomes(failed=len(NASTY))
    assert "INTERNALERROR" not in result.stdout.str()
    for character in ("\x1b[31m", "\x07", "\u202e"):
        assert character not in result.stdout.str()
    logged = {block["prompt_id"]: block for block in nasty.records("rounds")}
    assert {name: block["prompt"] for name, block in logged.items()} == NASTY
    assert {name: block["outputs"][0] for name, block in logged.items()} == {
        name: text[:3000] + " done" for name, text in NASTY.items()
    }
    csv.field_size_limit(10**9)
    with open(nasty.latest / "results.csv", newline="", encoding="utf-8") as file:
        rows = {row["prompt_id"]: row for row in csv.DictReader(file)}
    for name, text in NASTY.items():
        shown = rows[name]["prompt"]
        assert shown == text or shown == "'" + text
    assert rows["formula"]["prompt"].startswith("'=")
    results = json.loads((nasty.latest / "results.json").read_text("utf-8"))
    assert {cell["prompt_id"]: cell["prompt"] for cell in results["cells"]} == NASTY
    assert {cell["prompt_id"]: cell["outputs"][0]["text"] for cell in results["cells"]} == {
        name: text[:3000] + " done" for name, text in NASTY.items()
    }


def test_md5_is_of_model_prompt_and_output(bench: Bench) -> None:
    import hashlib

    bench.suite("echo:some words", "--llmci-rounds=1")
    for block in bench.records("rounds"):
        text = block["model"] + block["prompt"] + block["outputs"][0]
        assert block["md5"] == [hashlib.md5(text.encode()).hexdigest()]


def test_verify_names_a_changed_a_removed_and_a_cut_line(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("echo")
    run = next(path for path in (bench.path / "llmci-results").iterdir() if path.name not in ("latest", ".gitignore"))
    log = run / "log.jsonl"
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert main(["verify", str(run)]) == 0
    for damage, expected in (
        (whole.replace(b"Name a river", b"Name a rival", 1), "line"),
        (b"".join(lines[:3] + lines[4:]), "line 4"),
        (b"".join(lines[:-1]), "footer"),
        (whole[:-40], "line"),
    ):
        capsys.readouterr()
        log.write_bytes(damage)
        assert main(["verify", str(run)]) == 1
        shown = capsys.readouterr()
        assert expected in shown.out + shown.err


def test_report_rebuilds_the_same_files(bench: Bench) -> None:
    bench.suite("echo", "--llmci-max-latency=10s")
    run = next(path for path in (bench.path / "llmci-results").iterdir() if path.name not in ("latest", ".gitignore"))
    names = ("results.csv", "summary.csv", "results.json", "metrics.json")
    before = {name: (run / name).read_bytes() for name in names}
    for name in names:
        (run / name).unlink()
    assert main(["report", str(run)]) == 0
    assert {name: (run / name).read_bytes() for name in names} == before


def test_files_follow_their_schemas(bench: Bench) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from importlib.resources import files

    bench.suite("echo,dead=echo+crash=SIGKILL+at=1", "--llmci-budget=latency <= 1s")
    folder = files("pytest_llmci") / "store" / "schema"
    results = json.loads((folder / "results.schema.json").read_text("utf-8"))
    line = json.loads((folder / "log.schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads((bench.latest / "results.json").read_text("utf-8")), results)
    for record in bench.records():
        jsonschema.validate(record, line)


def _wait_until_it_hangs(output: Path) -> None:
    """Model b answers its first cell and hangs in the second."""
    end = time.monotonic() + 60
    while True:
        files = [*output.glob("*/log.jsonl"), *output.glob("*/spool/*.jsonl")]
        if any(b'"cell":"b-' in path.read_bytes() for path in files):
            time.sleep(0.3)
            return
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_a_killed_session_is_recovered_and_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str], workers: list[str]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    models = "--llm-models=a=echo,b=echo+hang=sleep+at=3"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        "--llmci-suite=inference",
        models,
        "--llmci-rounds=2",
        *workers,
    ]
    output = bench.path / "llmci-results"
    session = subprocess.Popen(command, cwd=bench.path, stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_hangs(output)
    finally:
        session.send_signal(signal.SIGKILL)
        session.wait()
    run = next(path for path in output.iterdir() if path.name not in ("latest", ".gitignore"))
    parallel = [int(path.stem.partition("-")[2]) for path in (run / "spool").glob("gw*.jsonl")]
    assert bool(parallel) == bool(workers)
    assert all(map(gone, parallel))  # they notice it by themselves
    assert main(["verify", str(run)]) == 1
    assert "killed" in "".join(capsys.readouterr())
    assert main(["report", str(run)]) == 0
    assert "recovered" in "".join(capsys.readouterr()).lower()
    assert main(["verify", str(run)]) == 0
    results = json.loads((run / "results.json").read_text("utf-8"))
    assert results["run"]["recovered"] is True
    assert "b" in {cell["model"] for cell in results["cells"] if cell["outputs"]}


def _runs(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.path / "llmci-results").iterdir() if path.name != ".gitignore")


@pytest.mark.parametrize(
    "hook",
    [
        "def pytest_sessionstart(session): raise KeyboardInterrupt",
        "def pytest_sessionstart(session): raise RuntimeError('mine')",
        "@pytest.hookimpl(tryfirst=True)\ndef pytest_runtestloop(session): raise KeyboardInterrupt",
        "@pytest.hookimpl(tryfirst=True)\ndef pytest_runtestloop(session): raise session.Failed('mine')",
    ],
    ids=["Ctrl-C at start", "error at start", "Ctrl-C before the first test", "stopped before the first test"],
)
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "parallel"])
def test_stopped_before_anything_was_measured_no_run_is_left(bench: Bench, workers: tuple[str, ...], hook: str) -> None:
    if workers:
        pytest.importorskip("xdist")
    bench.suite("echo")
    before = _runs(bench)
    log = (bench.latest / "log.jsonl").read_bytes()
    bench.write("conftest.py", f"import pytest\n{hook}\n")
    assert bench.suite("echo", *workers, fresh=True).ret != 0
    assert _runs(bench) == before
    assert (bench.latest / "log.jsonl").read_bytes() == log


def test_what_was_recorded_before_the_stop_is_kept(bench: Bench) -> None:
    bench.suite("echo+load_fail=no", "-x").assert_outcomes(failed=1, skipped=1)
    assert [record["type"] for record in bench.records()] == ["header", "worker", "rounds", "verdict", "gate", "footer"]


def test_a_session_that_ends_badly_closes_its_log(bench: Bench) -> None:
    bench.write("conftest.py", "def pytest_sessionfinish(): raise KeyboardInterrupt\n")
    bench.suite("echo", fresh=True)
    assert main(["verify", str(bench.latest)]) == 0
    assert bench.records("footer")[0]["exit_status"] is None
    assert (bench.latest / "results.csv").exists()


def test_the_output_folder_must_be_writable(bench: Bench) -> None:
    bench.write("file", "not a folder")
    result = bench.suite("echo", "--llmci-output=file/below")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*file/below*--llmci-output*"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["rounds", "verdict"])
def test_a_full_disk_is_a_failed_test_and_one_line(bench: Bench, line: str) -> None:
    bench.write(
        "conftest.py",
        f"LINE = {line!r}"
        """
import errno
from pytest_llmci.store import log
original = log.LogWriter.append
def append(self, record, stored=None):
    if record.TYPE == LINE:
        from pytest_llmci.errors import StoreError
        raise StoreError("log.jsonl: No space left on device")
    return original(self, record, stored)
log.LogWriter.append = append
""",
    )
    result = bench.suite("echo", fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "No space left on device" in text
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text + result.stderr.str()
    assert "ERROR at teardown" not in text, "it is told once"
    result.stdout.fnmatch_lines(["*gate[[]coverage[]]*results were lost*"])


def test_a_folder_of_the_users_is_not_hidden_from_git(bench: Bench) -> None:
    bench.suite("echo", "--llmci-output=.")
    assert not (bench.path / ".gitignore").exists()


def test_the_spool_of_a_session_in_one_process_is_empty(bench: Bench) -> None:
    bench.suite("echo", "--llmci-rounds=1", "-k", "first")
    run = next(path.parent for path in bench.path.glob("llmci-results/2*/log.jsonl"))
    assert list((run / "spool").iterdir()) == []


def test_a_latest_of_the_users_stays_and_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write("latest/data.txt", "precious")
    result = bench.suite("echo", "--llmci-output=.", "--llmci-rounds=1")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "Saved in *T*Z-* (results.csv, summary.csv,*",
            "warning: 'latest' was not renewed: *latest is no copy of a run and was left alone: rename it, or*--llmci-output DIR.",
        ]
    )
    assert [path.name for path in (bench.path / "latest").iterdir()] == ["data.txt"]
    run = next(path.parent for path in bench.path.glob("*/log.jsonl"))
    assert main(["report", str(run)]) == 0
    assert "not copied: " in capsys.readouterr().out


def test_derived_files_that_cannot_be_written_are_one_line(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        """
from pytest_llmci.errors import SinkError
from pytest_llmci.sinks.csv import CsvSink
def write(self, report, folder): raise SinkError("results.csv: cannot be written: No space left on device.")
CsvSink.write = write
""",
    )
    result = bench.suite("echo", fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "llmci: results.csv: cannot be written: No space left on device. Nothing is lost: *llmci report *",
            "*2 passed*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
