from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, usual_records, worker

from pytest_llmci.cli.report import rebuild
from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import SchemaVersionError
from pytest_llmci.proof.verify import verify_run
from pytest_llmci.records import LogRecord
from pytest_llmci.sinks import DEFAULT_SINKS
from pytest_llmci.store.chain import GENESIS, build_line
from pytest_llmci.store.log import LogWriter
from pytest_llmci.store.manifest import MANIFEST_NAME, read_manifest, seal
from pytest_llmci.version import version

KEY = b"0123456789abcdef"


def make_run(folder: Path, records: list[LogRecord], **changes: object) -> Path:
    """A run folder with everything in it, by this version."""
    folder.mkdir()
    (folder / "workers").mkdir()
    (folder / "workers" / "a-1.log").write_text("hello\n")
    writer = LogWriter(folder / "log.jsonl", clock=FakeClock())
    for record in [header(version=version(), **changes), *records]:
        writer.append(record)
    writer.close(0)
    rebuild(folder, DEFAULT_SINKS, print)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LLMCI_SIGNING_KEY", raising=False)
    return make_run(tmp_path / "run", usual_records())


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _sealed_again(run: Path, key: bytes | None = None) -> None:
    """As somebody does who changes a file and computes the manifest anew."""
    from pytest_llmci.store.verify import verify_log

    found = verify_log(run / "log.jsonl")
    seal(run, run="20260101T000000Z-abcdef", log_lines=found.lines, log_digest=found.digest, key=key)


def test_a_whole_run(run: Path) -> None:
    found = verify_run(run)
    assert found.ok
    assert found.signature == "none"
    assert found.manifest == read_manifest(run)
    assert found.shown[:3] == (
        "6 files as manifest.json says",
        "results.csv, summary.csv, results.json, metrics.json follow from the log",
        "3 outputs with the hashes of their texts",
    )
    assert found.shown[3].endswith(", not signed")
    assert found.notes == ()


@pytest.mark.parametrize("name", ["results.csv", "summary.csv", "results.json", "metrics.json", "workers/a-1.log"])
@pytest.mark.parametrize("rebuild", [True, False])
def test_one_flipped_byte_in_a_file_is_found(run: Path, name: str, rebuild: bool) -> None:
    path = run / name
    _flip(path, path.stat().st_size // 2)
    found = verify_run(run, rebuild=rebuild)
    assert not found.ok
    assert found.message.startswith(f"{path} is not what ")
    assert "\n" not in found.message


def test_the_place_in_a_table_is_named(run: Path) -> None:
    path = run / "results.csv"
    text = path.read_bytes()
    assert b",0.12,0.012," in text
    path.write_bytes(text.replace(b",0.12,0.012,", b",0.02,0.012,"))
    assert verify_run(run).message == (
        f"{path} is not what was written: row 2, column latency: 0.02 where the log gives 0.12"
    )


def test_the_place_in_a_document_is_named(run: Path) -> None:
    path = run / "metrics.json"
    path.write_bytes(path.read_bytes().replace(b'"ttft":0.01', b'"ttft":0.02', 1))
    assert "metrics.json is not what was written: line 2: a.ttft: 0.02" in verify_run(run).message
    rebuild(run, ["json"], print)
    path = run / "results.json"
    path.write_bytes(path.read_bytes().replace(b'"rounds":3', b'"rounds":4', 1))
    assert "results.json is not what was written: line " in verify_run(run).message
    assert "rounds: 4 where the log gives 3" in verify_run(run).message.replace("a.rounds", "rounds")


def test_every_flipped_byte_of_the_log_is_found(run: Path) -> None:
    log = run / "log.jsonl"
    whole = log.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        _flip(log, at)
        found = verify_run(run, rebuild=False)
        assert not found.ok
        assert found.message.startswith(f"{log}: line ")
        log.write_bytes(whole)


def test_every_flipped_byte_of_the_manifest_is_found(run: Path) -> None:
    path = run / MANIFEST_NAME
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        if whole[at : at + 1] in b" \n" or whole[at] ^ 1 in b" \t\r\n":
            continue
        _flip(path, at)
        try:
            assert not verify_run(run, rebuild=False).ok, (at, path.read_bytes()[at - 20 : at + 20])
        except SchemaVersionError:
            assert at < whole.index(b",")
        path.write_bytes(whole)


def test_files_that_are_gone_or_new(run: Path) -> None:
    (run / "extra.txt").write_text("x")
    found = verify_run(run)
    assert found.ok
    assert found.notes == ("not in manifest.json: extra.txt",)
    (run / "workers" / "a-1.log").unlink()
    assert verify_run(run).message == f"{run / 'workers' / 'a-1.log'} is missing"


def test_a_file_of_another_length(run: Path) -> None:
    with (run / "workers" / "a-1.log").open("a") as stream:
        stream.write("!")
    assert verify_run(run).message.endswith("is not what manifest.json says: 7 bytes instead of 6")


def test_a_log_that_was_edited_and_computed_anew_is_not_the_one_of_the_manifest(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", [worker(), rounds(latencies_ms=(1, 1, 1))])
    (run / "log.jsonl").write_bytes((other / "log.jsonl").read_bytes())
    message = verify_run(run).message
    assert message.startswith(f"{run / 'log.jsonl'} is whole, but not the one that manifest.json was made for: digest ")
    assert message.endswith("of 10 lines") is False
    assert " of 4 lines instead of " in message


def test_without_a_signature_all_can_be_computed_anew_but_not_against_the_log(run: Path) -> None:
    path = run / "results.csv"
    path.write_bytes(path.read_bytes().replace(b",0.12,0.012,", b",0.02,0.012,"))
    _sealed_again(run)
    assert verify_run(run, rebuild=False).ok
    assert verify_run(run).message == (
        f"{path} does not follow from the log: row 2, column latency: 0.02 where the log gives 0.12"
    )


def test_a_run_that_another_version_wrote_otherwise_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", usual_records())
    monkeypatch.setattr("pytest_llmci.proof.verify.version", lambda: "9.9.9")
    with (folder / "metrics.json").open("a") as stream:
        stream.write("\n")
    _sealed_again(folder)
    found = verify_run(folder)
    assert found.ok
    assert any(
        f"metrics.json: as pytest-llmci {version()} wrote them; this version, 9.9.9" in note for note in found.notes
    )


# -------------------------------------------------------------------------------------------------------------- signing


def test_a_signed_run(run: Path) -> None:
    _sealed_again(run, KEY)
    found = verify_run(run, key=KEY)
    assert (found.ok, found.signature) == (True, "valid")
    assert found.shown[-1].endswith(", signed with the key in LLMCI_SIGNING_KEY")


def test_a_signed_run_without_the_key_is_said_to_be_unchecked(run: Path) -> None:
    _sealed_again(run, KEY)
    found = verify_run(run)
    assert (found.ok, found.signature) == (True, "unchecked")
    assert "the signature could not be checked: LLMCI_SIGNING_KEY is not set" in found.notes


def test_a_log_that_was_edited_and_hashed_anew_is_caught_by_the_signature(run: Path, tmp_path: Path) -> None:
    _sealed_again(run, KEY)
    signature = json.loads((run / MANIFEST_NAME).read_text())["signature"]
    forged = make_run(tmp_path / "forged", [worker(), rounds(latencies_ms=(1, 1, 1))])
    data = json.loads((forged / MANIFEST_NAME).read_text())
    (forged / MANIFEST_NAME).write_text(json.dumps({**data, "signature": signature}))
    assert verify_run(forged).ok  # whoever has no key sees nothing
    found = verify_run(forged, key=KEY)
    assert (found.ok, found.signature) == (False, "wrong")
    assert found.message.endswith("manifest.json: the signature is not that of the key in LLMCI_SIGNING_KEY")


def test_a_signature_taken_off_is_caught(run: Path) -> None:
    found = verify_run(run, key=KEY)
    assert not found.ok
    assert found.message.endswith("is not signed, and LLMCI_SIGNING_KEY is set, so that a signature is expected")
    (run / MANIFEST_NAME).unlink()
    assert "has no manifest.json, and LLMCI_SIGNING_KEY is set" in verify_run(run, key=KEY).message


# --------------------------------------------------------------------------------------------------------- odd folders


def test_a_folder_without_a_manifest_is_checked_against_its_log(run: Path) -> None:
    (run / MANIFEST_NAME).unlink()
    (run / "summary.csv").unlink()
    found = verify_run(run)
    assert found.ok
    assert found.notes[0].startswith("no manifest.json: no file but the log vouches for itself")
    assert found.notes[1] == "missing: summary.csv; llmci report writes them"
    _flip(run / "results.csv", 700)
    assert "does not follow from the log" in verify_run(run).message


def test_a_manifest_cannot_name_files_elsewhere(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    text = (run / MANIFEST_NAME).read_text()
    (run / MANIFEST_NAME).write_text(text.replace('"workers/a-1.log"', '"../secret"'))
    manifest = read_manifest(run)
    assert manifest is not None
    data = json.loads((run / MANIFEST_NAME).read_text())
    (run / MANIFEST_NAME).write_text(json.dumps({**data, "run_digest": manifest.digest()}))
    assert verify_run(run).message.endswith("names '../secret', which is no file of the run folder")


@pytest.mark.parametrize("change", ["output_sha256", "md5", "prompt_sha256"])
def test_a_hash_that_is_not_that_of_its_text(tmp_path: Path, change: str) -> None:
    wrong: Any = {"output_sha256": ["0" * 64], "md5": ["0" * 32], "prompt_sha256": "0" * 64}[change]
    folder = make_run(tmp_path / "run", [worker(), rounds(**{change: wrong})])
    message = verify_run(folder).message
    assert f"log.jsonl: line 3 (rounds, a-tcp): {change} " in message
    assert verify_run(folder, rebuild=False).ok


def test_a_log_whose_chain_holds_and_whose_records_do_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [worker(), rounds()])
    log = folder / "log.jsonl"
    *lines, _ = log.read_bytes().splitlines(keepends=True)
    digest, written = GENESIS, []
    for number, raw in enumerate(lines, start=1):
        body = b"{" + raw[77:-1].partition(b",")[2].replace(b'"n":3,', b'"n":4,')
        line, digest = build_line(digest, number, body)
        written.append(line)
    footer = {"type": "footer", "lines": len(lines), "digest": digest, "finished": "2026-01-01T00:00:09.000Z"}
    line, digest = build_line(digest, len(lines) + 1, json.dumps(footer, separators=(",", ":")).encode())
    log.write_bytes(b"".join([*written, line]))
    _sealed_again(folder)
    assert verify_run(folder).log.ok
    assert verify_run(folder).message == f"{log}: line 3: latency holds 3 entries for 4 rounds."


def test_a_run_without_texts(tmp_path: Path) -> None:
    blank = rounds(outputs=[""], md5=["0" * 32], output_sha256=["0" * 64])
    folder = make_run(tmp_path / "run", [worker(), blank], settings={"redact": True})
    found = verify_run(folder)
    assert found.ok
    assert found.notes == ("the run keeps no texts: hashes of outputs cannot be computed",)
    assert not any("outputs with" in line for line in found.shown)


def test_a_long_log_is_not_made_anew_unless_asked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmci.proof.verify.REBUILT_UP_TO", 9)
    found = verify_run(run)
    assert found.ok
    assert found.notes == ("derived files were not made anew and output hashes not computed: --rebuild does",)
    assert verify_run(run, rebuild=True).notes == ()


@pytest.mark.parametrize("key", [None, b"secret"])
def test_a_manifest_without_the_key_of_its_signature_was_changed(run: Path, key: bytes | None) -> None:
    data = json.loads((run / MANIFEST_NAME).read_text())
    del data["signature"]
    (run / MANIFEST_NAME).write_text(json.dumps(data))
    found = verify_run(run, key=key)
    assert not found.ok and "manifest.json lacks the key 'signature', which every manifest has" in found.message
