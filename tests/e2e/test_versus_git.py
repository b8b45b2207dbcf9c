"""``--llmci-versus=git:REV``: the repository's own code at another commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench import Bench, unwrapped
from repositories import Repository
from timing import on_real_time

pytestmark = on_real_time

PIPELINE = "import time\n\n\ndef answer(prompt):\n    time.sleep({seconds})\n    return 'an answer to ' + prompt\n"
ASKED = ("--llmci-max-rounds=5", "--llmci-detect=20%")


@pytest.fixture
def project(bench: Bench) -> Bench:
    """A project whose pipeline takes 60 ms at its only commit."""
    bench.write("app/__init__.py", "")
    bench.write("app/bot.py", PIPELINE.format(seconds=0.06))
    bench.write(
        "pyproject.toml",
        '[tool.llmci]\nmodels = ["bot=py:app.bot:answer"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\n',
    )
    bench.write(".gitignore", "__pycache__/\n*.pyc\nrunpytest-*\nstderr\nstdout\ntiming.lock*\n")
    repository = Repository(bench.path)
    repository.commit("first")
    return bench


def verdicts(bench: Bench) -> dict[str, list[tuple[str, str]]]:
    return {
        record["cell"]: [(result["metric"], result["verdict"]) for result in record["comparisons"]]
        for record in bench.records("verdict")
    }


def run(project: Bench, *more: str, **how: Any) -> pytest.RunResult:
    return project.run("--llmci", "--llmci-versus=git:HEAD", *ASKED, *more, **how)


def test_slower_code_in_the_working_tree_is_found(project: Bench) -> None:
    project.write("app/bot.py", PIPELINE.format(seconds=0.1))
    result = run(project, fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [
            r"llmci: HEAD is .* 'first'; 1 changed file in.*",
            r"RegressionDetected: net time 6\d.* % slower than HEAD.*",
        ]
    )
    files = [worker["info"]["module_files"] for worker in project.records("worker") if worker["role"] == "reference"]
    assert all("llmci-git-" in file for each in files for file in each.values())
    left = [line for line in project.pytester.run("git", "worktree", "list").outlines if line]
    assert len(left) == 1, "the worktree is removed"


def test_code_that_is_as_fast_passes(project: Bench) -> None:
    project.write("app/bot.py", PIPELINE.format(seconds=0.06) + "# a word\n")
    assert run(project, fresh=True).ret == 0
    assert verdicts(project)["bot-first"] == [("net_time", "pass"), ("peak_rss", "pass")]


def test_without_any_difference_there_is_nothing_to_compare(project: Bench) -> None:
    result = run(project, fresh=True)
    assert result.ret == 0
    result.stdout.re_match_lines([r"llmci: nothing to compare with HEAD: .*"])
    assert verdicts(project) == {"bot-first": [], "bot-second": []}


@pytest.mark.parametrize("only", [("-k", "first"), ("inference::bot-first",)], ids=["keyword", "node id"])
def test_prompts_that_are_only_left_out_are_not_told_to_be_gone(project: Bench, only: tuple[str, ...]) -> None:
    assert "no more" not in unwrapped(run(project, *only, fresh=True))
    project.write("prompts.yaml", "- {id: first, prompt: Name a colour.}\n")
    assert "llmci: prompts that are no more: second" in unwrapped(run(project, *only, fresh=True))


def test_a_new_prompt_is_measured_and_not_compared(project: Bench) -> None:
    project.write("app/bot.py", PIPELINE.format(seconds=0.06) + "# a word\n")
    project.write("prompts.yaml", "- {id: first, prompt: Name a colour.}\n- {id: third, prompt: Name a lake.}\n")
    result = run(project, fresh=True)
    assert result.ret == 0
    assert [bool(found) for _, found in sorted(verdicts(project).items())] == [True, False]


def test_a_session_whose_tagged_prompts_are_all_new_compares_nothing_and_says_so(project: Bench) -> None:
    project.write("app/bot.py", PIPELINE.format(seconds=0.1))
    project.write(
        "prompts.yaml", "- {id: first, prompt: Name a colour.}\n- {id: third, prompt: Name a lake., tags: [gate]}\n"
    )
    result = run(project, fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: --llmci-versus: nothing would be compared: HEAD has none of the prompts.*"])
    assert run(project, "-n2", fresh=True).ret == pytest.ExitCode.USAGE_ERROR
    assert len(project.pytester.run("git", "worktree", "list").outlines) == 1, "parallel workers clean up as well"


def test_another_text_of_a_prompt_is_not_comparable(project: Bench) -> None:
    project.write("prompts.yaml", "- {id: first, prompt: Name a colour or two.}\n")
    result = run(project, fresh=True)
    result.stdout.re_match_lines([r".*the prompt is another one on the.*"])
    assert verdicts(project)["bot-first"] == [("latency", "not comparable")]


def test_each_parallel_worker_has_its_own_files_of_the_commit(
    project: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    project.write("app/bot.py", PIPELINE.format(seconds=0.1))
    result = run(project, "-n2", fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {found for cell in verdicts(project).values() for found in cell if found[0] == "net_time"} == {
        ("net_time", "regressed")
    }  # fmt: skip
    assert not list((tmp_path / "temporary").glob("llmci-git-*"))


def test_a_revision_that_is_not_there_is_one_line(project: Bench) -> None:
    result = project.run("--llmci", "--llmci-versus=git:nosuch")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: --llmci-versus=git:nosuch: .*"])


def test_nothing_is_checked_out_where_nothing_runs(project: Bench) -> None:
    result = project.run("--llmci", "--llmci-versus=git:HEAD", "--collect-only")
    assert result.ret == 0
    assert "nothing to compare" not in result.stdout.str()


def test_a_module_that_only_an_answer_imports_must_be_of_the_commit_too(project: Bench) -> None:
    project.write("app/late.py", "WORD = 'old'\n")
    lazy = "import sys\n\n\ndef answer(prompt):\n    sys.path.insert(0, {root!r})\n    sys.modules.pop('stray', None)\n    import stray\n\n    return stray.WORD\n"
    project.write("stray/stray.py", "WORD = 'today'\n")
    project.write("app/bot.py", lazy.format(root=str(project.path / "stray")))
    Repository(project.path).commit("second")
    project.write("app/bot.py", lazy.format(root=str(project.path / "stray")) + "# a word\n")
    result = run(project, fresh=True)
    result.stdout.re_match_lines([r".*its module 'stray' was loaded from.*"])
    assert {found for cell in verdicts(project).values() for found in cell} == {("latency", "not comparable")}


def test_the_prompts_of_a_test_file_are_those_of_the_commit(project: Bench) -> None:
    """Two tests may call different prompts alike; each is compared with its own of then, and what is decoded is as the test says."""
    tests = (
        "temperature: 0.5\nseed: 3\ntests:\n  - name: a\n    prompts: [{id: same, prompt: One.}]\n"
        "  - name: b\n    prompts:\n      - {id: same, prompt: Two.}\n"
    )
    project.write("test_it.llm.yaml", tests)
    Repository(project.path).commit("tests")
    project.write("app/bot.py", PIPELINE.format(seconds=0.06) + "# a word\n")
    project.write("test_it.llm.yaml", tests + "      - {id: new, prompt: Three.}\n")
    run(project, "test_it.llm.yaml", fresh=True)
    compared = {record["test"] for record in project.records("verdict") if record["comparisons"]}
    assert {test for test in compared if "llm.yaml" in test} == {
        "test_it.llm.yaml::a[bot-same]", "test_it.llm.yaml::b[bot-same]",
    }  # fmt: skip
    blocks = [
        block for block in project.records("rounds") if "llm.yaml" in block["test"] and block["origin"] == "reference"
    ]
    assert {(block["test"], block["prompt"]) for block in blocks} == {
        ("test_it.llm.yaml::a[bot-same]", "One."), ("test_it.llm.yaml::b[bot-same]", "Two."),
    }  # fmt: skip
    assert {(block["generation"]["temperature"], block["generation"]["seed"]) for block in blocks} == {(0.5, 3)}
