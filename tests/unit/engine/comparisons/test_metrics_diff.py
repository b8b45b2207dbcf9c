from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from repositories import Repository
from sample_run import usual_records, write_log

from pytest_llmci.cli.main import main
from pytest_llmci.cli.report import rebuild
from pytest_llmci.engine.comparisons.metrics_diff import (
    ChangeVerdict,
    Side,
    compare_metrics,
    json_data,
    parse_tolerance,
    read_side,
    text_lines,
)
from pytest_llmci.errors import ConfigError
from pytest_llmci.metrics import MetricDef


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    return tmp_path


def put(name: str, **models: dict[str, Any]) -> str:
    Path(name).write_text(json.dumps(models))
    return name


def judged(old: dict[str, float], new: dict[str, float], *tolerances: str) -> dict[str, ChangeVerdict]:
    found = compare_metrics(
        Side(name="old", numbers=old), Side(name="new", numbers=new), [parse_tolerance(text) for text in tolerances]
    )
    return {change.path: change.verdict for change in found.changes}


@pytest.mark.parametrize(
    ("metric", "old", "new", "tolerance", "verdict"),
    [
        ("latency", 1.0, 1.05, "latency=5%", "within"),  # below, at and above the limit
        ("latency", 1.0, 1.0501, "latency=5%", "worse"),
        ("latency", 1.0, 0.9, "latency=5%", "better"),
        ("latency", 1.0, 0.97, "latency=5%", "within"),
        ("tokens_per_s", 100.0, 95.0, "tokens_per_s=5%", "within"),  # more is better
        ("tokens_per_s", 100.0, 94.0, "tokens_per_s=5%", "worse"),
        ("tokens_per_s", 100.0, 106.0, "tokens_per_s=5%", "better"),
        ("output_tokens", 50.0, 40.0, "output_tokens=10%", "worse"),  # neither way is better
        ("output_tokens", 50.0, 60.0, "output_tokens=10%", "worse"),
        ("output_tokens", 50.0, 54.0, "output_tokens=10%", "within"),
        ("peak_rss", 1e9, 1.02e9, "peak_rss=20MB", "within"),
        ("peak_rss", 1e9, 1.02e9 + 2, "peak_rss=20MB", "worse"),
        ("latency", 0.1, 0.101, "latency=1ms", "within"),
        ("latency", 0.1, 0.1011, "latency=1ms", "worse"),
        ("failed_cells", 0, 0, "failed_cells=0%", "within"),
        ("failed_cells", 0, 1, "failed_cells=0%", "worse"),
        ("failed_cells", 0, 1, "failed_cells=1", "within"),
        ("valid_cells", 10, 9, "valid_cells=0", "worse"),
        ("valid_cells", 9, 10, "valid_cells=0", "better"),
        ("latency", 1.0, 2.0, "ttft=5%", "not judged"),
        ("latency", 1.0, 2.0, "5%", "worse"),
        ("output_tokens", 50.0, 60.0, "5%", "not judged"),  # 5% alone is for what has a better direction
        ("mine", 1.0, 2.0, "mine=5%", "worse"),  # nobody says which way is better
        ("mine", 1.0, 0.5, "mine=5%", "worse"),
        ("latency", -1.0, -0.9, "latency=5%", "worse"),
    ],
)
def test_verdicts(metric: str, old: float, new: float, tolerance: str, verdict: str) -> None:
    both = {"a.ttft": 1.0}
    assert judged({f"a.{metric}": old, **both}, {f"a.{metric}": new, **both}, tolerance)[f"a.{metric}"] == verdict


def test_a_lost_metric_fails_and_a_new_one_does_not() -> None:
    assert judged({"a.latency": 1.0, "a.ttft": 1.0}, {"a.latency": 1.0, "a.energy": 1.0}) == {
        "a.latency": "not judged", "a.ttft": "lost", "a.energy": "new",
    }  # fmt: skip


def test_the_last_tolerance_that_fits_holds() -> None:
    numbers, slower = {"a.latency": 1.0, "b.latency": 1.0}, {"a.latency": 1.1, "b.latency": 1.1}
    assert judged(numbers, slower, "5%", "a.latency=20%") == {"a.latency": "within", "b.latency": "worse"}
    assert judged(numbers, slower, "a.*=20%", "latency=5%") == {"a.latency": "worse", "b.latency": "worse"}


def test_a_definition_that_came_with_the_numbers_wins() -> None:
    odd = MetricDef(name="mine", unit="s", direction="higher", definition="x")
    old, new = Side(name="o", numbers={"a.mine": 1.0}, metrics={"mine": odd}), Side(name="n", numbers={"a.mine": 2.0})
    found = compare_metrics(old, new, [parse_tolerance("mine=10ms")])
    assert (found.changes[0].verdict, found.changes[0].direction) == ("better", "higher")


@pytest.mark.parametrize(
    "text", ["", "latency", "latency=", "=5%", "latency=-5%", "latency=x%", "5", "latency=nan%", "latency=fast", "%"]
)
def test_what_is_no_tolerance(text: str) -> None:
    with pytest.raises(ConfigError, match="--tolerance: .* is none; write metric=5%") as raised:
        parse_tolerance(text)
    assert "\n" not in str(raised.value)


def test_names_of_no_metric_are_refused() -> None:
    side = Side(name="x", numbers={"a.latency": 1.0})
    with pytest.raises(
        ConfigError, match=r"--tolerance: neither side has a metric 'latenci'. Did you mean 'latency'\?"
    ):
        compare_metrics(side, side, [parse_tolerance("latenci=5%")])
    with pytest.raises(ConfigError, match="--metric: neither side has a metric 'b.latency'"):
        compare_metrics(side, side, [], ["b.latency"])
    with pytest.raises(ConfigError, match="--tolerance=latency=3MB: '3MB' is not a quantity in seconds"):
        compare_metrics(side, side, [parse_tolerance("latency=3MB")])


# --------------------------------------------------------------------------------------------------------------- reading


def test_numbers_at_any_depth_and_nothing_else(here: Path) -> None:
    Path("m.json").write_text(
        '{"a": {"latency": 1, "name": "x", "ok": true, "gone": null, "odd": NaN, "deep": {"x": 2}}, "top": 3}'
    )
    assert read_side("m.json", here).numbers == {"a.latency": 1, "a.deep.x": 2, "top": 3}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"a": "b"}', "3", "\x00"])
def test_files_without_numbers(here: Path, text: str) -> None:
    Path("m.json").write_text(text)
    with pytest.raises(ConfigError, match=r"compare --metrics: m\.json (is no JSON|holds no numbers)"):
        read_side("m.json", here)


def test_runs_and_folders(here: Path) -> None:
    run = here / "llmci-results" / "20260101T000000Z-abcdef"
    run.mkdir(parents=True)
    write_log(run, usual_records())
    with pytest.raises(
        ConfigError, match=r"metrics\.json is missing; llmci report .*20260101T000000Z-abcdef writes it"
    ):
        read_side("latest", run.parent)
    rebuild(run, ["json"], print)
    by_run = read_side("latest", run.parent)
    assert by_run.numbers["a.latency"] == pytest.approx(0.155)
    assert by_run.metrics["cpu_percent"].direction == "none"
    for text in (str(run), str(run / "metrics.json"), str(run / "log.jsonl"), "2026"):
        assert read_side(text, run.parent).numbers == by_run.numbers
    with pytest.raises(ConfigError, match="no run 'nothing'"):
        read_side("nothing", run.parent)


def test_commits(here: Path) -> None:
    repository = Repository(here)
    repository.commit(
        "one", {"llmci-dvc/metrics.json": '{"a": {"latency": 1}}', "sub/other.json": '{"a": {"latency": 3}}'}
    )
    repository.put({"llmci-dvc/metrics.json": '{"a": {"latency": 2}}'})
    assert read_side("git:HEAD", here).numbers == {"a.latency": 1}
    assert read_side("git:HEAD:sub/other.json", here).numbers == {"a.latency": 3}
    assert read_side("llmci-dvc", here).numbers == {"a.latency": 2}
    for text in ("git:", "git::x", "git:--help"):
        with pytest.raises(ConfigError, match="names no commit; write git:REV"):
            read_side(text, here)
    for text in ("git:gone", "git:HEAD:gone.json"):
        with pytest.raises(ConfigError, match="git has no .* there: fatal: "):
            read_side(text, here)


# --------------------------------------------------------------------------------------------------------------- command


def test_exit_status_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    old = put("old.json", a={"latency": 0.1, "peak_rss": 1000, "failed_cells": 0})
    new = put("new.json", a={"latency": 0.12, "peak_rss": 1000, "failed_cells": 0})
    assert main(["compare", "--metrics", old, new, "--tolerance", "latency=25%"]) == 0
    assert main(["compare", "--metrics", old, new, "--tolerance", "latency=5%", "--tolerance=peak_rss=1kB"]) == 1
    assert main(["compare", "--metrics", old, new, "--tolerance", "latency=5%", "--fail-on=never"]) == 0
    assert main(["compare", "--metrics", old, new, "--tolerance", "latency=5%", "--metric=peak_rss"]) == 0
    capsys.readouterr()
    main(["compare", "--metrics", old, new, "--tolerance", "latency=5%", "--tolerance=peak_rss=1kB"])
    assert capsys.readouterr().out.splitlines() == [
        "old  old.json",
        "new  new.json",
        "",
        "metric         old     new   change  tolerance  verdict",
        "a.latency   100 ms  120 ms  +20.0 %         5%  WORSE",
        "a.peak_rss  1000 B  1000 B   +0.0 %        1kB  within",
        "",
        "3 metrics: 1 worse, 1 within, 1 not judged",
    ]
    assert main(["compare", "--metrics", old, new, "--tolerance", "latency=5%", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["failed"] is True
    assert data["metrics"][0] == {
        "path": "a.latency", "metric": "latency", "old": 0.1, "new": 0.12, "change": pytest.approx(0.02),
        "share": pytest.approx(0.2), "direction": "lower", "tolerance": "5%", "verdict": "worse",
    }  # fmt: skip


def test_a_lost_model_is_an_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = put("old.json", a={"latency": 1}, b={"latency": 1}), put("new.json", a={"latency": 1})
    assert main(["compare", "--metrics", old, new]) == 1
    said = capsys.readouterr().out
    assert "b.latency  1 s  n/a                     LOST" in said
    assert "nothing but lost metrics fails without a tolerance: --tolerance latency=5%" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics", "m.json"], "1 given; write the old and the new one"),
        (["--metrics", "m.json", "m.json", "--detect=5%"], "takes neither --detect nor --markdown"),
        (["--metrics", "m.json", "m.json", "--markdown"], "takes neither --detect nor --markdown"),
        (["m.json", "m.json", "--tolerance=5%"], "--tolerance is of --metrics"),
        (["--metrics", "m.json", "gone.json"], "no run 'gone.json'"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    put("m.json", a={"latency": 1})
    assert main(["compare", *arguments]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_many_rows_are_cut() -> None:
    side = Side(name="x", numbers={f"m{number}.latency": 1.0 for number in range(30)})
    lines = list(text_lines(compare_metrics(side, side), most=5))
    assert "and 25 more (--rows)" in lines
    assert json_data(compare_metrics(side, side))["failed"] is False
