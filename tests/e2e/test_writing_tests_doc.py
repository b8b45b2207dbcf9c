"""Every example in docs/writing-tests.md is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench import Bench

from pytest_llmci.checks import CHECKS, NEED_THE_EXTRA, parse_check, register
from pytest_llmci.engine.handles import LLM
from pytest_llmci.engine.marker_values import MarkerValues
from pytest_llmci.engine.results import CellResult, Generation
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.plugin import fixtures
from pytest_llmci.plugin.marks import _KEYWORDS
from pytest_llmci.prompts import load_prompts
from pytest_llmci.prompts.rows import KEYS, ROLES
from pytest_llmci.registry import Registry
from pytest_llmci.stats.budget_expression import BUDGET_STATISTICS, OPERATORS, parse_budget
from pytest_llmci.units import parse_quantity

TEXT = (Path(__file__).parents[2] / "docs" / "writing-tests.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("suffix", "language", "ids"),
    [
        ("yaml", "yaml", ["capital", "polite", "Name-a-colour"]),
        ("json", "json", ["capital", "Name-a-colour"]),
        ("jsonl", "jsonl", ["capital", "Name-a-colour"]),
        ("csv", "csv", ["capital", "colour"]),
        ("txt", "text", ["What-is-the-capital-of-France", "Name-a-colour"]),
    ],
)
def test_each_prompt_file_is_read_and_run(bench: Bench, suffix: str, language: str, ids: list[str]) -> None:
    bench.write(f"mine.{suffix}", block(language))
    prompts = load_prompts(f"mine.{suffix}", "--llm-prompts", bench.path)
    assert [prompt.id for prompt in prompts] == ids
    result = bench.run(
        "--llm-models=echo", "--llmci-suite=inference", f"--llm-prompts=mine.{suffix}", "--llmci-rounds=1"
    )
    assert [cell["prompt_id"] for cell in bench.results()["cells"]] == ids
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)  # echo does not know Paris
    checked = {check["name"] for cell in bench.results()["cells"] for check in cell["checks"]}
    assert ("contains:Paris" in checked) == ("contains:Paris" in block(language))


def test_each_budget_is_read() -> None:
    metrics = {metric.name: metric for metric in builtin_metrics()}
    for text in block("budgets").splitlines():
        assert parse_budget(text, "docs", metrics).text == text
    for name in (*BUDGET_STATISTICS, *OPERATORS):
        assert f"`{name}`" in TEXT


@pytest.mark.parametrize("kind", [LLM, CellResult, Generation])
def test_each_thing_that_a_test_may_ask_is_told(kind: type) -> None:
    section = TEXT.partition("\n## Fixtures\n")[2].partition("\n## ")[0]
    names = {name for name in dir(kind) if not name.startswith("_")} - {"require"}  # which the attributes call
    missing = [name for name in sorted(names) if f"`{name}" not in section]
    assert missing == []


def test_each_fixture_is_told() -> None:
    section = TEXT.partition("\n## Fixtures\n")[2].partition("\n## ")[0]
    ours = [name for name, value in vars(fixtures).items() if type(value).__name__ == "FixtureFunctionDefinition"]
    assert set(re.findall(r"^\| `(llm\w*)` \|", section, re.MULTILINE)) == set(ours) != set()


def test_each_suffix_is_read() -> None:
    seconds, sizes = ("ns", "us", "ms", "s", "m", "min", "h"), ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")
    for unit, names in (("s", seconds), ("B", sizes), ("1/s", ("/s", "tok/s", "tokens/s")), ("%", ("%",))):
        for name in names:
            assert f"`{name}`" in TEXT
            assert parse_quantity(f"2{name}", unit, "docs") > 0  # type: ignore[arg-type]  # units are literals


def test_each_check_is_named_and_read() -> None:
    registry = Registry()
    register(registry)
    rows = re.findall(r"^\| (`.*`) \|", TEXT.partition("## Checks")[2].partition("## Budgets")[0], re.MULTILINE)
    named = [text for row in rows for text in re.findall(r"`([^`]+)`", row.partition(" | ")[0])]
    assert len(named) > 20
    for text in named:
        name = text.partition(":")[0]
        assert name in CHECKS
        if name not in NEED_THE_EXTRA and name != "python":
            parse_check(text, registry, "docs")


def test_the_example_of_checks_runs(bench: Bench) -> None:
    bench.write("test_it.py", block("checks"))
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", fresh=True)
    result.assert_outcomes(passed=2)
    names = {check["name"] for cell in bench.results()["cells"] for check in cell["checks"]}
    assert names == {"valid", "max_words:120", "not:icontains:i am sorry", "finish_reason:stop"}


def test_every_key_and_argument_is_named() -> None:
    assert set(_KEYWORDS) == set(MarkerValues.__dataclass_fields__)
    for name in (*KEYS, *ROLES):
        assert f"`{name}`" in TEXT
    for name in _KEYWORDS:
        assert f"`{name}=" in TEXT


def test_the_tests_run(bench: Bench) -> None:
    bench.write("test_it.py", block("python"))
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", fresh=True).assert_outcomes(passed=6)
    by_test = {record["test"].partition("::")[2].partition("[")[0]: record for record in bench.records("verdict")}
    assert len(by_test["test_cell"]["budgets"]) == 2
    assert [check["name"] for check in by_test["test_answer_alone"]["checks"]] == ["valid", "max_words:100"]
    assert by_test["test_anything_goes"]["checks"] == []
    rounds = {record["test"].partition("::")[2].partition("[")[0]: record["n"] for record in bench.records("rounds")}
    assert rounds["test_answer_alone"] == 1
