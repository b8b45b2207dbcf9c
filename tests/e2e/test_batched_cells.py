"""``--llmci-batch``: cells of untimed tests are answered several at once; everything else is measured alone."""

from __future__ import annotations

import pytest
from bench import Bench

TESTS = """\
import pytest

@pytest.mark.llmci(timed=False, checks="non_empty", max_new_tokens=6)
def test_answer(llm_result):
    assert llm_result.output.text

@pytest.mark.llmci(rounds=2, max_new_tokens=6)
def test_timed(llm_result):
    assert llm_result.latency.median >= 0
"""
PROMPTS = "".join(f"- {{id: p{number}, prompt: Say {number}.}}\n" for number in range(5))
COMMON = ("--llm-prompts=prompts.yaml", "--llm-models=m=echo")


@pytest.fixture
def tests(bench: Bench) -> Bench:
    bench.write("test_it.py", TESTS)
    bench.write("prompts.yaml", PROMPTS)
    return bench


@pytest.mark.parametrize("more", [(), ("-n2",)], ids=["alone", "xdist"])
def test_untimed_cells_have_the_same_answers_and_only_counts(tests: Bench, more: tuple[str, ...]) -> None:
    def answers() -> dict[str, tuple[str, str]]:
        return {
            block["cell"]: (block["outputs"][0], block["md5"][0])
            for block in tests.records("rounds") if "test_answer" in block["test"]
        }  # fmt: skip

    assert tests.run(*COMMON, fresh=True).ret == 0
    alone = answers()
    assert tests.run(*COMMON, "--llmci-batch=3", *more, fresh=True).ret == 0
    assert answers() == alone and len(alone) == 5
    for block in tests.records("rounds"):
        counted = {"prompt_tokens", "output_tokens"}
        if "test_answer" in block["test"]:
            assert set(block["values"]) == counted and "in a batch" in block["reasons"]["latency"]
        else:
            assert "latency" in block["values"]
    assert len(tests.results()["cells"]) == 10


def test_the_cell_that_fails_fails_alone(tests: Bench) -> None:
    result = tests.run(
        "--llm-models=m=echo+fail=broken+only_prompt=p2",
        "--llm-prompts=prompts.yaml",
        "--llmci-batch=5",
        "-k",
        "answer",
        fresh=True,
    )
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*test_answer?m-p2? *broken*"])


def test_a_process_that_dies_takes_no_other_cell_along(tests: Bench) -> None:
    result = tests.run(
        "--llm-models=m=echo+crash=exit:3+only_prompt=p1",
        "--llm-prompts=prompts.yaml",
        "--llmci-batch=5",
        "-k",
        "answer",
        fresh=True,
    )
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_answer?m-p1?*"])


def test_a_budget_that_wants_more_than_counts_is_measured_alone(tests: Bench) -> None:
    result = tests.run(*COMMON, "--llmci-batch=5", "--llmci-max-memory=4GiB", "-k", "answer", fresh=True)
    assert result.ret == 0
    assert all("peak_rss" in block["values"] for block in tests.records("rounds") if block["origin"] == "measured")
