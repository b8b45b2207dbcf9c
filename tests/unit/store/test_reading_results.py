"""What docs/reading-results.md shows is what happens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sample_run import METRICS, usual_records, write_log

from pytest_llmci.cli.main import main
from pytest_llmci.records import log_lines
from pytest_llmci.sinks.csv import OWN_COLUMNS, PAPER_COLUMNS, PAPER_SUMMARY, results_columns

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "reading-results.md").read_text(encoding="utf-8")
SCHEMAS = ROOT / "pytest_llmci" / "store" / "schema"


@pytest.fixture
def latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "llmci-results" / "20260304T050607Z-1a2b3c"
    run.mkdir(parents=True)
    write_log(run, usual_records())
    assert main(["report"]) == 0
    return tmp_path / "llmci-results" / "latest"


@pytest.mark.parametrize("number", [0, 1])
def test_python_examples_run(latest: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[number]
    exec(compile(code, "reading-results.md", "exec"), {})  # our own text
    if number == 0:
        assert capsys.readouterr().out.splitlines()[-8] == "a 0.1 An answer."
    assert latest.is_dir()


def test_every_line_of_the_log_and_every_part_of_the_results_is_told() -> None:
    lines = {kind.TYPE for kind in vars(log_lines).values() if hasattr(kind, "TYPE")}
    parts = set(json.loads((SCHEMAS / "results.schema.json").read_text("utf-8"))["properties"]) - {"results_version"}
    assert {"rounds", "questions"} < lines and {"cells", "loads"} < parts
    assert sorted(name for name in lines | parts if f"`{name}`" not in TEXT) == []


def test_the_documented_check_notices_a_change(latest: Path) -> None:
    log = latest / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"120000000", b"020000000"))
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    with pytest.raises(AssertionError):
        exec(compile(code, "reading-results.md", "exec"), {})  # our own text


def test_every_column_and_file_is_named(latest: Path) -> None:
    for name in (*PAPER_COLUMNS, *OWN_COLUMNS, *PAPER_SUMMARY):
        assert f"`{name}`" in TEXT
    assert set(results_columns(list(METRICS))) > {*PAPER_COLUMNS, *OWN_COLUMNS}
    for path in latest.iterdir():
        assert path.name in TEXT
