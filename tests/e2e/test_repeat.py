"""The line ``repeat`` of a failure: fits the screen, and copied into a shell it runs that test and no other."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
from bench import Bench

pytestmark = pytest.mark.skipif(os.name != "posix", reason="runs a POSIX shell")

TESTS = """
import pytest
def test_call(llm): llm.generate("hi")
def test_call_too(llm): llm.generate("hi")
@pytest.mark.parametrize("word", ["plain", "two words", "it's, $HOME"])
def test_odd(llm, word): llm.generate(word)
"""


def _commands(text: str) -> list[list[str]]:
    """The lines of each command, as they stand on the screen."""
    commands: list[list[str]] = []
    goes_on = False
    for line in text.splitlines():
        if line.startswith("  repeat     "):
            commands.append([line.removeprefix("  repeat     ")])
        elif goes_on:
            commands[-1].append(line)
        goes_on = line.endswith("\\")
    return commands


def _run(bench: Bench, command: list[str]) -> str:
    text = "\n".join(command).replace("pytest ", f"{shlex.quote(sys.executable)} -m pytest -p no:cacheprovider -q ", 1)
    done = subprocess.run(["sh", "-c", text], cwd=bench.path, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "parallel"])
def test_fits_and_runs_that_cell_alone(bench: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    result = bench.suite(
        "echo,other=echo",
        "--llmci-budget=output_tokens <= 1",
        "--llmci-max-latency=some-other-model-*:2s",
        "-kecho-first",
        *parallel,
    )
    (command,) = _commands(result.stdout.str())
    assert len(command) > 1
    assert all(len(line) <= 80 for line in command)
    assert "FAILED inference::echo-first - " in (told := _run(bench, command))
    assert "3 deselected" in told


@pytest.mark.parametrize("asked", ["inference::echo-first", "inference"])
def test_a_cell_asked_for_by_its_id_is_found_again(bench: Bench, asked: str) -> None:
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-max-latency=1ns", asked)
    command = _commands(result.stdout.str())[0]
    assert "FAILED inference::echo-first - " in (told := _run(bench, command))
    assert "1 failed, 1 deselected" in told


def test_runs_that_test_of_ones_own_alone(bench: Bench) -> None:
    bench.write("test_it.py", TESTS)
    result = bench.run(
        "--llm-models", "echo+repeat=la ", "--llmci-suite", "inference", "--llmci-rounds=1", "test_it.py", "-k", "test"
    )
    result.assert_outcomes(failed=5)
    commands = _commands(result.stdout.str())
    assert len(commands) == 5
    names = ("test_call[echo]", "test_call_too[echo]", "test_odd[echo-plain]")
    for name, command in zip(names, commands, strict=False):
        told = _run(bench, command)
        assert f"FAILED test_it.py::{name} - " in told
        assert "1 failed" in told
    for command, word in zip(commands[3:], ("two words", "it's, $HOME"), strict=True):
        assert f"FAILED test_it.py::test_odd[echo-{word}] - " in _run(bench, command)


def test_what_the_variable_armed_is_armed_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI", "1")
    bench.write("pytest.ini", "[pytest]\nllmci_models = echo+repeat=la\n")
    bench.write("test_it.py", TESTS)
    result = bench.run("--llmci-rounds=1", "-k", "too")
    result.stdout.fnmatch_lines(
        ['  repeat     LLMCI=1 pytest --llmci-rounds=1 test_it.py -k "test_call_too[[]echo[]]"']
    )


def test_beside_a_bodys_own_failure_it_stands_on_one_line(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm):\n    llm.generate('hi')\n    assert 'mine' == 'yours'\n")
    result = bench.run("--llm-models=echo+repeat=la ", "--llmci-max-latency=some-other-model-*:2s", "--llmci-rounds=1")
    result.stdout.fnmatch_lines(
        ["E *repeat *pytest '--llm-models=echo+repeat=la ' * --llmci-rounds=1 test_it.py -k \"test_it[[]echo[]]\""]
    )
