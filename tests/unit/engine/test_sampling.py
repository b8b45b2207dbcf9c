from __future__ import annotations

from typing import Any

import pytest
from sample_run import METRICS, rounds

from pytest_llmci import checks as checks_table
from pytest_llmci.checks.base import CheckInput
from pytest_llmci.engine.judge import Judge
from pytest_llmci.engine.reports.explain import explain
from pytest_llmci.engine.sampling import sample_result, sample_seed, sample_seeds
from pytest_llmci.engine.schedule import OUT_OF_TIME, CellMeasurement, CellPlan, Schedule
from pytest_llmci.records import (
    Cell,
    CheckResult,
    GenerationSettings,
    ModelSpec,
    Prompt,
    RoundsRecord,
    SampleResult,
    VerdictRecord,
)
from pytest_llmci.registry import Registry
from pytest_llmci.stats.budget_expression import parse_budget

PROMPT = Prompt(id="tcp", text="What is TCP?")
GOOD, BAD = "An answer about TCP.", "Nothing of the kind."


@pytest.fixture
def judge() -> Judge:
    registry = Registry()
    checks_table.register(registry)
    return Judge(registry)


def sample(number: int, text: str) -> RoundsRecord:
    seed = sample_seed(0, number)
    return rounds(
        f"s{number}", latencies_ms=(10,), outputs=[text], origin="sample", first_round=number,
        generation=GenerationSettings(max_new_tokens=50, temperature=0.7, seed=seed), finish_reasons=["stop"],
    )  # fmt: skip


def sampled(*texts: str, planned: int = 20, **plan: Any) -> CellMeasurement:
    facts: dict[str, Any] = {"checks": ("contains:TCP",), "samples": planned, "min_pass_rate": 0.8, **plan}
    cell = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=PROMPT)
    generation = GenerationSettings(max_new_tokens=50, temperature=0.7)
    measurement = CellMeasurement(
        cell=cell,
        plan=CellPlan(rounds=3, max_rounds=3, warmup=0, block=5, generation=generation, **facts),
        blocks=[rounds()],
    )
    measurement.sample_blocks = [sample(number, text) for number, text in enumerate(texts)]
    return measurement


def verdict(judge: Judge, measurement: CellMeasurement) -> VerdictRecord:
    return judge.verdict(measurement, uid="v1", test="test_it", attempt=0)


def result(judge: Judge, measurement: CellMeasurement) -> SampleResult:
    found = verdict(judge, measurement).samples
    assert found is not None
    return found


def test_seeds_are_those_of_the_session_and_all_different() -> None:
    seeds = [[sample_seed(session, number) for number in range(1000)] for session in (0, 1)]
    assert seeds[0] == [sample_seed(0, number) for number in range(1000)]
    assert len({*seeds[0], *seeds[1]}) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds[0])


def test_samples_that_pass_certify_the_cell(judge: Judge) -> None:
    found = verdict(judge, sampled(*[f"{GOOD} {number}" for number in range(16)]))
    assert found.verdict == "pass"
    assert found.samples is not None
    assert (found.samples.verdict, found.samples.passed, found.samples.n, found.samples.planned) == ("pass", 16, 16, 20)
    assert found.samples.reason == (
        "16 of 16 samples passed: at least 82.9 % pass (exact binomial bound, 5 % error), 80 % are wanted, stopped early: up to 20 were"
        " allowed"
    )
    assert [(check.name, check.passed, check.message) for check in found.checks] == [
        ("contains:TCP", True, "16 of 16 samples pass")
    ]


def test_the_checks_are_judged_on_the_samples_and_not_on_the_rounds(judge: Judge) -> None:
    measurement = sampled(*[f"{GOOD} {number}" for number in range(16)], checks=("contains:about",))
    assert verdict(judge, measurement).verdict == "pass"  # the rounds say 'An answer.'
    measurement.plan = CellPlan(
        rounds=3, max_rounds=3, warmup=0, block=5, generation=GenerationSettings(), checks=("contains:about",)
    )
    assert verdict(judge, measurement).verdict == "failed"


def test_samples_that_do_not_pass_fail_it_with_two_of_them_and_their_seeds(judge: Judge) -> None:
    measurement = sampled(GOOD, *[f"{BAD} {number}" for number in range(8)])
    found = verdict(judge, measurement)
    assert found.verdict == "failed"
    assert found.samples is not None
    assert [(each.number, each.seed) for each in found.samples.failures] == [
        (2, sample_seed(0, 1)),
        (3, sample_seed(0, 2)),
    ]
    assert found.checks[0].passed is False
    assert found.checks[0].message.startswith(f"1 of {found.samples.n} samples pass; first failure: ")
    failure = explain(found, measurement, ["pytest"], fail_undecided=False)
    assert failure is not None
    text = str(failure)
    assert f"InvalidOutput: 1 of {found.samples.n} samples passed, 80 % are wanted" in text
    assert f"seed {sample_seed(0, 1)}: contains:TCP: " in text
    assert f'"{BAD} 0"' in text
    assert f'"{BAD} 1"' in text
    assert f'"{BAD} 2"' not in text
    assert failure.headline == f"1 of {found.samples.n} samples passed, 80 % are wanted"
    hidden = str(explain(found, measurement, ["pytest"], fail_undecided=False, shown=lambda text: "hidden"))
    assert hidden.count(' "hidden"') == 4  # two samples, the prompt and the answer of the rounds


def test_too_few_samples_leave_it_undecided_and_say_how_many_would_do(judge: Judge) -> None:
    measurement = sampled(*[f"{GOOD} {number}" for number in range(5)], planned=5)
    found = verdict(judge, measurement)
    assert found.samples is not None
    assert (found.verdict, found.checks, found.samples.needed) == ("inconclusive", [], 14)
    assert found.samples.reason == (
        "5 of 5 samples passed (100 %): neither proven to be under 80 % nor certified to reach it; at this rate about 14 samples would"
        " decide"
    )
    assert explain(found, measurement, ["pytest"], fail_undecided=False) is None
    strict = explain(found, measurement, ["pytest"], fail_undecided=True)
    assert strict is not None
    assert strict.headline == "undecided: 5 of 5 samples passed"


def test_it_is_said_where_all_samples_are_alike_or_time_was_over(judge: Judge) -> None:
    assert result(judge, sampled(*[GOOD] * 16)).reason.endswith("; all 16 are the same text")
    short = sampled(GOOD, BAD, planned=20)
    short.samples_short = OUT_OF_TIME
    assert result(judge, short).reason.startswith(f"{OUT_OF_TIME} after 2 of 20 samples; 1 of 2 samples passed")
    none = sampled()
    assert result(judge, none).reason == f"{OUT_OF_TIME}; no sample of 20 was drawn"
    assert verdict(judge, none).verdict == "inconclusive"


def test_cells_share_the_sessions_false_alarms(judge: Judge) -> None:
    alone, among_many = (sampled(*[BAD] * 5, planned=20, family=family) for family in (1, 1000))
    assert verdict(judge, alone).verdict == "failed"
    assert verdict(judge, among_many).verdict == "inconclusive"
    assert sample_result(among_many).alpha == pytest.approx(1e-5)


def test_a_missed_budget_fails_what_the_samples_certify(judge: Judge) -> None:
    known = {metric.name: metric for metric in METRICS}
    measurement = sampled(
        *[f"{GOOD} {number}" for number in range(16)], budgets=(parse_budget("output_tokens.max <= 1", "x", known),)
    )
    found = verdict(judge, measurement)
    assert (found.verdict, found.samples and found.samples.verdict) == ("failed", "pass")


def drawing(texts: list[str], judge: Judge, *, out_of_time_after: int = 1000) -> CellMeasurement:
    drawn = sampled()
    drawn.blocks = []

    def measure(measurement: CellMeasurement, count: int) -> None:
        measurement.blocks.append(rounds())

    def draw(measurement: CellMeasurement) -> None:
        number = len(measurement.sample_blocks)
        measurement.sample_blocks.append(sample(number, texts[number]))

    schedule = Schedule(
        measure, lambda _: None, judge.undecided, lambda: len(drawn.sample_blocks) >= out_of_time_after, sample=draw,
        needs_sample=judge.needs_sample,
    )  # fmt: skip
    return schedule.complete(drawn)


def test_sampling_stops_with_the_sample_that_decides(judge: Judge) -> None:
    assert len(drawing([BAD] * 20, judge).sample_blocks) == 5
    certified = drawing([f"{GOOD} {number}" for number in range(20)], judge)
    assert len(certified.sample_blocks) == 16
    assert sample_seeds(certified) == [sample_seed(0, number) for number in range(16)]
    mixed = drawing([GOOD, BAD] * 10, judge)
    assert len(mixed.sample_blocks) == result(judge, mixed).n


def test_sampling_heeds_the_time_limit(judge: Judge) -> None:
    short = drawing([GOOD] * 20, judge, out_of_time_after=3)
    assert (len(short.sample_blocks), short.samples_short, short.out_of_time) == (3, OUT_OF_TIME, False)


def test_each_sample_is_checked_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    check = judge.check("contains:TCP")

    def counting(output: CheckInput) -> CheckResult:
        seen.append(output.text)
        return check(output)

    monkeypatch.setitem(judge._checks, "contains:TCP", counting)
    drawn = drawing([f"{GOOD} {number}" for number in range(20)], judge)
    verdict(judge, drawn)
    assert len(seen) == len(set(seen)) == 16
