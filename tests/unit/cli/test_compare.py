from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from stored_runs import block, judged, simple, started, write_run

from pytest_llmci.cli.main import main


@pytest.fixture(autouse=True)
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder of runs, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "llmci-results"


def runs(output: Path, *sides: list[Any], now_on: dict[str, Any] | None = None) -> list[str]:
    last = len(sides) - 1
    return [
        write_run(output, number, side, environment=now_on if number == last else None).name
        for number, side in enumerate(sides)
    ]


def test_changed_rows_come_first_then_what_changed_and_what_could_be_seen(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, now = runs(
        output, simple(), [*simple(["tcp"], seed=1, info={"dtype": "bfloat16"}), block("dns", factor=2), judged("dns")]
    )
    assert main(["compare", before, now]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"before      {before}  2026-01-01 00:00 UTC, commit 1111111111, 2 cells")
    assert lines[1].startswith(f"now         {now}")
    assert lines[3].split() == ["cell", "metric", "before", "now", "change", "interval", "verdict"]
    assert lines[4].startswith("a-dns") and lines[4].endswith("REGRESSED")
    text = "\n".join(lines)
    assert "\nchanged     dtype: float32 -> bfloat16\n" in text
    assert "\noutputs     the same in 2 cells\n" in text
    assert "\nchecks      2 of 2 cells passed, before 2\n" in text
    assert "sees        a change of net_time of " in text and "you asked for 5 %" in " ".join(text.split())
    assert lines[-1] == "2 cells: 1 regressed, 1 inconclusive; regressed as a whole: a"


def test_one_run_is_compared_with_the_one_before_it(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(output, simple(), simple(seed=1), simple(seed=2))
    assert main(["compare", "latest"]) == 0
    alone = capsys.readouterr().out
    main(["compare", "latest~1", "latest"])
    assert capsys.readouterr().out == alone
    assert main(["compare", "20260101"]) == 4
    assert "'20260101' alone is one run: name the older one before it." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("now", "statuses"),
    [
        (simple(factor=2.0), {"regression": 1, "inconclusive": 1, "never": 0}),
        (simple(["tcp"]), {"regression": 1, "inconclusive": 1, "never": 0}),  # lost coverage
        (simple(seed=1), {"regression": 0, "inconclusive": 2, "never": 0}),
    ],
)
def test_what_fails_is_chosen(output: Path, now: list[Any], statuses: dict[str, int]) -> None:
    before, after = runs(output, simple(), now)
    found = {name: main(["compare", before, after, f"--fail-on={name}"]) for name in statuses}
    assert found == statuses
    assert main(["compare", before, after]) == statuses["regression"]


def test_a_pass_is_a_pass(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(output, simple(), simple(seed=1))
    assert main(["compare", "latest", "--metric=peak_rss", "--metric=output_tokens", "--fail-on=inconclusive"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[3] == "2 cells: pass (no change for the worse above 2 %)"
    assert out.splitlines()[-1] == "2 cells: 2 pass"


def test_json_holds_every_result(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, now = runs(output, simple(), simple(seed=1, factor=2.0))
    assert main(["compare", before, now, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["counts"], found["mode"]) == ("regressed", {"regressed": 2}, "saved")
    assert [run["run_id"] for run in (*found["base"], found["candidate"])] == [before, now]
    first = found["cells"][0]
    assert (first["cell"], first["model"], first["prompt_id"], first["outputs_changed"]) == ("a-tcp", "a", "tcp", False)
    net = next(each for each in first["comparisons"] if each["metric"] == "net_time")
    assert net["verdict"] == "regressed"
    assert net["low"] < net["change"] < net["high"]
    assert {each["metric"] for each in found["models"]} == {"checks", "cpu_time", "net_time"}


def test_markdown_is_a_table_that_no_name_can_break(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a|b<script>`*_"
    runs(output, simple(), simple(seed=1, factor=2.0, info={"dtype": hostile}))
    assert main(["compare", "latest", "--markdown"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "### LLM comparison failed: 2 cells: 2 regressed; regressed as a whole: a"
    assert lines[2:4] == [
        "| cell | metric | before | now | change | interval | verdict |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    rows = [line for line in lines[4:] if line.startswith("|")]
    assert rows and all(row.count("|") == 8 for row in rows)
    assert any(row.endswith("**REGRESSED** |") for row in rows)
    changed = next(line for line in lines if line.startswith("- changed:"))
    assert "a&#124;b&lt;script&gt;\\`\\*\\_" in changed
    assert lines[-1] == "</details>"


def test_another_machine_is_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(output, simple(), simple(seed=1), now_on={"cpu_model": "B"})
    assert main(["compare", "latest"]) == 0
    out = capsys.readouterr().out
    assert "NOT COMPARABLE" in out
    assert "\nhardware    cpu_model: A -> B: times are not compared\n" in out
    assert "\ndecide " not in out


def test_only_so_many_rows_are_shown(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = [f"p{number}" for number in range(30)]
    runs(output, simple(prompts), simple(prompts, seed=1, factor=2.0))
    main(["compare", "latest", "--rows=4"])
    out = capsys.readouterr().out
    assert "... and 56 more" in out
    assert out.count("REGRESSED") == 6  # and the model as a whole, in two metrics


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "latest"], "no run 'nothing' in"),
        (["latest", "--detect=latency"], "--detect: 'latency' is no smallest change; write metric=5%"),
        (["latest", "--metric=latenzy"], "unknown metric 'latenzy'. Did you mean 'latency'?"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_bad_input_is_one_line_and_status_4(
    output: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(output, simple(), simple())
    assert main(["compare", *arguments]) == 4
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_no_common_cells_is_status_4(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(output, simple(), [started("b"), block(model="b"), judged(model="b")])
    assert main(["compare", "latest"]) == 4
    assert "no cell is in both runs" in capsys.readouterr().err
    assert gc.isenabled()


def test_a_regression_that_is_meant_fails_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runs(output, simple(), simple(factor=3.0))
    table = '[[accepted]]\ncell = "*"\nmetric = "*"\nup_to = "900%"\nreason = "a larger model"\nexpires = 2099-01-01\n'
    folder = output / "baselines"
    folder.mkdir()
    (folder / "accepted.toml").write_text(table, "utf-8")
    assert main(["compare", *names]) == 1
    assert main(["compare", "--baselines", str(folder), *names]) == 0
    assert "accepted" in capsys.readouterr().out
