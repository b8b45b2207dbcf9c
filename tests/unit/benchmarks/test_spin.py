"""The model of known cost."""

from __future__ import annotations

import time
from types import ModuleType

from pytest_llmci.records import GenerationSettings


def test_each_token_takes_its_cpu_time_and_is_stamped(benchmark_module: ModuleType) -> None:
    stamps: list[int] = []
    model = benchmark_module.SpinModel(token_ns=2_000_000)
    begin = time.thread_time_ns()
    produced = model.generate(
        benchmark_module.PROMPT, GenerationSettings(max_new_tokens=3), lambda: stamps.append(time.thread_time_ns())
    )
    assert [stamp - begin >= 2_000_000 * number for number, stamp in enumerate(stamps, start=1)] == [True] * 3
    assert model.complete(produced).output_tokens == 3
