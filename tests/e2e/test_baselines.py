"""A session becomes a baseline; one to compare with must exist before anything is loaded."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest
from bench import Bench, unwrapped
from timing import on_real_time

from pytest_llmci.cli.main import main
from pytest_llmci.records import Message
from pytest_llmci.store import load_schema
from pytest_llmci.store.baseline_file import load
from pytest_llmci.store.baseline_folder import list_baselines
from pytest_llmci.store.baseline_record import BaselineRecord

CHAT = """\
- id: first
  messages: [{role: system, content: Be brief.}, {role: user, content: Name a colour.}]
  reference: Red
  tags: [gate]
- {id: second, prompt: Name a river.}
"""
SAVED = r"Baseline main saved in llmci-baselines/main/([0-9a-f]{16})\.json \(2 cells, 2 rounds each\): commit it"


def saved(bench: Bench, name: str = "main") -> BaselineRecord:
    (path,) = (bench.path / "llmci-baselines" / name).iterdir()
    return load(path)


def nothing_was_loaded(bench: Bench) -> bool:
    return not list(bench.path.glob("llmci-results/*/workers/*"))


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_a_session_becomes_a_baseline(bench: Bench, parallel: tuple[str, ...]) -> None:
    bench.write("prompts.yaml", CHAT)
    bench.write("requirements.txt", "torch==2.6\n")
    result = bench.suite("echo,other=echo", "--llmci-save-baseline", *parallel, fresh=bool(parallel))
    result.assert_outcomes(passed=4)
    text = unwrapped(result)
    match = re.search(SAVED.replace("2 cells", "4 cells"), text)
    assert match is not None
    assert text.index("Saved in llmci-results/latest") < match.start()
    record = saved(bench)
    assert record.environment_digest == match[1]
    assert [cell.id for cell in record.newest.cells] == ["echo-first", "echo-second", "other-first", "other-second"]
    assert [model.alias for model in record.newest.models] == ["echo", "other"]
    cell = record.cell("other-first")
    assert cell is not None
    assert (cell.rounds, cell.processes, cell.test, cell.checks) == (2, [2], "inference::other-first", {"valid": True})
    assert len(record.values(cell, "latency")) == len(record.values(cell, "cpu_time")) == 2
    assert {model.alias: model.spec.text for model in record.newest.models}["other"] == "other=echo"
    row = record.prompts[cell.prompt]
    assert row.messages == (Message(role="system", content="Be brief."), Message(role="user", content="Name a colour."))
    assert (row.reference, row.tags) == ("Red", ("gate",))
    assert record.worker_values("echo", "load_time")
    assert set(record.newest.origin.lock_files) == {"requirements.txt"}
    assert record.newest.run_id == bench.records("header")[0]["run_id"]
    (path,) = bench.path.glob("llmci-baselines/main/*.json")
    jsonschema.validate(json.loads(path.read_text("utf-8")), load_schema("baseline"))


def test_a_folder_behind_the_option_is_collected(bench: Bench) -> None:
    bench.write("tests/test_mine.py", "def test_mine(llm, llm_prompt, llm_result): assert llm_result.output\n")
    bench.write("test_other.py", "def test_other(): raise SystemError\n")
    arguments = (
        "--llm-models=echo",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=2",
        "--llmci-save-baseline",
        "tests",
    )
    bench.run(*arguments).assert_outcomes(passed=2)
    assert [cell.test for cell in saved(bench).newest.cells] == [
        "tests/test_mine.py::test_mine[echo-first]",
        "tests/test_mine.py::test_mine[echo-second]",
    ]


def test_saving_replaces_and_updating_adds(bench: Bench) -> None:
    bench.suite("echo", "--llmci-save-baseline=old").assert_outcomes(passed=2)
    result = bench.suite("echo", "--llmci-update-baseline=old", "--llmci-rounds=3")
    assert ".json (2 cells, 3 rounds each, with the 1 before): commit it" in unwrapped(result)
    record = saved(bench, "old")
    assert [session.cell("echo-first").rounds for session in record.sessions] == [2, 3]  # type: ignore[union-attr]  # it is there
    result = bench.suite("echo", "--llmci-save-baseline=old", "-k", "first")
    told = ".json (1 cell, 2 rounds each): commit it. No longer in it: 1 cell (echo-second)"
    assert told in unwrapped(result)
    assert len(saved(bench, "old").sessions) == 1


RED = "--llmci-budget=latency.max <= 1ns"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((RED,), "2 tests failed, and what is wrong is no measure for what comes later."),
        ((RED, "-x"), "the session did not run to its end."),
    ],
)
def test_a_red_session_becomes_none(bench: Bench, arguments: tuple[str, ...], why: str) -> None:
    result = bench.suite("echo", "--llmci-save-baseline", *arguments)
    assert result.ret == 1
    assert f"Baseline main was not written: {why}" in unwrapped(result)
    assert not (bench.path / "llmci-baselines").exists()


@pytest.mark.parametrize(("inconclusive", "status"), [("warn", 0), ("fail", 1)])
def test_an_undecided_session_becomes_one(bench: Bench, inconclusive: str, status: int) -> None:
    bench.write(
        "slow.py",
        "import itertools, time\ncount = itertools.count()\n"
        "def answer(prompt):\n    time.sleep(0.5 * (next(count) % 2))\n    return 'an answer of some words'\n",
    )
    undecided = (
        "--llmci-budget=latency.median <= 250ms",
        "--llmci-max-rounds=2",
        f"--llmci-inconclusive={inconclusive}",
    )
    result = bench.suite("py:slow:answer", "--llmci-save-baseline", "--llmci-warmup=0", *undecided)
    assert result.ret == status
    assert "inconclusive" in result.stdout.str()
    assert len(saved(bench).newest.cells) == 2


def test_a_baseline_that_cannot_be_written_fails_the_session(bench: Bench) -> None:
    bench.write("llmci-baselines", "a file")
    result = bench.suite("echo", "--llmci-save-baseline")
    assert result.ret == 1
    told = r"Baseline main was not written: llmci-baselines/main/\S+\.json: cannot be written: "
    assert re.search(told, unwrapped(result))


def test_work_that_others_may_have_slowed_becomes_none(bench: Bench) -> None:
    arguments = ("--llmci-save-baseline", "--llmci-timing=parallel", "-n2")
    result = bench.suite("echo,other=echo", *arguments, fresh=True)
    assert result.ret == 1
    told = r"Baseline main was not written: .*: measure without --llmci-timing=parallel\."
    assert re.search(told, unwrapped(result))


def test_a_plan_writes_nothing(bench: Bench) -> None:
    assert bench.suite("echo", "--llmci-save-baseline", "--llmci-plan").ret in (0, 5)
    assert not (bench.path / "llmci-baselines").exists()


def test_the_folder_of_the_settings_lies_beside_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write("tox.ini", "[pytest]\nllmci_baselines = kept\n")
    bench.write("sub/prompts.yaml", "- {id: first, prompt: Name a colour.}\n")
    monkeypatch.chdir(bench.path / "sub")
    bench.suite("echo", "--llmci-save-baseline").assert_outcomes(passed=1)
    assert [file.name for file in list_baselines(bench.path / "kept")] == ["main"]
    bench.suite("echo", "--llmci-save-baseline=here", "--llmci-baselines=own").assert_outcomes(passed=1)
    assert [file.name for file in list_baselines(bench.path / "sub" / "own")] == ["here"]


# ------------------------------------------------------------------------------------------------------- choosing one


@on_real_time  # it is compared at the end
@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_one_that_is_missing_is_a_usage_error(bench: Bench, parallel: tuple[str, ...]) -> None:
    bench.suite("echo", "--llmci-save-baseline=old").assert_outcomes(passed=2)
    (bench.path / "llmci-results").rename(bench.path / "earlier")
    result = bench.suite("echo", "--llmci-baseline=new", *parallel, fresh=True)
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        [
            "ERROR: --llmci-baseline: there is no baseline 'new'; llmci-baselines holds old. Make one: *pytest *baseline=new"
        ]
    )
    assert nothing_was_loaded(bench)
    command = result.stderr.str().partition("Make one: ")[2].splitlines()[0]
    assert bench.run(*shlex.split(command)[1:], fresh=True).ret == 0, command
    assert [file.name for file in list_baselines(bench.path / "llmci-baselines")] == ["new", "old"]
    assert bench.suite("echo", "--llmci-baseline=new", *parallel, fresh=True).ret == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"schema": "llmci-baseline/9"}', "schema 'llmci-baseline/9' is not known"),
        ("{", "line 1 is not JSON"),
    ],
)
def test_one_that_cannot_be_read_is_a_usage_error(bench: Bench, damage: str, message: str) -> None:
    bench.write("llmci-baselines/main/x.json", damage)
    result = bench.suite("echo", "--llmci-baseline")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: --llmci-baseline: llmci-baselines/main/x.json: *{message}*"])
    assert nothing_was_loaded(bench)


def test_the_planner_holds_what_was_chosen(bench: Bench) -> None:
    bench.suite("echo", "--llmci-save-baseline").assert_outcomes(passed=2)
    (path,) = (bench.path / "llmci-baselines" / "main").iterdir()
    bench.write(
        "conftest.py",
        "import pytest\n"
        "from pytest_llmci.plugin import ARMED\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_configure(config):\n"
        "    for name, chosen in config.stash[ARMED].planner.baselines:\n"
        "        print('CHOSEN', name, chosen.path.name, chosen.same_environment, len(chosen.record.sessions))\n",
    )
    relative = f"llmci-baselines/main/{path.name}"
    result = bench.suite("echo", "--llmci-baseline=main", f"--llmci-baseline={relative}", "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"CHOSEN main {path.name} True 1", f"CHOSEN {relative} {path.name} True 1"])


def test_an_old_one_warns(bench: Bench) -> None:
    bench.suite("echo", "--llmci-save-baseline").assert_outcomes(passed=2)
    (path,) = (bench.path / "llmci-baselines" / "main").iterdir()
    text = path.read_text("utf-8")
    path.write_text(re.sub(r'"saved": "[^"]*"', '"saved": "2020-01-01T00:00:00Z"', text), "utf-8")
    result = bench.suite("echo", "--llmci-baseline")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: baseline main is * days old: *--llmci-save-baseline=main"])


def test_the_commands_read_what_sessions_write(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.suite("echo", "--llmci-save-baseline").assert_outcomes(passed=2)
    capsys.readouterr()
    assert main(["baseline", "list"]) == 0
    assert main(["baseline", "show", "main"]) == 0
    shown = capsys.readouterr().out
    assert str(Path("llmci-baselines/main")) in shown
    assert "echo-second  2       1" in shown


def test_options_stand_in_the_help(bench: Bench) -> None:
    text = bench.run("--help").stdout.str()
    for option in ("--llmci-save-baseline", "--llmci-update-baseline", "--llmci-baseline", "--llmci-baselines"):
        assert option in text


@pytest.mark.parametrize("place", ["ini", "table", "variable"])
def test_one_that_the_settings_compare_with_is_made_and_renewed_by_the_commands_that_are_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    models = (
        'llmci_models = ["echo"]\nllmci_suite = ["inference"]\nllmci_prompts = ["prompts.yaml"]\nllmci_rounds = "2"\n'
    )
    text = f"[tool.pytest.ini_options]\n{models}"
    text += (
        'llmci_baseline = ["main"]\n'
        if place == "ini"
        else '[tool.llmci]\nbaseline = "main"\n'
        if place == "table"
        else ""
    )
    bench.write("pyproject.toml", text)
    if place == "variable":
        monkeypatch.setenv("LLMCI_BASELINE", "main")
    missing = bench.run("--llmci")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    command = missing.stderr.str().partition("Make one: ")[2].splitlines()[0]
    assert command.startswith("pytest ") and command.endswith("--llmci --llmci-save-baseline=main")
    made = bench.run(*shlex.split(command)[1:])
    assert made.ret == 0
    assert "there is no baseline main yet: nothing is compared with it" in unwrapped(made)
    assert bench.run("--llmci").ret == 0

    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour.}\n- {id: third, prompt: Name a lake.}\n")
    lost = bench.run("--llmci")
    assert lost.ret == pytest.ExitCode.TESTS_FAILED
    assert "lost coverage: baseline main has echo-second" in unwrapped(lost)
    assert bench.run("--llmci", "--llmci-save-baseline=main").ret == 0, "what the message told to do"
    assert [cell.id for cell in saved(bench).newest.cells] == ["echo-first", "echo-third"]

    bench.write("prompts.yaml", "- {id: fourth, prompt: Name a sea.}\n")
    assert bench.run("--llmci").ret == pytest.ExitCode.USAGE_ERROR
    assert bench.run("--llmci", "--llmci-save-baseline=main").ret == 0
    assert [cell.id for cell in saved(bench).newest.cells] == ["echo-fourth"]


def test_one_that_is_asked_for_on_the_command_line_must_be_there_even_where_it_is_saved(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-baseline", "--llmci-save-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert nothing_was_loaded(bench)
