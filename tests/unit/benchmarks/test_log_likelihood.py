"""How two scorers are compared, and that the generated questions are what they are said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.records import ContinuationScore


def scored(*logprobs: float) -> list[ContinuationScore]:
    return [ContinuationScore(logprob=each, tokens=1) for each in logprobs]


def test_the_worst_difference_and_other_ranks_are_found(benchmark_module: Any) -> None:
    ours = [scored(-1.0, -2.0), scored(-3.0, -3.5, -9.0)]
    found = benchmark_module.compared(
        ours, [[(-1.0, True), (-2.5, False)], [(-3.6, False), (-3.5, False), (-9.0, True)]]
    )
    assert (found.worst, found.ranks_differ, found.choices) == (pytest.approx(0.6), 1, 5)


def test_generated_questions_are_the_same_each_time_and_of_three_shapes(benchmark_module: Any) -> None:
    for shape, shared in (("text", 0), ("letters", 0), ("few-shot", 1000)):
        asked = benchmark_module.generated(6, shape)
        assert asked == benchmark_module.generated(6, shape) and len({each.context for each in asked}) == 6
        assert all(len(each.continuations) == 4 for each in asked)
        assert len({each.context[:shared] for each in asked}) == 1
        assert (asked[0].continuations == (" A", " B", " C", " D")) is (shape != "text")


def test_questions_of_a_file(benchmark_module: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(json.dumps({"query": f"Q{n}", "choices": ["a", "b"]}) for n in range(5)), "utf-8")
    asked = benchmark_module.read_questions(file, 3)
    assert [(each.context, each.continuations) for each in asked] == [
        (f"Q{n}\nAnswer:", (" a", " b")) for n in range(3)
    ]


def test_cpu_time_is_counted_and_what_was_given_is_kept(benchmark_module: Any) -> None:
    way = benchmark_module.Timed(lambda: sum(range(100_000)))
    assert way.cpu_s() > 0
    assert way.gave == sum(range(100_000))
