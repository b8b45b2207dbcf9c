from __future__ import annotations

from dataclasses import replace

import pytest
from sides import RULES, found, side

from pytest_llmci.engine.comparisons.cell_samples import CellSamples, MemoryPass


def test_memory_is_compared_by_minima_and_only_by_one_method() -> None:
    assert found(side(2, values={"peak_rss": [1e9] * 10 + [1.5e9] * 10}))["peak_rss"].verdict == "pass"
    bigger = found(side(2, values={"peak_rss": [1.05e9] * 20}))["peak_rss"]
    assert (bigger.verdict, round(bigger.change or 0, 3)) == ("regressed", 0.05)
    other = found(side(2, memory_methods=frozenset({"lifetime"})))["peak_rss"]
    assert (other.verdict, other.reason) == ("not comparable", "measured by different methods (hwm, lifetime)")


def passed(*growth: float, method: str = "hwm") -> MemoryPass:
    return MemoryPass(growth=growth, methods=frozenset({method}))


def test_memory_passes_are_compared_where_both_sides_have_one() -> None:
    base = side(1, memory_pass=passed(20e6, 20.1e6))
    assert "peak_rss_delta" not in found(side(2), base=base)
    assert "peak_rss_delta" not in found(side(2, memory_pass=passed(20e6)))
    assert found(side(2, memory_pass=passed(21e6)), base=base)["peak_rss_delta"].verdict == "pass"  # 1 MiB is none
    grown = found(side(2, memory_pass=passed(22e6, 24e6)), base=base)["peak_rss_delta"]
    assert (grown.verdict, grown.base, grown.candidate) == ("regressed", 20e6, 22e6)
    assert grown.reason == "tolerance 1 MiB"
    other = found(side(2, memory_pass=passed(20e6, method="sampler")), base=base)["peak_rss_delta"]
    assert (other.verdict, other.reason) == ("not comparable", "measured by different methods (hwm, sampler)")
    asked = replace(RULES, detect={"peak_rss_delta": 0.001})
    assert found(side(2, memory_pass=passed(20.4e6)), base=base, rules=asked)["peak_rss_delta"].verdict == "regressed"
    lacking = found(side(2), base=base, rules=asked)["peak_rss_delta"]
    assert (lacking.verdict, "no memory pass" in lacking.reason) == ("inconclusive", True)


def test_the_frozen_model_is_not_in_a_memory_pass() -> None:
    base = side(1, anchor="frozen", memory_pass=passed(20e6))
    compared = found(side(2, memory_pass=passed(20e6)), base=base)
    assert (compared["peak_rss"].verdict, compared["peak_rss_delta"].verdict) == ("not comparable", "pass")


def test_memory_that_was_asked_for_and_is_missing_is_no_pass() -> None:
    without = side(2, values={"peak_rss": []}, reasons={"peak_rss": "no /proc"})
    assert "peak_rss" not in found(without)
    asked = replace(RULES, detect={"peak_rss": 0.1})
    lacking = found(without, rules=asked)["peak_rss"]
    assert (lacking.verdict, lacking.reason) == ("inconclusive", "missing on the side of the candidate: no /proc")
    assert "side of the reference" in found(side(1), base=without, rules=asked)["peak_rss"].reason


@pytest.mark.parametrize(("before", "after", "verdict"), [(400.0, 430.0, "pass"), (400.0, 40.0, "not comparable")])
def test_where_nobody_counts_tokens_the_characters_tell(before: float, after: float, verdict: str) -> None:
    uncounted = {name: column for name, column in side(1).values.items() if name != "output_tokens"}
    base, candidate = (replace(side(1), values=uncounted, characters=length) for length in (before, after))
    assert found(candidate, base)["net_time"].verdict == verdict


@pytest.mark.parametrize(("after", "verdict"), [(109.0, None), (111.0, "not comparable"), (89.0, "not comparable")])
def test_where_only_mean_lengths_are_known_they_tell(after: float, verdict: str | None) -> None:
    def imported(tokens: float) -> CellSamples:
        return CellSamples(values={"latency": [1.0] * 3, "output_tokens_mean": [tokens] * 3}, pairs=(0, 0, 0))

    results = found(imported(after), imported(100.0), replace(RULES, mode="saved", on_cpu=False))
    length = results.get("output_tokens")
    assert (length.verdict if length else None) == verdict
    assert (results["latency"].verdict == "not comparable") == (verdict is not None)
