"""docs/yaml-tests.md and examples/yaml_tests say what is so."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import yaml
from bench import Bench
from jsonschema import Draft202012Validator

from pytest_llmci.cli.main import main
from pytest_llmci.testfiles.schema import schema

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "yaml-tests.md").read_text("utf-8")
EXAMPLES = ROOT / "examples" / "yaml_tests"


def blocks(language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_tables_are_those_of_today() -> None:
    """If they are not: python tools/testfile_schema.py."""
    spec = importlib.util.spec_from_file_location("testfile_schema", ROOT / "tools" / "testfile_schema.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.renewed(TEXT) == TEXT


def test_the_file_on_the_page_runs(bench: Bench) -> None:
    (text,) = blocks("yaml")
    Draft202012Validator(schema()).validate(yaml.safe_load(text))
    bench.write("test_capitals.llm.yaml", text.replace("models: smollm2", "models: echo"))
    bench.write("more.csv", "id,prompt\nriver,Name a river.\n")
    bench.write("pytest.ini", "[pytest]\nmarkers = slow: takes long\n")
    bench.run("--llmci").assert_outcomes(passed=13, failed=2)  # echo knows no capitals
    failed = [record["test"] for record in bench.records("verdict") if record["verdict"] != "pass"]
    assert failed == [
        f"test_capitals.llm.yaml::europe[echo-What-is-the-capital-of-{name}]" for name in ("France", "Japan")
    ]
    bench.run("--llmci", "test_capitals.llm.yaml::europe").assert_outcomes(passed=1, failed=2)
    bench.run("--llmci", "-m", "not slow", "-k", "polite").assert_outcomes(passed=1, deselected=14)


def test_the_faults_on_the_page_are_told_so(bench: Bench) -> None:
    bench.write("more.csv", "prompt\nHi.\n")
    (bench.path / "prompts.yaml").unlink()
    bench.write(
        "test_bad.llm.yaml",
        "models: echo\nround: 2\nrounds: 3\nchecks: [max_wrds:4]\nprompts: [{id: abc, prompt: Hi.}, none.yaml]\n",
    )
    told = bench.run("--llmci").outlines
    (shown,) = [block for block in blocks() if "ERROR collecting" in block]
    for line in shown.splitlines()[1:]:
        start = line.partition(" Known: ...")[0].partition(" Prompt files there: ...")[0]
        assert any(real.startswith(start) for real in told), line


def test_the_converted_example_is_what_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("promptfooconfig.yaml", "chat.json", "cases.csv"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--from", "promptfooconfig.yaml"]) == 0
    printed = capsys.readouterr().out
    (shown,) = [block for block in blocks() if block.startswith("wrote test_promptfoo")]
    assert printed == shown
    assert (tmp_path / "test_promptfoo.llm.yaml").read_text("utf-8") == (
        EXAMPLES / "test_promptfoo.llm.yaml"
    ).read_text("utf-8")


def test_the_examples_fit_the_schema_and_run(bench: Bench) -> None:
    for path in EXAMPLES.glob("test_*.llm.yaml"):
        Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text("utf-8")))
        shutil.copy(path, bench.path)
    bench.run("-rs").assert_outcomes(skipped=2)
    result = bench.run("--llm-models=echo", "--llmci-rounds=1", "--llmci-max-rounds=1", "--llmci-warmup=0")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] + outcomes.get("passed", 0) + outcomes.get("inconclusive", 0) == 13
    told = {check["name"] for record in bench.records("verdict") for check in record["checks"]}
    assert {"icontains:Paris", "not:icontains:as an AI language model", "latency:60s", "max_words:60"} <= told
