"""``llmci reproduce``: what a session recorded is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import Bench
from installed import needs_models

from pytest_llmci.cli.main import main

ROWS = [
    {"id": "text", "prompt": "Name a colour."},
    {
        "id": "chat",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}],
    },
]
BOT = "def answer(prompt, seed=0, temperature=0.0):\n    return f'to {prompt} with {seed} and {temperature}'\n"


@pytest.fixture
def ran(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(bench.path)
    bench.write("rows.json", json.dumps(ROWS))
    bench.write("bot.py", BOT)
    result = bench.run(
        "--llm-models=a=echo,b=py:bot:answer", "--llm-prompts=rows.json", "--llmci-suite=inference", "--llmci-rounds=2", "--llmci-seed=3",
        "--llmci-temperature=0.5", "--llmci-max-new-tokens=7", "--llmci-threads=2", "-k", "not b-chat",
    )  # fmt: skip
    assert result.ret == 0
    return bench


def files(folder: Path) -> set[Path]:
    return {
        path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name not in ("__pycache__", "timing.lock")
    }


def test_a_run_is_reproduced_and_nothing_is_written(ran: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(ran.path)
    assert main(["reproduce"]) == 0
    told = capsys.readouterr()
    assert "3 identical" in told.out
    assert "1 again of 2 (all of one output, temperature 0.5, seed 3)" in told.out
    assert "environment  the same as in the run" in told.out
    assert "loading a" in told.err
    assert "b-text: answer 1 of 1" in told.err
    assert files(ran.path) == before


def test_a_changed_pipeline_differs_and_is_named(ran: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    ran.write("bot.py", BOT.replace("with", "without"))
    assert main(["reproduce", "--cell=b-text", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (cell,) = told["cells"]
    assert (cell["cell"], cell["outcome"], told["identical"]) == ("b-text", "differs", False)
    assert cell["first_difference"] == {
        "round": 1,
        "unit": "word",
        "position": 5,
        "recorded": "with ",
        "now": "without ",
    }
    assert "file_sha256" in [each["name"] for each in cell["subject"]]


def test_what_is_gone_is_not_reproduced(ran: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (ran.path / "bot.py").unlink()
    assert main(["reproduce"]) == 1
    told = capsys.readouterr().out
    assert "2 identical, 1 not reproduced" in told
    assert "b-text: not reproduced, as " in told


def test_another_environment_is_told_fact_by_fact(
    ran: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    assert main(["reproduce", "--cell=a-text"]) == 0
    assert "environment  variables.MALLOC_ARENA_MAX: none -> 3" in capsys.readouterr().out


def test_a_redacted_run_says_why_not(ran: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    ran.run(
        "--llm-models=a=echo",
        "--llm-prompts=rows.json",
        "--llmci-suite=inference",
        "--llmci-rounds=1",
        "--llmci-redact",
    )
    assert main(["reproduce"]) == 1
    told = capsys.readouterr().out
    assert "2 not reproduced" in told
    assert "the text of its prompt was not recorded (--llmci-redact)" in told


@pytest.mark.parametrize(("arguments", "words"), [
    (["--cell=a-nothing"], "has no cell 'a-nothing'"),
    (["nowhere"], "no run 'nowhere'"),
    (["--with=dtype"], "--with: 'dtype' is no option"),
])  # fmt: skip
def test_bad_input(ran: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["reproduce", *arguments]) == 4
    assert words in capsys.readouterr().err


@needs_models
@pytest.mark.slow
def test_an_edited_model_differs_and_the_token_is_named(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.path)
    bench.suite("t=tiny+seed=1", "--llmci-max-new-tokens=16", "-k", "first", fresh=True)
    (block,) = bench.records("rounds")
    assert len(block["output_token_ids"][0]) == 16
    assert main(["reproduce"]) == 0
    assert main(["reproduce", "--with=+seed=2", "--json"]) == 1
    out = capsys.readouterr().out
    (cell,) = json.loads(out[out.index("{") :])["cells"]
    first = cell["first_difference"]
    assert (first["unit"], first["round"]) == ("token", 1)
    assert 1 <= first["position"] <= 16
    assert first["recorded"] != first["now"]
    assert [each["name"] for each in cell["subject"]] == ["options"]
