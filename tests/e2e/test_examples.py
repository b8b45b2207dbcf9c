"""The examples do what they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import Bench
from installed import needs_models

EXAMPLES = Path(__file__).parents[2] / "examples"


def _copy(bench: Bench, name: str) -> None:
    shutil.copytree(EXAMPLES / name, bench.path, dirs_exist_ok=True)


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "parallel"])
def test_the_extension_adds_a_backend_a_metric_a_check_and_a_sink(bench: Bench, workers: list[str]) -> None:
    if workers:
        pytest.importorskip("xdist")
    _copy(bench, "extension")
    result = bench.run(
        "--llm-models=parrot,loud=parrot+shout=yes",
        "--llm-prompts=prompts.yaml",
        "--llmci-sink=tsv",
        *workers,
        fresh=True,
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["Saved in llmci-results/latest (results.csv, summary.csv, log.jsonl, models.tsv)"])
    assert (bench.latest / "models.tsv").read_text().startswith("model\trounds\tlatency\n")
    assert "\nparrot\t6\t" in (bench.latest / "models.tsv").read_text()
    block = bench.records("rounds")[0]
    assert len(block["values"]["voluntary_switches"]) == 3
    assert "voluntary_switches" in (bench.latest / "results.csv").read_text().splitlines()[0]
    assert bench.records("header")[0]["environment"]["team"] == "aviary"


def test_the_extension_adds_a_plot(bench: Bench) -> None:
    pytest.importorskip("matplotlib")
    _copy(bench, "extension")
    bench.run("--llm-models=parrot", "--llm-prompts=prompts.yaml", "--llmci-sink=plots", fresh=True).assert_outcomes(
        passed=2
    )
    assert "words in an answer" in (bench.latest / "plots" / "words.svg").read_text("utf-8")


def test_own_tests_run_armed_and_skip_unarmed(bench: Bench) -> None:
    _copy(bench, "own_tests")
    bench.run().assert_outcomes(passed=1, skipped=4)
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", fresh=True).assert_outcomes(passed=7)


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("domain_check", "careful=echo:Take 200 mg and see a doctor if it stays."),
        ("extension", "parrot"),
    ],
)
def test_the_commands_of_the_examples_work_where_they_lie(bench: Bench, name: str, models: str) -> None:
    """In a clone the settings of the repository hold, under which pytest puts no folder on the import path; nor does ``-P``."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--llm-models={models}"]
    command += ["--llm-prompts=prompts.yaml", f"--llmci-output={bench.path}"]
    done = subprocess.run(command, cwd=EXAMPLES / name, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_check_of_ones_own_domain(bench: Bench) -> None:
    _copy(bench, "domain_check")
    careful = "--llm-models=careful=echo:Take 200 mg and see a doctor if it stays."
    bench.run(careful, "--llm-prompts=prompts.yaml", fresh=True).assert_outcomes(passed=2)
    assert [check["name"] for check in bench.results()["cells"][1]["checks"]] == ["valid", "dose:250", "max_words:60"]
    result = bench.run("--llm-models=careless=echo:Take 5000 mg.", "--llm-prompts=prompts.yaml", fresh=True)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*dose:1000: names 5000 mg, and 1000 mg is the limit*"])
    result.stdout.fnmatch_lines(["*sends_to_a_doctor: *returned False*"])


def test_a_chat_of_two_turns(bench: Bench) -> None:
    _copy(bench, "chat")
    bench.run("--llm-models=echo:Your dog is Rex.", fresh=True).assert_outcomes(passed=1)
    first, second = bench.records("rounds")
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == first["outputs"][0] == "Your dog is Rex."
    bench.run("--llm-models=echo:Who knows.", fresh=True).assert_outcomes(failed=1)


@needs_models
def test_a_look_at_the_logits(bench: Bench) -> None:
    _copy(bench, "logits")
    bench.run("--llm-models=tiny", "-k", "not capital", fresh=True).assert_outcomes(passed=2, deselected=1)


@needs_models
def test_two_models_in_one_test(bench: Bench) -> None:
    _copy(bench, "compare_models")
    bench.run("--llm-models=tiny", "--llm-prompts=prompts.yaml", fresh=True).assert_outcomes(passed=2)
    assert {record["model"]: record["info"]["dtype"] for record in bench.records("worker")} == {
        "tiny": "float32",
        "half": "bfloat16",
    }


def test_a_property_of_a_model(bench: Bench) -> None:
    pytest.importorskip("hypothesis")
    _copy(bench, "properties")
    bench.run("--llm-models=echo", fresh=True).assert_outcomes(passed=1)
    assert len({block["prompt"] for block in bench.records("rounds")}) > 3
    bench.write(
        "bot.py", "def answer(messages):\n    return '' if messages[-1]['content'].endswith('\\n') else 'Paris'\n"
    )
    result = bench.run("--llm-models=py:bot:answer", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r".*(Falsifying example|Failing test case): .*"])
    result.stdout.fnmatch_lines(["*assert (not True or <valid: failed: *"])


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "passed"),
    [("chat", [], 1), ("logits", [], 3), ("compare_models", ["--llm-prompts=prompts.yaml"], 2), ("properties", [], 1)],
)
@needs_models
def test_on_a_real_model(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, conversions: Path, name: str, arguments: list[str], passed: int
) -> None:
    pytest.importorskip("hypothesis")
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(conversions))
    _copy(bench, name)
    bench.run("--llm-models=smollm2", *arguments, fresh=True).assert_outcomes(passed=passed)


@pytest.mark.parametrize("name", ["domain_check", "chat", "logits", "compare_models", "properties"])
def test_each_example_says_how_to_run_it_and_skips_unarmed(bench: Bench, name: str) -> None:
    _copy(bench, name)
    assert "$ pytest --llm-models=" in (EXAMPLES / name / "README.md").read_text("utf-8")
    result = bench.run(fresh=True)
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes().keys() == {"skipped"}
