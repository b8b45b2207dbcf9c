"""Rounds under load: runs and sweeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loads import SlowModel, driver

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import GenerationError
from pytest_llmci.load.drive import round_of, run_load
from pytest_llmci.load.scenario import parse_scenario, scenario_text
from pytest_llmci.records import GenerationSettings, LoadRun, Prompt, RoundRecord, RunRequest, Scenario


def swept(model: SlowModel, text: str) -> RoundRecord:
    sender, plan = driver(model)
    return round_of(sender, replace(plan, scenario=parse_scenario(text, "x")), 0)


def test_a_run_is_a_round() -> None:
    record = swept(SlowModel(FakeClock()), "single-stream requests=4")
    assert len(record.runs) == 1 and record.values == record.runs[0].values and record.reasons == record.runs[0].reasons
    assert record.values["request_latency_p50"] == 61e6


def test_a_sweep_finds_what_one_server_in_line_stands() -> None:
    # Answers take 61 ms: over 16.4 /s the line grows without end.
    record = swept(SlowModel(FakeClock()), "rate=1..64 requests=300 ttft<=500ms resolution=5%")
    rates = [step.rate for step in record.runs]
    assert rates[:5] == [1, 2, 4, 8, 16] and [step.step for step in record.runs] == list(range(len(rates)))
    best = record.values["max_rate"]
    assert 10 < best < 17
    kept = [step.rate for step in record.runs if step.kept]
    missed = [step.rate for step in record.runs if step.kept is False]
    assert max(rate or 0 for rate in kept) == best and min(rate or 0 for rate in missed) <= best * 1.05 + 1e-9
    of_best = next(step for step in record.runs if step.rate == best)
    assert record.values == {**of_best.values, "max_rate": best} and of_best.values["kept_share"] >= 95
    assert "max_rate" not in record.reasons


def test_a_sweep_whose_lowest_rate_is_too_much_has_no_number() -> None:
    record = swept(SlowModel(FakeClock()), "rate=30..64 requests=100 ttft<=30ms")
    assert record.values == {} and record.reasons["max_rate"] == "not even 30 /s kept the objective"
    assert [step.kept for step in record.runs] == [False]


class Saturated:
    """Keeps up with what is under a rate, and sends late beyond it."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.model = SlowModel(FakeClock(), ttft_ms=1, itl_ms=0)

    def warm_up(self, requests: int) -> None:
        pass

    def run(self, scenario: Scenario, seed: int) -> LoadRun:
        found = driver(self.model)[0].run(scenario, seed)
        late = 0 if (scenario.rate or 0) <= self.most else 10**7
        return replace(found, sent_ns=[at + late for at in found.sent_ns])


def test_where_the_generator_gives_out_there_is_no_highest_rate() -> None:
    plan = driver(SlowModel(FakeClock()))[1]
    record = round_of(Saturated(4.0), replace(plan, scenario=parse_scenario("rate=1..64 requests=40 ttft<=1s", "x")), 0)
    assert [step.kept for step in record.runs] == [True, True, True, None]
    assert "max_rate" not in record.values and "the generator itself could not keep up" in record.reasons["max_rate"]
    assert record.values["offered_rate"] == 4.0


class Refusing:
    """Answers what is under a rate, and nothing beyond it."""

    def __init__(self, most: float, kind: str) -> None:
        self.most, self.kind = most, kind
        self.model = SlowModel(FakeClock(), ttft_ms=1, itl_ms=0)

    def warm_up(self, requests: int) -> None:
        pass

    def run(self, scenario: Scenario, seed: int) -> LoadRun:
        found = driver(self.model)[0].run(scenario, seed)
        if (scenario.rate or 0) <= self.most:
            return found
        return replace(found, failures=[self.kind] * len(found.failures), messages={self.kind: "HTTP 429"})


def refused_beyond(most: float, kind: str) -> RoundRecord:
    plan = driver(SlowModel(FakeClock()))[1]
    scenario = parse_scenario("rate=1..64 requests=40 ttft<=1s resolution=50%", "x")
    return round_of(Refusing(most, kind), replace(plan, scenario=scenario), 0)


def test_a_step_of_which_the_server_turns_all_away_has_missed_the_objective() -> None:
    record = refused_beyond(5, "server_busy")
    assert [(step.rate, step.kept) for step in record.runs] == [
        (1, True),
        (2, True),
        (4, True),
        (8, False),
        (5.657, False),
    ]
    assert record.values["max_rate"] == 4 and record.runs[3].values["error_rate"] == 100


@pytest.mark.parametrize(("most", "kind"), [(5, "server_died"), (0.5, "server_busy")])
def test_a_server_that_dies_in_a_sweep_or_answers_nothing_from_the_start_is_a_failure(most: float, kind: str) -> None:
    with pytest.raises(GenerationError, match="none of 40 requests was answered") as caught:
        refused_beyond(most, kind)
    assert caught.value.kind == kind


def test_nothing_answered_is_a_failure_of_the_model_and_no_number() -> None:
    with pytest.raises(
        GenerationError, match=r"none of 4 requests was answered; the first failure \(refused\): it would not"
    ) as caught:
        swept(SlowModel(FakeClock(), fails=lambda _: True), "single-stream requests=4")
    assert caught.value.kind == "refused"


class Phases:
    def __init__(self) -> None:
        self.entered: list[tuple[str, int]] = []

    def enter(self, phase: str, block_round: int = 0) -> None:
        self.entered.append((phase, block_round))


def test_a_block_warms_up_and_every_round_has_arrivals_of_its_own() -> None:
    plan = driver(SlowModel(FakeClock()))[1]
    scenario = parse_scenario("rate=2000 requests=5", "x")
    load = replace(plan, scenario=scenario, text=scenario_text(scenario))
    model = SlowModel(FakeClock(), ttft_ms=0, itl_ms=0)
    request = RunRequest(
        cell="c",
        prompt=Prompt(id="p", text="p"),
        generation=GenerationSettings(max_new_tokens=2, seed=3),
        rounds=2,
        warmup=2,
        load=load,
    )
    rounds: list[RoundRecord] = []
    phases = Phases()
    run_load(model, request, rounds.append, progress=phases, isolated=False)  # type: ignore[arg-type]  # all that is asked of a backend
    again: list[RoundRecord] = []
    run_load(model, replace(request, rounds=1, first_round=1), again.append, progress=phases, isolated=False)  # type: ignore[arg-type]  # as above
    first, second = (record.runs[0].intended_ns for record in rounds)
    assert first != second == again[0].runs[0].intended_ns
    assert (
        phases.entered[0] == ("under load", 0)
        and phases.entered[-1] == ("idle", 0)
        and ("under load", 5) in phases.entered
    )
    assert model.answers == 2 + 5 + 5 + 2 + 5
