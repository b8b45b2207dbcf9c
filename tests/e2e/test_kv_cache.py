"""What each token adds to the keys and values of a model."""

from __future__ import annotations

from bench import Bench
from installed import needs_models


@needs_models
def test_each_token_adds_its_keys_and_values(bench: Bench) -> None:
    per_token = 4 * 2 * 64 * 4  # layers, keys and values, width, bytes of a float32
    bench.suite("tiny", f"--llmci-budget=kv_cache_per_token <= {per_token}B").assert_outcomes(passed=2)
    for cell in bench.results()["cells"]:
        found = cell["metrics"]["kv_cache_per_token"]
        assert (found["min"], found["max"]) == (per_token, per_token)
    bench.suite("tiny", f"--llmci-budget=kv_cache_per_token <= {per_token - 1}B").assert_outcomes(failed=2)


def test_a_budget_on_it_is_refused_where_it_can_never_be_known(bench: Bench) -> None:
    refused = bench.suite("echo", "--llmci-budget=kv_cache_per_token <= 1MiB")
    refused.stderr.fnmatch_lines(["*'kv_cache_per_token <= 1MiB' can never be judged for echo: echo has no weights*"])
