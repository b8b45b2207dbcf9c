from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_runs import simple, write_run

from pytest_llmci.cli.main import main


@pytest.fixture(autouse=True)
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "llmci-results"


def test_a_line_a_run_with_date_commit_and_median(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [write_run(output, number, simple(seed=number)).name for number in range(3)]
    assert main(["history", "--rows=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a: median latency"
    assert lines[1].split() == ["date", "commit", "run", "rounds", "median"]
    assert [line.split()[:4] for line in lines[2:4]] == [
        [f"2026-01-0{day}", "00:00", "1111111111", name] for day, name in zip((2, 3), names[1:], strict=True)
    ]
    assert lines[2].split()[4:] == ["20", "1.05", "s"]
    assert lines[4] == "  ... and 1 older"
    assert "3 comparable runs: change points need 12" in " ".join(lines)


def test_json_of_the_table(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, 0, simple())
    assert main(["history", "--json", "--metric=ttft"]) == 0
    (series,) = json.loads(capsys.readouterr().out)["series"]
    assert (series["model"], series["metric"], series["unit"]) == ("a", "ttft", "s")
    assert series["points"][0]["median"] == pytest.approx(0.1, rel=0.02)


def test_the_gate_fails_a_slower_run_and_prints_the_way_back(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_run(output, 0, simple()).name
    now = write_run(
        output, 1, simple(seed=1, factor=2.0), environment={"git": {"commit": "2" * 40, "dirty": False}}
    ).name
    assert main(["history", "--gate"]) == 1
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    assert flat.startswith(
        f"{now} against the release {before}, commit 1111111111: the oldest, as no older run measured a tagged commit"
    )
    assert "\nFAILED: 2 cells: 2 regressed" in out
    assert "To go back to the release:\n  git checkout 111111111111 " in out
    assert main(["history", "--gate", "--fail-on=never"]) == 0
    capsys.readouterr()
    assert main(["history", "--gate", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["failed"], data["release"]["run_id"], len(data["rollback"])) == (True, before, 3)
    assert main(["history", "--gate", "--markdown"]) == 1
    assert "```\ngit checkout 111111111111" in capsys.readouterr().out


def test_the_gate_passes_what_did_not_change(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        write_run(output, number, simple(seed=number))
    assert main(["history", "--gate", "--metric=peak_rss", "--fail-on=inconclusive"]) == 0
    out = capsys.readouterr().out
    assert "\nok: 2 cells: 2 pass" in out
    assert "go back" not in out
    assert main(["history", "--gate", "--fail-on=inconclusive"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--release=v1"], "--release, --markdown and --detect are for --gate"),
        (["--gate", "--model=a"], "--model is for the table"),
        (["--gate"], "there is one run only"),
        (["--metric=load_time"], "history: load_time cannot be judged"),
        (["--output=none"], "no runs in 'none'"),
    ],
)
def test_bad_input_is_status_4(
    output: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(output, 0, simple())
    assert main(["history", *arguments]) == 4
    assert words in capsys.readouterr().err
