"""The evidence of a run: sealed when the session ends, signed where there is a key, checked by ``llmci verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import Bench

from pytest_llmci.cli.main import main

KEY = "the-key-of-this-test-0123456789"


@pytest.fixture
def bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.delenv("LLMCI_SIGNING_KEY", raising=False)
    bench.write("nosy.py", "import os\ndef answer(prompt): return os.environ.get('LLMCI_SIGNING_KEY', 'no key here')\n")
    return bench


def _verify(run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = main(["verify", str(run)])
    return status, capsys.readouterr().out.splitlines()


def _run(bench: Bench) -> Path:
    return next(path for path in (bench.path / "llmci-results").iterdir() if path.name[0] == "2")


def _flip(path: Path) -> bytes:
    whole = path.read_bytes()
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    return whole


def test_a_session_seals_its_run_and_the_copy(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("a=echo,py:nosy:answer").assert_outcomes(passed=4)
    for run in (_run(bench), bench.latest):
        status, lines = _verify(run, capsys)
        assert status == 0
        assert lines[0].startswith(f"ok: {run / 'log.jsonl'}: ")
        assert lines[1] == "    7 files as manifest.json says"
        assert lines[2] == "    results.csv, summary.csv, results.json, metrics.json follow from the log"
        assert lines[3] == "    4 outputs with the hashes of their texts"
        assert lines[4].endswith(", not signed")
        assert len(lines) == 5


def test_texts_with_a_masked_secret_are_not_checkable_which_is_not_tampered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "Zq9xT7vLm2Kp4Rw8sB1n"
    monkeypatch.setenv("MY_API_KEY", secret)
    bench.write("prompts.yaml", f"- {{id: one, prompt: My key is {secret}}}\n- {{id: two, prompt: Hello}}\n")
    bench.suite("a=echo").assert_outcomes(passed=2)
    assert secret not in (_run(bench) / "log.jsonl").read_text()
    status, lines = _verify(_run(bench), capsys)
    assert status == 0, lines
    assert lines[3].startswith("    1 output with the hash")


def test_one_flipped_byte_in_each_file_is_caught(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("a=echo")
    run = _run(bench)
    (run / "workers" / "a-1.log").stat()
    names = [entry["path"] for entry in json.loads((run / "manifest.json").read_text())["files"]]
    assert names == ["log.jsonl", "metrics.json", "results.csv", "results.json", "summary.csv", "workers/a-1.log"]
    for name in [*names[:-1], "manifest.json"]:
        whole = _flip(run / name)
        status, lines = _verify(run, capsys)
        assert status == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"FAILED: {run / name}")
        (run / name).write_bytes(whole)
    (run / "workers" / "a-1.log").write_text("x")
    assert _verify(run, capsys) == (
        1,
        [f"FAILED: {run / 'workers/a-1.log'} is not what manifest.json says: 1 bytes instead of 0"],
    )


def test_a_signed_session(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LLMCI_SIGNING_KEY", KEY)
    bench.suite("py:nosy:answer").assert_outcomes(passed=2)
    assert bench.results()["cells"][0]["outputs"][0]["text"] == "no key here"
    written = [path for path in (bench.path / "llmci-results").rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    status, lines = _verify(bench.latest, capsys)
    assert (status, lines[-1].endswith(", signed with the key in LLMCI_SIGNING_KEY")) == (0, True)
    monkeypatch.setenv("LLMCI_SIGNING_KEY", "another")
    assert _verify(bench.latest, capsys)[1] == [
        f"FAILED: {bench.latest / 'manifest.json'}: the signature is not that of the key in LLMCI_SIGNING_KEY"
    ]
    monkeypatch.delenv("LLMCI_SIGNING_KEY")
    assert (
        _verify(bench.latest, capsys)[1][-1]
        == "    note: the signature could not be checked: LLMCI_SIGNING_KEY is not set"
    )


def test_a_killed_session_is_recovered_sealed_and_said_so(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("a=echo")
    run = _run(bench)
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    (run / "results.csv").unlink()
    (run / "manifest.json").unlink()
    assert _verify(run, capsys) == (1, [f"FAILED: {log}: line 4 is cut off"])
    assert main(["report", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "the session was killed: recovered 3 lines, an unfinished line kept in log.jsonl.partial" in shown
    status, said = _verify(run, capsys)
    assert status == 0
    assert "its session was killed, and what it had written was recovered later" in said[0]
    assert said[1] == "    7 files as manifest.json says"


def test_older_derived_files_beside_a_cut_log_are_made_anew_before_a_sink_sees_them(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.suite("a=echo", "--llmci-rounds=2")
    run = _run(bench)
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    assert main(["report", str(run), "--sink", f"pytest-benchmark:{bench.path / 'out.json'}"]) == 0
    assert "recovered 3 lines" in capsys.readouterr().out
    status, said = _verify(run, capsys)
    assert status == 0, said


def test_a_log_of_a_newer_schema_asks_for_a_newer_version(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("a=echo")
    run = _run(bench)
    from pytest_llmci.store.chain import GENESIS, build_line

    header = json.loads((run / "log.jsonl").read_bytes().splitlines()[0])
    body = {key: value for key, value in header.items() if key not in ("sha256", "line")}
    line, _ = build_line(
        GENESIS, 1, json.dumps({**body, "schema_version": 99}).replace('"type": "', '"type":"').encode()
    )
    (run / "log.jsonl").write_bytes(line)
    capsys.readouterr()
    assert main(["verify", str(run)]) == 4
    said = capsys.readouterr().err
    assert (
        "was written by a newer pytest-llmci (log schema 99, this one reads up to 1): pip install -U pytest-llmci"
        in said
    )
    assert said.count("\n") == 1
