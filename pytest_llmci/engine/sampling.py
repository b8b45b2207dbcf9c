"""Cells whose checks are judged on sampled outputs: their seeds, and what the samples say.

Samples are inferences beyond the timed rounds, each with a seed of its own; the rounds are asked as they are without samples, and no
time of a sample is judged. A sample passes if it passes every check of its cell. The rule is :mod:`~pytest_llmci.stats.pass_rate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from ..checks.base import CheckInput
from ..metrics import MetricDef
from ..records import CheckResult, FailedSample, RoundsRecord, SampleResult
from ..stats.looks import PASS_ERROR_LAST, SESSION_ALPHA
from ..stats.pass_rate import MOST_NAMED, PassRate, judge_passes, needed_samples
from .schedule import OUT_OF_TIME, CellMeasurement, check_input

SHOWN_FAILURES: Final = 2


def sample_seed(session_seed: int, number: int) -> int:
    """The seed of a sample: the same in each session with that seed, for every cell, and of no other session's.

    :param number: of the sample, from 0.
    :returns: below 2**31, which every model source takes.

    >>> sample_seed(0, 0), sample_seed(0, 1), sample_seed(1, 0)
    (1586509503, 1485407174, 1016824690)
    """
    digest = sha256(f"llmci sample {session_seed} {number}".encode("ascii")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def sampled_inputs(
    measurement: CellMeasurement, metrics: Iterable[MetricDef] = (), first: int = 0
) -> Iterator[CheckInput]:
    """What the checks get of each sample, from that one on."""
    wanted = tuple(metrics)
    for block in _whole(measurement)[first:]:
        yield check_input(measurement.cell, block, 0, wanted)


def sample_seeds(measurement: CellMeasurement) -> list[int]:
    """The seed of each sample."""
    return [block.generation.seed for block in _whole(measurement)]


def _whole(measurement: CellMeasurement) -> list[RoundsRecord]:
    return [block for block in measurement.sample_blocks if block.error is None and block.n]


def rate_so_far(measurement: CellMeasurement) -> PassRate | None:
    """What the samples that have been checked say; None where there is none."""
    plan = measurement.plan
    outcomes = [all(check.passed for check in found) for found in measurement.sample_checks]
    return judge_passes(outcomes, plan.samples, plan.min_pass_rate, alpha=_alpha(measurement)) if outcomes else None


def _alpha(measurement: CellMeasurement) -> float:
    return SESSION_ALPHA / measurement.plan.family


def sample_result(measurement: CellMeasurement) -> SampleResult:
    """What was decided on the samples of a cell."""
    plan, found = measurement.plan, rate_so_far(measurement)
    number = found.samples if found else 0
    seeds, texts = sample_seeds(measurement), [sample.text for sample in sampled_inputs(measurement)][:number]
    failures = [
        FailedSample(number=place + 1, seed=seeds[place], check=check.name, message=check.message)
        for place, results in enumerate(measurement.sample_checks[:number])
        for check in [next((result for result in results if not result.passed), None)]
        if check is not None
    ]
    needed = None
    if found is not None and found.verdict == "inconclusive" and plan.min_pass_rate < 1:
        needed = needed_samples(found.passed / number, plan.min_pass_rate, _alpha(measurement))
    return SampleResult(
        verdict=found.verdict if found else "inconclusive", min_pass_rate=plan.min_pass_rate, passed=found.passed if found else 0,
        n=number, planned=plan.samples, low=found.low if found else 0.0, high=found.high if found else 1.0, alpha=_alpha(measurement),
        p_value=found.p_value if found else 1.0, temperature=plan.generation.temperature, distinct=len(set(texts)),
        reason=_reason(measurement, found, needed, distinct=len(set(texts))), needed=needed, failures=failures[:SHOWN_FAILURES],
    )  # fmt: skip


def checks_of_samples(measurement: CellMeasurement, result: SampleResult) -> list[CheckResult]:
    """Of each check how it fared on the samples; none where they decide nothing: it has neither passed nor failed."""
    if result.verdict == "inconclusive":
        return []
    judged = measurement.sample_checks[: result.n]
    return [_check(column, failed=result.verdict == "failed") for column in zip(*judged, strict=True)]


def _check(column: Sequence[CheckResult], *, failed: bool) -> CheckResult:
    """:param column: one check on each sample."""
    first = next((result for result in column if not result.passed), None)
    share = f"{sum(result.passed for result in column)} of {len(column)} samples pass"
    message = share if first is None else f"{share}; first failure: {first.message}"
    return CheckResult(name=column[0].name, passed=first is None or not failed, message=message)


def _reason(measurement: CellMeasurement, found: PassRate | None, needed: int | None, *, distinct: int) -> str:
    plan = measurement.plan
    if found is None:
        return f"{measurement.samples_short or OUT_OF_TIME}; no sample of {plan.samples} was drawn"
    wanted, number = percent(plan.min_pass_rate), found.samples
    counted = f"{found.passed} of {number} samples passed"
    early = f", stopped early: up to {plan.samples} were allowed" if found.decided and number < plan.samples else ""
    alike = f"; all {number} are the same text" if distinct == 1 and number > 1 else ""
    if plan.min_pass_rate == 1 and found.verdict != "inconclusive":
        return f"{counted}, and every one must{early}{alike}"
    if found.verdict == "failed":
        bound = f"at most {percent(found.high)} pass (exact binomial bound, {percent(_alpha(measurement))} error), {wanted} are wanted"
    elif found.verdict == "pass":
        bound = f"at least {percent(found.low)} pass (exact binomial bound, {percent(PASS_ERROR_LAST)} error), {wanted} are wanted"
    else:
        return f"{_short(measurement, number)}{counted}{_undecided(found, wanted, needed, every=plan.min_pass_rate == 1)}{alike}"
    return f"{counted}: {bound}{early}{alike}"


def _short(measurement: CellMeasurement, number: int) -> str:
    """Why there are fewer samples than planned."""
    planned = measurement.plan.samples
    return (
        f"{measurement.samples_short or OUT_OF_TIME} after {number} of {planned} samples; " if number < planned else ""
    )


def _undecided(found: PassRate, wanted: str, needed: int | None, *, every: bool) -> str:
    if every:
        return ", and every one must"
    share = percent(found.passed / found.samples)
    doubt = f" ({share}): neither proven to be under {wanted} nor certified to reach it"
    if needed is None:
        return f"{doubt}; a rate so close to the limit is not decided by {MOST_NAMED:,} samples either"
    return f"{doubt}; at this rate about {needed:,} samples would decide"


def percent(share: float) -> str:
    """
    >>> percent(0.8), percent(0.00125), percent(1.0)
    ('80 %', '0.125 %', '100 %')
    """
    return f"{100 * share:.3g} %"
