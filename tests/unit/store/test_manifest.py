from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from pytest_llmci.errors import SchemaVersionError, StoreError
from pytest_llmci.store.manifest import (
    MANIFEST_NAME,
    Manifest,
    describe_file,
    list_files,
    read_manifest,
    renew,
    seal,
    signing_key,
)

KEY = b"a key of somebody"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, text in {
        "log.jsonl": "{}\n", "results.csv": "a,b\r\n1,2\r\n", "workers/a-1.log": "", "spool/gw0.jsonl": "{}\n", ".hidden": "x",
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, newline="")
    return tmp_path


def _renew(run: Path, written: list[Path], *, key: bytes | None = None, log_changed: bool = False) -> str:
    return renew(run, written, run="r", log_lines=3, log_digest="e" * 64, log_changed=log_changed, key=key)


def _seal(run: Path, key: bytes | None = None) -> Manifest:
    return seal(run, run="20260101T000000Z-abcdef", log_lines=2, log_digest="d" * 64, key=key)


def test_every_file_has_its_size_and_the_hashes_that_other_tools_give(run: Path) -> None:
    content = b"a,b\r\n1,2\r\n"
    entry = describe_file(run, "results.csv")
    assert (entry.path, entry.size) == ("results.csv", len(content))
    assert entry.md5 == hashlib.md5(content).hexdigest()
    assert entry.sha256 == hashlib.sha256(content).hexdigest()
    with pytest.raises(StoreError, match="gone.csv: cannot be read"):
        describe_file(run, "gone.csv")


def test_neither_spool_nor_hidden_files_nor_itself_are_listed(run: Path) -> None:
    _seal(run)
    assert list_files(run) == ["log.jsonl", "results.csv", "workers/a-1.log"]


def test_anybody_can_compute_the_run_digest_and_the_signature(run: Path) -> None:
    _seal(run, KEY)
    data = json.loads((run / MANIFEST_NAME).read_text())
    claimed, signature = data.pop("run_digest"), data.pop("signature")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert claimed == hashlib.sha256(text.encode()).hexdigest()
    assert signature == hmac.new(KEY, claimed.encode(), hashlib.sha256).hexdigest()


def test_what_was_written_is_read_back(run: Path) -> None:
    written = _seal(run, KEY)
    found = read_manifest(run)
    assert found == written
    assert found is not None
    assert found.digest() == found.run_digest
    assert found.fits_key(KEY)
    assert not found.fits_key(b"another key")
    assert found.entry("results.csv") == describe_file(run, "results.csv")
    assert found.entry("other") is None


@pytest.mark.parametrize("field", ["run", "log_digest", "log_lines", "files"])
def test_the_digest_covers_every_field(run: Path, field: str) -> None:
    from dataclasses import replace

    manifest = _seal(run)
    other = {"run": "x", "log_digest": "e" * 64, "log_lines": 7, "files": manifest.files[1:]}
    assert replace(manifest, **{field: other[field]}).digest() != manifest.digest()  # type: ignore[arg-type]  # one each


def test_a_run_without_a_key_is_not_signed(run: Path) -> None:
    assert _seal(run).signature == ""


@pytest.mark.parametrize(("text", "key"), [("", None), ("  ", None), ("k\n", b"k"), ("\udcff", b"\xff")])
def test_the_key_comes_from_the_environment(text: str, key: bytes | None) -> None:
    assert signing_key({"LLMCI_SIGNING_KEY": text}) == key
    assert signing_key({}) is None


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"manifest_version": 1}', '{"manifest_version": "1"}'])
def test_what_is_no_manifest_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json is no manifest of a run") as raised:
        read_manifest(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_manifest_of_a_newer_version_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"manifest_version": 2}')
    with pytest.raises(SchemaVersionError, match=r"newer pytest-llmci .*pip install -U pytest-llmci"):
        read_manifest(tmp_path)


# -------------------------------------------------------------------------------------------------------------- renewing


def test_a_run_without_a_manifest_gets_one(run: Path) -> None:
    assert _renew(run, [], key=KEY) == ""
    found = read_manifest(run)
    assert found is not None
    assert len(found.files) == 3
    assert found.fits_key(KEY)


def test_only_what_was_written_is_taken_anew(run: Path, tmp_path: Path) -> None:
    before = _seal(run)
    (run / "results.csv").write_text("new")
    (run / "workers" / "a-1.log").write_text("tampered")
    (run / "plot.svg").write_text("<svg/>")
    (run / "foreign.txt").write_text("not ours")
    outside = tmp_path.parent / "elsewhere.csv"
    outside.write_text("outside")
    assert _renew(run, [run / "results.csv", run / "plot.svg", outside]) == ""
    after = read_manifest(run)
    assert after is not None
    assert [entry.path for entry in after.files] == ["log.jsonl", "plot.svg", "results.csv", "workers/a-1.log"]
    assert after.entry("results.csv") == describe_file(run, "results.csv")
    assert after.entry("workers/a-1.log") == before.entry("workers/a-1.log")
    assert (after.log_lines, after.log_digest) == (2, "d" * 64)
    assert after.digest() == after.run_digest != before.run_digest


def test_a_recovered_log_is_taken_anew(run: Path) -> None:
    _seal(run)
    (run / "log.jsonl").write_text("{}\n{}\n{}\n")
    _renew(run, [], log_changed=True)
    after = read_manifest(run)
    assert after is not None
    assert (after.log_lines, after.log_digest) == (3, "e" * 64)
    assert after.entry("log.jsonl") == describe_file(run, "log.jsonl")


def test_files_of_the_same_content_leave_manifest_and_signature_alone(run: Path) -> None:
    _seal(run, KEY)
    before = (run / MANIFEST_NAME).stat().st_mtime_ns, (run / MANIFEST_NAME).read_bytes()
    assert _renew(run, [run / "results.csv"]) == ""
    assert ((run / MANIFEST_NAME).stat().st_mtime_ns, (run / MANIFEST_NAME).read_bytes()) == before


def test_a_signed_manifest_is_renewed_with_its_key_alone(run: Path) -> None:
    before = _seal(run, KEY)
    (run / "results.csv").write_text("new")
    assert "is signed and was left as it is: set LLMCI_SIGNING_KEY" in _renew(run, [run / "results.csv"])
    assert "its signature is not that of LLMCI_SIGNING_KEY" in _renew(run, [run / "results.csv"], key=b"another")
    assert read_manifest(run) == before
    assert _renew(run, [run / "results.csv"], key=KEY) == ""
    after = read_manifest(run)
    assert after is not None
    assert after != before
    assert after.fits_key(KEY)


def test_a_manifest_that_is_not_signed_does_not_become_so(run: Path) -> None:
    """Who edits a run and its manifest does not get them signed by the next report."""
    _seal(run)
    (run / "results.csv").write_text("new")
    assert _renew(run, [run / "results.csv"], key=KEY) == ""
    after = read_manifest(run)
    assert after is not None
    assert after.signature == ""
