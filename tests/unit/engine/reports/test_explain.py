from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sample_run import CRASH, METRICS, rounds, verdict

from pytest_llmci.engine.reports.explain import (
    WIDTH,
    ExplainedBudget,
    ExplainedError,
    ExplainedOutput,
    Undecided,
    explain,
    explain_error,
    with_commands_unwrapped,
)
from pytest_llmci.engine.schedule import CellMeasurement, CellPlan
from pytest_llmci.errors import BudgetExceeded, InvalidOutput, LLMCIError
from pytest_llmci.records import (
    BudgetResult,
    Cell,
    CheckResult,
    ErrorInfo,
    GenerationSettings,
    ModelSpec,
    Prompt,
    VerdictRecord,
)
from pytest_llmci.stats.budget_expression import parse_budget
from pytest_llmci.text import width

KNOWN = {metric.name: metric for metric in METRICS}
REPEAT = ("pytest", "--llmci", '-k "a-tcp"')
GOOD = CheckResult(name="valid", passed=True, message="ok")
BAD = CheckResult(name="json", passed=False, message="not JSON:\x1b[31m line 1")


def missed(text: str = "latency <= 2s", **changes: Any) -> BudgetResult:
    budget = parse_budget(text, "x", KNOWN)
    facts: dict[str, Any] = {
        "budget": text, "origin": "pyproject.toml: llmci_max_latency", "metric": budget.metric.name, "statistic": budget.statistic,
        "operator": budget.operator, "limit": budget.limit, "verdict": "failed", "observed": 2.41, "rounds": 5,
        "reason": "median of 5 rounds: 2.41 s is over 2 s (0.1 % by chance)", "values": [2.4, 2.37, 2.52, 2.41, 2.44],
    }  # fmt: skip
    return BudgetResult(**{**facts, **changes})


def measurement(*budgets: str, text: str = "What is TCP?") -> CellMeasurement:
    plan = CellPlan(
        rounds=5, max_rounds=5, warmup=0, block=5, generation=GenerationSettings(),
        budgets=tuple(parse_budget(budget, "x", KNOWN) for budget in budgets),
    )  # fmt: skip
    cell = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=Prompt(id="tcp", text=text))
    return CellMeasurement(cell=cell, plan=plan, blocks=[rounds(outputs=["TCP is\na protocol."])])


def told(record: VerdictRecord, *, fail: bool = False) -> Any:
    budgets = [budget.budget for budget in record.budgets]
    return explain(record, measurement(*budgets), REPEAT, fail_undecided=fail)


def test_an_answer_of_one_token_is_told_as_one() -> None:
    asked = measurement("latency <= 2s")
    asked.blocks[0].values["output_tokens"] = [1]
    found = explain(verdict(verdict="failed", budgets=[missed()]), asked, REPEAT, fail_undecided=False)
    assert '"TCP is a protocol." (1 token)' in str(found)


def test_a_pass_has_nothing_to_explain() -> None:
    assert told(verdict()) is None
    assert told(verdict(budgets=[missed(verdict="pass")])) is None


def test_a_missed_budget_tells_the_whole_story() -> None:
    found = told(verdict(verdict="failed", budgets=[missed()], rounds=5))
    assert isinstance(found, ExplainedBudget) and isinstance(found, BudgetExceeded)
    assert found.headline == "latency 2.41 s > 2 s"
    assert str(found).splitlines() == [
        "BudgetExceeded: latency 2.41 s is over 2 s                       (21 % too slow)",
        "",
        "  latency    median of 5 rounds: 2.41 s    2.37 2.40 2.41 2.44 2.52 s",
        "  limit      2 s    from pyproject.toml: llmci_max_latency",
        "  decided    median of 5 rounds: 2.41 s is over 2 s (0.1 % by chance)",
        "",
        "  noise      none of 5 rounds",
        '  prompt     "What is TCP?"',
        '  output     "TCP is a protocol." (50 tokens)',
        '  repeat     pytest --llmci -k "a-tcp"',
    ]


@pytest.mark.parametrize(
    ("text", "facts", "headline", "title"),
    [
        ("latency.p95 <= 2s", {}, "latency.p95 2.41 s > 2 s", "is over 2 s"),
        ("latency < 2s", {}, "latency 2.41 s >= 2 s", "is not under 2 s"),
        ("output_tokens >= 60", {"observed": 50.0}, "output_tokens.min 50 < 60", "is under 60 "),
        ("output_tokens == 60", {"observed": 50.0}, "output_tokens 50 != 60", "is not 60 "),
        ("peak_rss <= 1GiB", {"observed": 2.0**31}, "peak_rss.median 2 GiB > 1 GiB", "(100 % too much)"),
    ],
)
def test_each_operator_has_its_words(text: str, facts: dict[str, Any], headline: str, title: str) -> None:
    found = told(verdict(verdict="failed", budgets=[missed(text, values=[], **facts)]))
    if "peak_rss" in text:
        headline = headline.replace(".median", "")
    assert found.headline == headline
    assert title in str(found).splitlines()[0]


def test_a_missing_number_shows_its_reason_and_no_value() -> None:
    found = told(verdict(verdict="failed", budgets=[missed(observed=None, reason="latency is missing: no clock")]))
    assert found.headline == "latency <= 2s: latency is missing: no clock"
    assert str(found).startswith("BudgetExceeded: latency <= 2s: latency is missing: no clock\n  origin ")


def test_a_failed_check_comes_first_and_control_sequences_do_not_come_at_all() -> None:
    found = told(verdict(verdict="failed", checks=[GOOD, BAD]))
    assert isinstance(found, ExplainedOutput) and isinstance(found, InvalidOutput)
    assert found.headline == "json: not JSON: line 1"
    both = told(verdict(verdict="failed", checks=[BAD], budgets=[missed()]))
    assert isinstance(both, ExplainedBudget)
    assert both.headline == "json: not JSON: line 1; latency 2.41 s > 2 s"
    assert str(both).index("InvalidOutput") < str(both).index("BudgetExceeded")


def test_undecided_fails_only_where_it_is_told_to() -> None:
    record = verdict(verdict="inconclusive", budgets=[missed(verdict="inconclusive", reason="too close")])
    assert told(record) is None
    found = told(record, fail=True)
    assert isinstance(found, Undecided) and isinstance(found, AssertionError)
    assert found.headline == "undecided: latency <= 2s"
    assert "Inconclusive: latency <= 2s: too close\n  origin     pyproject.toml" in str(found)


def test_a_cell_that_was_never_measured_says_why() -> None:
    record = verdict(verdict="inconclusive", checks=[], rounds=0)
    assert told(record) is None
    found = explain(record, None, REPEAT, fail_undecided=True)
    assert isinstance(found, Undecided)
    assert found.headline == "undecided: out of time"
    assert str(found).splitlines()[-1] == '  repeat     pytest --llmci -k "a-tcp"'


def test_a_failed_model_shows_the_evidence_alone() -> None:
    found = told(verdict(verdict="failed", error=CRASH, checks=[BAD]))
    assert isinstance(found, ExplainedError) and isinstance(found, LLMCIError)
    assert str(found) == "WorkerCrashed: killed by SIGKILL, cause unknown\n\n  when       round 2 of 5"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("timeout", "WorkerTimeout"),
        ("protocol", "WorkerProtocolError"),
        ("given_up", "ModelGivenUp"),
        ("tool", "LLMCIError"),
        ("context", "BackendError"),
    ],
)
def test_a_failure_is_named_by_its_class(kind: str, name: str) -> None:
    found = explain_error(ErrorInfo(kind=kind, message="two\x1b[1m\nlines", facts={"a": "x\ny"}))
    assert str(found).startswith(f"{name}: two")
    assert str(found).endswith("  a          x y")
    assert found.headline == "two lines"


def test_evidence_fits_and_its_file_is_named_as_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = {"try": "word " * 30, "stderr": str(tmp_path / "llmci-results" / "a-1.log")}
    lines = str(explain_error(ErrorInfo(kind="crashed", message="died", facts=facts))).splitlines()
    assert max(map(width, lines)) <= WIDTH
    assert lines[3].startswith(" " * 13 + "word ")
    long = str(explain_error(ErrorInfo(kind="given_up", message="died " * 30))).splitlines()
    assert len(long) == 3 and max(map(width, long)) <= WIDTH
    assert lines[-1] == "  stderr     llmci-results/a-1.log"


@pytest.mark.parametrize(
    "budget",
    [
        missed(observed=None, budget="ttft.p95 <= 1ns", reason="7 of 7 rounds over the limit, and more words " * 2),
        missed(origin="a/long/way/to/pyproject.toml: " + "llmci_max_latency " * 4),
        missed(observed=1e-3, limit=1e9, reason="word " * 40, values=[]),
        missed(verdict="inconclusive", reason="word " * 40, origin="some where " * 10),
    ],
)
def test_whatever_a_budget_has_to_say_fits(budget: BudgetResult) -> None:
    found = explain(
        verdict(verdict="failed", budgets=[budget]), measurement("latency <= 2s"), REPEAT, fail_undecided=True
    )
    assert max(map(width, str(found).splitlines())) <= WIDTH


@pytest.mark.parametrize("text", ["你好" * 60, "🙂 hello " * 20, "e\u0301" * 100])
def test_prompt_and_output_fit_by_columns(text: str) -> None:
    asked = measurement("latency <= 2s", text=text)
    asked.blocks[0] = rounds(outputs=[text])
    found = explain(verdict(verdict="failed", budgets=[missed()]), asked, REPEAT, fail_undecided=False)
    lines = str(found).splitlines()
    assert max(map(width, lines)) <= WIDTH
    assert [line.partition(" ...")[1] for line in lines if text[:3] in line] == [" ...", " ..."]


def test_nothing_but_the_users_own_words_is_wider_than_the_screen() -> None:
    many = missed(values=[2 + n / 1000 for n in range(30)], rounds=30, reason="word " * 40)
    found = explain(
        verdict(verdict="failed", budgets=[many]), measurement("latency <= 2s", text="你好 long \n" * 100), REPEAT, fail_undecided=False
    )  # fmt: skip
    assert max(map(width, str(found).splitlines())) <= WIDTH
    assert "2.02 ... s" in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        (["pytest"], ["  repeat     pytest"]),
        (["pytest", "x" * 60], ["  repeat     pytest " + "x" * 60]),
        (["pytest", "x" * 61], ["  repeat     pytest \\", " " * 15 + "x" * 61]),
        (["pytest", "x" * 58, "y"], ["  repeat     pytest " + "x" * 58 + " y"]),
        (["pytest", "x" * 58, "y", "z"], ["  repeat     pytest " + "x" * 58 + " \\", "               y z"]),
        (["pytest", "x" * 90, "y"], ["  repeat     pytest \\", " " * 15 + "x" * 90 + " \\", " " * 15 + "y"]),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="only there a backslash goes on")
def test_a_long_command_is_wrapped_as_a_shell_takes_it(parts: list[str], lines: list[str]) -> None:
    text = str(
        explain(
            verdict(verdict="failed", budgets=[missed()]), measurement("latency <= 2s"), parts, fail_undecided=False
        )
    )
    assert text.splitlines()[-len(lines) :] == lines
    assert with_commands_unwrapped(text).splitlines()[-1] == "  repeat     " + " ".join(parts)


@pytest.mark.parametrize(
    ("observed", "told_so"),
    [(2.005, ""), (2.41, "(21 % too slow)"), (21.9, "(995 % too slow)"), (22.1, "(11 times the limit)"), (9_000.0, "(4,500 times the limit)")],
)  # fmt: skip
def test_how_far_a_limit_was_missed_is_told_as_people_read_it(observed: float, told_so: str) -> None:
    title = str(told(verdict(verdict="failed", budgets=[missed(observed=observed)], rounds=5))).splitlines()[0]
    assert title.rstrip().endswith(told_so or "is over 2 s")


@pytest.mark.parametrize(
    "faults",
    [
        {"budgets": [missed(values=[2 + n / 1000 for n in range(30)], rounds=30, reason="word " * 40)]},
        {"budgets": [missed(observed=None, budget="ttft.p95 <= 1ns", reason="word " * 40, origin="some where " * 10)]},
        {"budgets": [missed(verdict="inconclusive", reason="word " * 40, origin="some where " * 10)]},
        {"checks": [CheckResult(name="json", passed=False, message="word " * 40)]},
        {"error": ErrorInfo(kind="crashed", message="died " * 30, facts={"try": "word " * 30})},
    ],
    ids=["budget", "missing", "undecided", "check", "crash"],
)
def test_a_narrow_terminal_is_kept_to(faults: dict[str, Any]) -> None:
    asked = measurement("latency <= 2s", text="a long prompt " * 20)
    asked.blocks[0] = rounds(outputs=["a long answer " * 20])
    parts = ["pytest", "--llmci", *(f"--an-option={number}" for number in range(9))]
    found = explain(verdict(verdict="failed", **faults), asked, parts, fail_undecided=True, room=60)
    assert max(map(width, str(found).splitlines())) in range(50, 61)
