"""``llmci recommend`` on a real run: the model within the limits, and the reason of each other one."""

from __future__ import annotations

import json

import pytest
from bench import Bench

from pytest_llmci.cli.main import main

MODELS = "quick=echo+ttft=1ms,clever=echo+ttft=40ms,slow=echo+ttft=120ms"
SCORES = "model,score\nquick,20\nclever,50\nslow,60\n"


def test_the_best_score_within_the_limits_is_recommended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write("board.csv", SCORES)
    assert bench.suite(MODELS, "--llmci-scores=board.csv", "--llmci-rounds=3", "--llmci-max-new-tokens=2").ret == 0
    monkeypatch.chdir(bench.path)
    capsys.readouterr()
    assert main(["recommend", "--max-latency=90ms", "--min-score=10", "--prices=colab-gpu"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Take clever: of those within the limits (score >= 10, p95 latency <= 90 ms)")
    assert "A range in brackets is a 95 % interval" in text
    assert "slow: p95 latency 1" in text and "quick: scores lower: 20 against 50" in text
    assert "score: published: board.csv: quick, clever, slow." in text
    assert main(["recommend", "--max-latency=90ms", "--prefer=latency", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"] == "quick" and found["pareto_set"] == ["quick", "clever", "slow"]
    assert found["models"]["quick"]["cost"]["missing"].startswith("no price")
    assert main(["recommend", "--min-score=70"]) == 1
    assert main(["recommend", "--max-latency=fast"]) == 4
    assert "--max-latency: 'fast' is not a quantity in seconds" in capsys.readouterr().err
