from __future__ import annotations

from dataclasses import replace

from sample_run import rounds

from pytest_llmci.engine.comparisons.cell_samples import met, samples_of
from pytest_llmci.measure import builtin_metrics

METRICS = {metric.name: metric for metric in builtin_metrics()}


def test_rounds_that_make_one_sample_are_averaged() -> None:
    block = replace(rounds("r1"), n=4, values={"latency": [1e9, 3e9, 2e9, 4e9]}, repeats=2, pair=3)
    samples = samples_of([block], {"latency": METRICS["latency"], "ttft": METRICS["ttft"]})
    assert (samples.values, samples.pairs, samples.n) == ({"latency": [2.0, 3.0]}, (3, 3), 2)
    assert samples.reasons["ttft"]
    patchy = replace(block, values={"latency": [1e9, None, 2e9, 4e9]})
    assert samples_of([patchy], {"latency": METRICS["latency"]}).values == {"latency": [1.0, 3.0]}
    gap = replace(block, values={"latency": [None, None, 2e9, 4e9]}, reasons={"latency": "lost"})
    assert samples_of([gap], {"latency": METRICS["latency"]}).reasons == {"latency": "lost"}


def test_only_pairs_that_both_sides_finished_meet() -> None:
    base = [replace(rounds(f"b{n}"), pair=n) for n in (0, 1)]
    candidate = [replace(rounds(f"c{n}"), pair=n) for n in (0, 1, 2)]
    broken = replace(candidate[1], n=1)
    assert [block.pair for block in met(base, [candidate[0], broken, candidate[2]])[1]] == [0]


def test_blocks_with_different_frozen_models_have_none() -> None:
    blocks = [rounds(n=2, anchor=name) for name in ("one", "one", "other")]
    assert samples_of(blocks[:2], METRICS).anchor == "one"
    assert samples_of(blocks, METRICS).anchor == ""
