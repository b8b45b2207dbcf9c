"""Where a slower model's time went, planted in a scripted model."""

from __future__ import annotations

import json
import re

import pytest
from bench import Bench
from timing import on_real_time

from pytest_llmci.cli.main import main

pytestmark = on_real_time

PARTS = ("prefill", "decode rate", "output length", "harness", "noise", "whole")


def told(text: str) -> dict[str, float]:
    """Part -> milliseconds, of the only failure."""
    found = re.findall(rf"^ +(?:where +)?({'|'.join(PARTS)}) +([+-]?\d+\.\d) ms ", text, re.MULTILINE)
    return {name: float(number) for name, number in found}


@pytest.mark.parametrize(
    ("slow", "part", "expected"),
    [("echo+ttft=60ms+itl=1ms", "prefill", 40.0), ("echo+ttft=20ms+itl=4ms", "decode rate", 57.0)],
)
def test_a_planted_slowdown_is_found_where_it_was_planted(bench: Bench, slow: str, part: str, expected: float) -> None:
    reference = "--llmci-versus=echo+ttft=20ms+itl=1ms"
    result = bench.suite(f"echo={slow}", reference, "--llmci-max-new-tokens=20", "-k", "first")
    result.assert_outcomes(failed=1, deselected=1)
    parts = told(str(result.stdout))
    assert tuple(parts) == PARTS
    whole = parts.pop("whole")
    assert sum(parts.values()) == pytest.approx(whole, abs=0.06 * len(parts))  # each is rounded to a tenth
    assert max(parts, key=lambda name: parts[name]) == part
    # What waits there were is told apart, so that a busy machine moves the part by little.
    assert parts[part] == pytest.approx(expected, rel=0.35)


def test_longer_answers_are_told_from_slower_ones(bench: Bench) -> None:
    """Their times are not compared, and the reader learns why an answer takes longer."""
    bench.write("test_it.py", "def test_it(llm_result):\n    assert llm_result.output.text\n")
    result = bench.run(
        "--llm-models=echo=echo+itl=2ms+tokens=40", "--llmci-versus=echo+itl=2ms+tokens=20", "--llm-prompts=prompts.yaml",
        "--llmci-max-rounds=5", "-k", "first", "--llmci-inconclusive=fail",
    )  # fmt: skip
    result.assert_outcomes(failed=1, deselected=1)
    parts = told(str(result.stdout))
    assert parts["output length"] == pytest.approx(40.0, rel=0.35) and abs(parts["decode rate"]) < 15.0


def test_a_stored_reference_is_split_too(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """By a baseline in the session, and by `llmci compare` from the two logs."""
    asked = ("--llmci-max-new-tokens=20", "--llmci-rounds=5", "-k", "first")
    bench.suite("echo=echo+itl=2ms", "--llmci-save-baseline=main", *asked)
    base = bench.results()["run"]["id"]
    result = bench.suite("echo=echo+itl=6ms", "--llmci-baseline=main", "--llmci-sink=html,json,markdown:it.md", *asked)
    result.assert_outcomes(failed=1, deselected=1)
    parts = told(str(result.stdout))
    assert tuple(parts) == PARTS and max(PARTS[:-1], key=lambda name: parts[name]) == "decode rate"
    assert parts["decode rate"] == pytest.approx(76.0, rel=0.35)
    [kept] = bench.results()["cells"]
    split = {part["name"]: 1e3 * part["change"] for part in kept["slowdown"]["parts"]}
    assert kept["slowdown"]["against"] == "main" and split == pytest.approx(
        {name: parts[name] for name in split}, abs=0.06
    )
    page = (bench.pytester.path / "llmci-results/latest/report.html").read_text(encoding="utf-8")
    for written in (page, (bench.pytester.path / "it.md").read_text(encoding="utf-8")):
        assert f"+{parts['decode rate']:.1f} ms (" in written
    assert main(["compare", base, "latest", "--json"]) == 1
    [cell] = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert cell["slowdown"]["decode rate"] == pytest.approx(0.076, rel=0.35)
    main(["compare", base, "latest"])
    text = " ".join(capsys.readouterr().out.split())
    assert "where echo-first: " in text and "decode rate +" in text
