"""Prompts of an exact number of tokens: whoever asks them, the model's own tokenizer has counted."""

from __future__ import annotations

import json

import pytest
from bench import Bench
from installed import needs_models

SET = """
generate:
  - id: scale
    template: "Sum up:\\n\\n{{filler}}"
    tokens: [20, 40]
"""


def lengths(bench: Bench) -> dict[str, set[int]]:
    return {block["cell"]: set(block["values"]["prompt_tokens"]) for block in bench.records("rounds")}


def test_a_suite(bench: Bench) -> None:
    bench.write("mine.yaml", SET)
    result = bench.run(
        "--llm-models=echo,other=echo",
        "--llmci-suite=inference",
        "--llm-prompts=mine.yaml",
        "--llmci-rounds=2",
        "--llmci-memory=exact",
    )
    result.assert_outcomes(passed=4)
    measured = [block for block in bench.records("rounds") if block["origin"] == "measured"]
    assert {block["cell"]: set(block["values"]["prompt_tokens"]) for block in measured} == {
        f"{model}-scale-{tokens}t": {tokens} for model in ("echo", "other") for tokens in (20, 40)
    }
    assert len({block["prompt"] for block in bench.records("rounds")}) == 2, "the memory pass asks the same"
    assert all(len(block["prompt"].split()) == int(block["variables"]["tokens"]) for block in bench.records("rounds"))


def test_tests_of_the_users_own(bench: Bench) -> None:
    bench.write("mine.yaml", SET)
    bench.write(
        "test_it.py",
        """
        def test_result(llm_result, llm_prompt):
            assert llm_prompt.text is None and llm_prompt.is_open
            assert llm_result.prompt_tokens.median == int(llm_prompt.variables["tokens"])

        def test_generate(llm, llm_prompt):
            assert llm.generate(llm_prompt).prompt_tokens == int(llm_prompt.variables["tokens"])

        def test_stream(llm, llm_prompt):
            assert "".join(llm.stream(llm_prompt)).startswith("You asked about Sum up")
        """.replace("\n        ", "\n"),
    )  # fmt: skip
    bench.run("--llm-models=echo", "--llm-prompts=mine.yaml", "--llmci-rounds=1").assert_outcomes(passed=6)


def test_both_sides_of_a_comparison_are_asked_the_same(bench: Bench) -> None:
    bench.write("mine.yaml", SET)
    result = bench.run(
        "--llm-models=echo+itl=1ms",
        "--llmci-versus=+itl=2ms",
        "--llmci-suite=inference",
        "--llm-prompts=mine.yaml",
        "--llmci-rounds=3",
        "--llmci-max-rounds=3",
        "--llmci-max-new-tokens=10",
    )
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)  # how fast they were is not asked here
    prompts = {
        (block["origin"], block["prompt"])
        for block in bench.records("rounds")
        if block["origin"] in ("measured", "reference")
    }
    assert len(prompts) == 4 and len({prompt for _, prompt in prompts}) == 2
    assert all(cell["comparisons"] for cell in bench.results()["cells"])
    assert all(each["verdict"] != "not comparable" for cell in bench.results()["cells"] for each in cell["comparisons"])


def test_a_baseline_knows_them_again(bench: Bench) -> None:
    bench.write("mine.yaml", SET)
    common = ("--llm-models=echo", "--llmci-suite=inference", "--llm-prompts=mine.yaml", "--llmci-rounds=3")
    bench.run(*common, "--llmci-save-baseline").assert_outcomes(passed=2)
    (saved,) = (bench.path / "llmci-baselines" / "main").glob("*.json")
    rows = json.loads(saved.read_text())["prompts"]
    assert sorted(len(row["text"].split()) for row in rows.values()) == [20, 40]
    result = bench.run(*common, "--llmci-baseline")
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)  # how fast they were is not asked here
    assert len(bench.results()["cells"]) == 2 and all(cell["comparisons"] for cell in bench.results()["cells"])
    assert all(each["verdict"] != "not comparable" for cell in bench.results()["cells"] for each in cell["comparisons"])


def test_a_template_that_is_too_long_is_a_failed_test(bench: Bench) -> None:
    bench.write("mine.yaml", "generate: [{id: s, template: 'a b c d e {{filler}}', tokens: [3, 30]}]")
    result = bench.run("--llm-models=echo", "--llmci-suite=inference", "--llm-prompts=mine.yaml", "--llmci-rounds=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*echo: prompt 's-3t' is to have 3 tokens, but without filler it has 5; ask for more*"]
    )


def test_a_model_that_counts_no_tokens_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.write("mine.yaml", SET)
    bench.write("bot.py", "def answer(prompt):\n    return prompt\n")
    result = bench.run("--llm-models=py:bot:answer", "--llmci-suite=inference", "--llm-prompts=mine.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*mine.yaml, generate, entry 1, combination 1: its length in tokens cannot be met for model 'py:bot:answer', as backend 'py' does not count*"
        ]
    )


@needs_models
def test_with_a_real_tokenizer_and_its_chat_template(bench: Bench) -> None:
    bench.write(
        "mine.yaml", SET + "  - {id: chat, messages: [{role: user, content: 'Read {{filler}}'}], tokens: 150}\n"
    )
    result = bench.run(
        "--llm-models=tiny",
        "--llmci-suite=inference",
        "--llm-prompts=mine.yaml",
        "--llmci-rounds=1",
        "--llmci-max-new-tokens=2",
        "--llmci-budget=output_tokens <= 1",
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["  prompt * (chat template)"])
    result.stdout.fnmatch_lines(["chat template: applied in 1 of 3 cells; the others went to the model as they"])
    assert lengths(bench) == {"tiny-scale-20t": {20}, "tiny-scale-40t": {40}, "tiny-chat-150t": {150}}
    assert [cell["templated"] for cell in bench.results()["cells"]] == [False, False, True]


def test_parallel_workers_fit_prompts_of_a_length_in_tokens_and_replay_them(bench: Bench) -> None:
    bench.write("lengths.yaml", "generate:\n  - {id: scale, template: 'Sum up: {{filler}} Why?', tokens: [12, 20]}\n")
    bench.write(
        "test_it.py",
        "def test_it(llm_result, llm_prompt):\n    assert llm_result.prompt_tokens.max == llm_prompt.fill.tokens\n",
    )
    settings = ("--llm-models=echo,other=echo:nut", "--llm-prompts=lengths.yaml", "test_it.py", "-n2")
    bench.run(*settings, fresh=True).assert_outcomes(passed=4)
    asked = {(block["model"], block["prompt_id"]): block["prompt_sha256"] for block in bench.records("rounds")}
    assert len(asked) == 4 and len(set(asked.values())) == 2
    bench.run("--llmci-replay=latest", "test_it.py", "-n2", fresh=True).assert_outcomes(passed=4)
