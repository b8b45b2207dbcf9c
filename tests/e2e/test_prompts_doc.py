"""Every example in docs/prompts.md is read, and what it says of them is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench import Bench
from installed import needs_models

from pytest_llmci.cli.main import main
from pytest_llmci.prompts import load_prompts
from pytest_llmci.prompts.rows import GENERATE_KEYS
from pytest_llmci.prompts.shapes import SHAPES

TEXT = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text("utf-8")
LISTED, TEMPLATES, DEFAULTS, GENERATED = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.model
@needs_models
def test_the_list_is_what_it_says(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, conversions: Path
) -> None:
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(conversions))
    bench.write("mine.yaml", LISTED)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["prompts", "mine.yaml", "--model=smollm2"]) == 0
    assert capsys.readouterr().out in TEXT


def test_the_templates_are_the_prompts_that_are_named(bench: Bench) -> None:
    bench.write("mine.yaml", TEMPLATES)
    ids = [prompt.id for prompt in load_prompts("mine.yaml", "x", bench.path)]
    assert len(ids) == 6
    assert all(f"`{name}`" in TEXT for name in ids)
    bench.run("--llm-models=echo", "--llmci-suite=inference", "--llm-prompts=mine.yaml", "--llmci-rounds=1")
    cells = {cell["prompt_id"]: cell for cell in bench.results()["cells"]}
    assert list(cells) == ids
    assert cells["capital-of-Spain"]["variables"] == {"country": "Spain", "capital": "Madrid"}
    assert {check["name"] for check in cells["capital-of-Spain"]["checks"]} == {
        "valid",
        "contains:Madrid",
        "max_words:40",
    }
    assert bench.records("rounds")[0]["variables"] == {"text": "hello", "language": "French"}


def test_the_defaults_hold_where_a_row_says_nothing(bench: Bench) -> None:
    bench.write("mine.yaml", DEFAULTS)
    first, poem = load_prompts("mine.yaml", "x", bench.path)
    assert first.messages[0].content == "Answer in one sentence."
    assert (first.checks, first.tags, first.max_new_tokens) == (("max_words:60",), ("smoke",), 40)
    assert (poem.text, poem.checks) == ("Write a poem.", ())


def test_what_is_generated_is_named(bench: Bench) -> None:
    bench.write("mine.yaml", GENERATED)
    prompts = {prompt.id: prompt for prompt in load_prompts("mine.yaml", "x", bench.path)}
    assert len(prompts) == 12
    assert len((prompts["words-50w-s2"].text or "").split()) == 50
    fill = prompts["scale-bread-256t"].fill
    assert fill is not None and fill.tokens == 256
    for key in GENERATE_KEYS:
        assert f"`{key}`" in TEXT


def test_every_key_of_a_known_shape_is_named() -> None:
    table = TEXT.partition("## Files of other projects")[2]
    for key in set().union(*(shape.keys for shape in SHAPES)):
        assert f"`{key}`" in table


def test_variables_are_neither_written_nor_told_where_prompts_are_not(bench: Bench) -> None:
    bench.write("mine.yaml", "- {id: t, template: 'Pay {{who}}', variables: {who: [Zaphod, Zaphod B]}}\n")
    bench.run(
        "--llm-models=echo",
        "--llmci-suite=inference",
        "--llm-prompts=mine.yaml",
        "--llmci-rounds=3",
        "--llmci-redact",
        "--llmci-save-baseline",
    )
    assert bench.records("rounds")[0]["variables"] == {}
    written = [*bench.latest.rglob("*"), *(bench.path / "llmci-baselines").rglob("*")]
    assert any("main" in str(path) for path in written)
    for path in written:
        assert not path.is_file() or b"Zaphod" not in path.read_bytes(), path
