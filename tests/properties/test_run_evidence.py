"""Whatever byte of a run folder is changed, verifying it notices."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_run import usual_records, write_log

from pytest_llmci.cli.report import rebuild
from pytest_llmci.errors import SchemaVersionError
from pytest_llmci.proof.verify import verify_run
from pytest_llmci.sinks import DEFAULT_SINKS

NAMES = ("log.jsonl", "manifest.json", "results.csv", "summary.csv", "results.json", "metrics.json", "workers/a-1.log")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "workers").mkdir()
    (folder / "workers" / "a-1.log").write_text("hello\n")
    write_log(folder, usual_records())
    rebuild(folder, DEFAULT_SINKS, print)
    return folder


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_any_changed_byte_is_noticed(run: Path, name: str, at: int, mask: int) -> None:
    """A run is what its session wrote, or the first thing that is not is named in one line; JSON's own white space is nothing."""
    path = run / name
    whole = path.read_bytes()
    at %= len(whole)
    changed = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
    path.write_bytes(changed)
    try:
        found = verify_run(run, rebuild=False)
    except SchemaVersionError:
        assert name == "manifest.json"  # its version became another digit
        return
    finally:
        path.write_bytes(whole)
    blank = name == "manifest.json" and {whole[at], changed[at]} <= set(b" \t\r\n")
    assert found.ok == blank
    assert "\n" not in found.message
