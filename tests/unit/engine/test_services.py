"""What checks may ask of live models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci import backends, checks
from pytest_llmci.checks import CheckInput
from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.current_test import CurrentTest
from pytest_llmci.engine.observer import Silent
from pytest_llmci.engine.session import BenchSession
from pytest_llmci.errors import ConfigError
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import CheckResult, LogRecord, Message, ModelSpec, Prompt, WorkerRecord
from pytest_llmci.registry import Registry
from pytest_llmci.settings import Settings
from pytest_llmci.specs import parse_spec

Make = Callable[..., BenchSession]


@pytest.fixture
def records() -> list[LogRecord]:
    return []


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    for table in (backends, checks):
        table.register(made)
    return made


@pytest.fixture
def make(
    registry: Registry, records: list[LogRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    made: list[BenchSession] = []

    def session(*, live: bool = True) -> BenchSession:
        def open_model(text: str) -> ModelSpec:
            if text == "nobody":
                raise ConfigError("check: unknown model 'nobody'.")
            return parse_spec(text, registry.names("backend"), "check")

        made.append(
            BenchSession(
                Settings(isolation="inline"), registry, {metric.name: metric for metric in builtin_metrics()}, clock=FakeClock(),
                observer=Silent(), emit=records.append, log_folder=tmp_path, sys_path=[], open_model=open_model if live else None,
            )
        )  # fmt: skip
        made[-1].test = CurrentTest("test_it")
        return made[-1]

    yield session
    for each in made:
        each.close()


def output(registry: Registry, text: str = "one two", spec: str = "a=echo:one two", **more: Any) -> CheckInput:
    given: dict[str, Any] = {"prompt": Prompt(id="p", text="Count:", reference="one"), "finish_reason": "stop", **more}
    return CheckInput(text=text, model=parse_spec(spec, registry.names("backend"), "x"), **given)


def ask(session: BenchSession, check: str, given: CheckInput) -> CheckResult:
    return session.judge.checks([check], [given])[0]


def test_scores_are_those_of_the_model_that_made_the_output(make: Make, registry: Registry) -> None:
    from pytest_llmci.backends.echo import EchoBackend

    expected = EchoBackend(parse_spec("echo", registry.names("backend"), "x"))
    session = make()
    result = ask(session, "perplexity:1", output(registry))
    mean = sum(expected.score("Count:", "one two")) / 2
    assert not result.passed and f"found {2.718281828459045**-mean:.4g}" in result.message
    result = ask(session, "reference_logprob:0", output(registry))
    assert f"found {expected.score('Count:', ' one')[0]:.4g}" in result.message


def test_the_same_is_asked_once(make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    session, asked = make(), []
    ask_session = session.ask

    def count(*arguments: Any, **more: Any) -> Any:
        asked.append(arguments)
        return ask_session(*arguments, **more)

    monkeypatch.setattr(session, "ask", count)
    check = checks.all_of(checks.perplexity(1000), checks.judge("It counts.", model="big=echo:PASS"))
    for _ in range(2):
        assert ask(session, check, output(registry)).passed
    assert len(asked) == 2
    assert ask(session, check, output(registry, text="other")).passed
    assert len(asked) == 4


def test_scoring_is_no_measurement(make: Make, registry: Registry, records: list[LogRecord]) -> None:
    assert ask(make(), "perplexity:1000", output(registry)).passed
    assert {record.TYPE for record in records} == {"worker"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"prompt": Prompt(id="p", messages=(Message(role="user", content="x"),), reference="one")},
            "scores no answer after chat messages",
        ),
        ({"spec": "a=py:os.path:basename"}, "knows no log-probabilities"),
        ({"spec": "a=echo:one+load_fail=broken"}, "the model a could not be asked: "),
    ],
)
def test_what_cannot_be_scored_fails_with_one_line(
    make: Make, registry: Registry, given: dict[str, Any], reason: str
) -> None:
    session = make()
    for check in ("perplexity:1000", "reference_logprob:-100", "not:perplexity:1", "not:reference_logprob:0"):
        result = ask(session, check, output(registry, **given))
        assert not result.passed and reason in result.message and "\n" not in result.message


def test_without_a_live_model_nothing_is_asked(make: Make, registry: Registry, records: list[LogRecord]) -> None:
    session = make(live=False)
    for check in ("perplexity:1000", "not:perplexity:1", 'judge:{"model":"b=echo:PASS","rubric":"x"}'):
        result = ask(session, check, output(registry))
        assert not result.passed and "it needs the model" in result.message
    assert records == []


@pytest.mark.parametrize(("says", "passed"), [("PASS, it is.", True), ("FAIL since not", False)])
def test_another_model_judges_and_is_named(make: Make, registry: Registry, says: str, passed: bool) -> None:
    spec = f"big=echo:{says}"
    result = ask(make(), checks.judge("It counts.", model=spec), output(registry))
    assert (result.passed, result.judged_by) == (passed, spec)
    assert f'the judge says "{says}"' in result.message


def test_the_judge_and_the_tested_model_live_side_by_side(
    make: Make, registry: Registry, records: list[LogRecord]
) -> None:
    session = make()
    check = checks.all_of(checks.perplexity(1000), checks.judge("It counts.", model="big=echo:PASS"))
    for text in ("one", "two", "three"):
        assert ask(session, check, output(registry, text=text)).judged_by == "big=echo:PASS"
    assert [record.role for record in records if isinstance(record, WorkerRecord)] == ["timing", "judge"]
    assert len(records) == 2


def test_a_judge_sees_rubric_question_reference_and_answer(
    make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    from pytest_llmci.engine.services import LiveServices

    def remember(self: LiveServices, model: str, question: str, *, max_new_tokens: int) -> str:
        asked.append(question)
        return "PASS"

    monkeypatch.setattr(LiveServices, "ask", remember)
    assert ask(make(), checks.judge("It {counts}.", model="b"), output(registry, text="{one} two")).passed
    for part in (
        "It {counts}.",
        "--- question ---\nCount:\n",
        "--- reference answer ---\none\n",
        "\n{one} two\n--- end of answer",
    ):
        assert part in asked[0]


def test_an_unknown_judge_fails_with_one_line(make: Make, registry: Registry) -> None:
    result = ask(make(), checks.judge("x", model="nobody"), output(registry))
    assert (result.passed, result.message) == (False, "check: unknown model 'nobody'.")


@pytest.mark.parametrize(
    ("check", "judged_by"),
    [
        (checks.not_(checks.judge("x", model="b=echo:PASS")), "b=echo:PASS"),
        (checks.any_of("json", checks.judge("x", model="b=echo:FAIL")), "b=echo:FAIL"),
        (checks.any_of("non_empty", checks.judge("x", model="b=echo:PASS")), ""),
        (checks.all_of("json", checks.judge("x", model="b=echo:PASS")), ""),
        (checks.all_of("non_empty", checks.judge("x", model="b=echo:FAIL")), "b=echo:FAIL"),
    ],
)
def test_whoever_decided_is_named_also_through_other_checks(
    make: Make, registry: Registry, check: str, judged_by: str
) -> None:
    assert ask(make(), check, output(registry)).judged_by == judged_by
