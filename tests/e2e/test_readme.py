"""What README.md shows is what one gets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from bench import Bench
from installed import needs_models
from timing import on_real_time

from pytest_llmci.measure import builtin_metrics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return [
        text for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) if name == language
    ]


def shapes(lines: list[str]) -> list[str]:
    """Lines without their numbers, and without those that say more on a busy machine, where rounds are noisy and more are measured."""
    number = r"[*]?[\d,.]+( [MGK](?!\w)| [num\u00b5]?s\b| [KMG]i?B\b)?"
    found = [re.sub(r"[=_ -]+", " ", re.sub(number, "#", line)).strip() for line in lines]
    return [line for line in found if line and not re.search(r"rounds|by chance|^chance\)|noise|^Own cost", line)]


def test_the_first_example_prints_what_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    example = blocks("console")[0].partition("$ pytest --llm-models")[2]
    typed, shown = re.split(r"(?<!\\)\n", example, maxsplit=1)  # a line of a command that goes on ends with a backslash
    words = shlex.split("--llm-models" + typed.replace("\\\n", " "))
    result = bench.run(*words, fresh=True)
    result.assert_outcomes(passed=1, failed=1, deselected=18)
    printed = shapes(result.outlines)
    assert [line for line in shapes(shown.splitlines()) if line not in printed] == []


def test_the_tests_run(bench: Bench) -> None:
    (tests,) = blocks("python")
    bench.write("test_it.py", tests)
    result = bench.run('--llm-models=echo=echo:{"a": 1}', "--llm-prompts=prompts.yaml", fresh=True)
    result.assert_outcomes(passed=6)
    verdicts = {record["test"].partition("[")[0]: record for record in bench.records("verdict")}
    assert len(verdicts["test_it.py::test_cell"]["budgets"]) == 2


@pytest.mark.model
@needs_models
def test_the_settings_are_read(bench: Bench) -> None:
    (settings,) = blocks("toml")
    bench.write("pyproject.toml", settings)
    result = bench.run("--llmci", "--llmci-plan")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*smollm2*2*"])


@on_real_time
def test_the_regression_shows_what_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (shown,) = [block.partition("...\n")[2] for block in blocks("console") if "RegressionDetected" in block]
    labels = [found[0] for line in shown.splitlines()[2:] if (found := re.match(r"  \w[\w/]*( \w[\w/]*)?(?=  )", line))]
    result = bench.suite("echo=echo+itl=1.4ms", "--llmci-versus=echo+itl=1ms", "-k", "first", fresh=True)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["RegressionDetected: net time * % slower than echo+itl=1ms (*"])
    printed = result.outlines
    for label in labels:
        assert any(line.startswith(f"{label}  ") for line in printed), label
    assert len(labels) > 10


def test_the_metrics_are_known() -> None:
    table = TEXT.partition("## What is measured")[2].partition("\n\nAll of them")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 30
    assert named - {metric.name for metric in builtin_metrics()} == set()
