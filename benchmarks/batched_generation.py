"""Answers in batches beside one after the other: tokens a second, and whether they are the same.

    python -m benchmarks.batched_generation [--model smollm2] [--batch 10] [--tokens 16] [--rounds 3] [--check]

The paper's ten prompts (``--prompts`` for another set) on one thread, greedy and of fixed length, by what ``llm.generate_many``
calls: batch 1 and batch ``--batch`` in turn, the batch twice (A/A control). CPU time; token ids are compared.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.log_likelihood import load
from benchmarks.pairs import Targets, in_turn, machine_line, paired_ratio
from pytest_llmci.prompts import load_prompts
from pytest_llmci.records import Completion, GenerationSettings, Prompt

TARGETS = {"float32": 3.5, "bfloat16": 7.0, "float16": 7.0}
"""Least gain in tokens a second at batch 10."""


def answers(backend: Any, prompts: Sequence[Prompt], settings: GenerationSettings, batch: int) -> list[Completion]:
    """All answers."""
    found: dict[int, Completion] = {}
    backend.generate_many(prompts, settings, (), batch, on_batch=lambda numbers: None, on_completion=found.__setitem__)
    return [found[number] for number in range(len(prompts))]


def tokens_a_second(call: Callable[[], list[Completion]]) -> float:
    """By CPU time."""
    begin = time.process_time()
    made = sum(each.output_tokens or 0 for each in call())
    return made / (time.process_time() - begin)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a model that runs in transformers")
    parser.add_argument("--prompts", default="paper", help="a prompt set or file")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    backend, targets = load(options.model).backend, Targets()
    prompts = load_prompts(options.prompts, "--prompts")
    settings = GenerationSettings(max_new_tokens=options.tokens, fixed_length=True)
    single = partial(answers, backend, prompts, settings, 1)
    batched = partial(answers, backend, prompts, settings, options.batch)
    name = f"batch {options.batch}"
    found = in_turn(
        {name: partial(tokens_a_second, batched), "batch 1": partial(tokens_a_second, single), "again": partial(tokens_a_second, batched)},
        options.rounds,
    )  # fmt: skip
    dtype = str(backend.model.dtype).removeprefix("torch.")
    print(f"\n{len(prompts)} prompts, {options.tokens} tokens each, {dtype}; {machine_line()}")
    for side, values in found.items():
        print(f"  {side:<12}{statistics.median(values):>9.1f} tokens a CPU second")
    gain = paired_ratio(found[name], found["batch 1"])
    print(f"  gain: {gain}; control {paired_ratio(found['again'], found[name])}")
    different = sum(one.token_ids != other.token_ids for one, other in zip(batched(), single(), strict=True))
    targets.judge("tokens a second over one by one", gain.median, TARGETS[dtype], "x", at_least=True)
    if dtype == "float32":
        targets.judge("answers that differ", different, 0, "")
    else:
        print(f"  answers that differ by rounding: {different} of {len(prompts)}")
    return targets.status(check=options.check)


if __name__ == "__main__":
    sys.exit(main())
