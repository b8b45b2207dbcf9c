"""In GitHub Actions: the summary of the job, annotations of failures alone, and the same text for a comment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench import Bench

from pytest_llmci.cli.main import main

FAILS = (
    "- {id: first, prompt: Name a colour., checks: ['contains:100%, of zzz']}\n- {id: second, prompt: Name a river.}\n"
)


@pytest.fixture
def summary(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = bench.path / "step-summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("more", [(), ("-n2",)], ids=["alone", "xdist"])
def test_a_session_adds_itself_to_the_summary_and_annotates_nothing_where_all_passed(
    bench: Bench, summary: Path, more: tuple[str, ...]
) -> None:
    summary.write_text("# Another tool's\n")
    result = bench.suite("echo", *more, fresh=bool(more))
    assert result.ret == 0
    text = summary.read_text("utf-8")
    assert text.startswith("# Another tool's\n\n### llmci: 2 cells passed\n") and text.count("### llmci") == 1
    result.stdout.no_fnmatch_line("::error*")


def test_each_failure_is_annotated_with_what_failed(bench: Bench, summary: Path) -> None:
    bench.write("prompts.yaml", FAILS)
    result = bench.suite("echo")
    assert result.ret == 1
    (line,) = [line for line in result.outlines if line.startswith("::error")]
    assert line.startswith("::error title=pytest-llmci::echo-first: contains:100%25, of zzz: ")
    assert "1 of 2 cells failed" in summary.read_text("utf-8")


def test_at_most_ten_annotations_are_made_and_the_rest_is_counted(bench: Bench, summary: Path) -> None:
    bench.write(
        "prompts.yaml",
        "".join(f"- {{id: p{number}, prompt: Say {number}., checks: 'contains:zzz'}}\n" for number in range(12)),
    )
    lines = [line for line in bench.suite("echo", "--llmci-rounds=1").outlines if line.startswith("::error")]
    assert len(lines) == 10 and "3 more failures" in lines[-1]


def test_elsewhere_nothing_of_it_happens(bench: Bench) -> None:
    bench.write("prompts.yaml", FAILS)
    result = bench.suite("echo")
    result.stdout.no_fnmatch_line("::error*")
    assert not list(bench.path.glob("*.md"))


def test_a_summary_that_cannot_be_written_is_a_warning(bench: Bench, summary: Path) -> None:
    summary.mkdir()
    result = bench.suite("echo")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: GITHUB_STEP_SUMMARY: *cannot be written*"])


def test_the_sink_writes_the_same_for_a_comment_anew_each_time(
    bench: Bench, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.suite("echo", "--llmci-sink=markdown:out/comment.md").ret == 0
    comment = bench.path / "out/comment.md"
    assert comment.read_text("utf-8") == summary.read_text("utf-8")
    monkeypatch.chdir(bench.path)
    assert main(["report", "latest", "--sink", "markdown:out/comment.md"]) == 0
    assert comment.read_text("utf-8") == summary.read_text("utf-8")
    assert main(["report", "latest", "--sink", f"markdown:{os.curdir}"]) == 4


def test_withheld_texts_stay_out_of_it(bench: Bench, summary: Path) -> None:
    bench.write("prompts.yaml", FAILS)
    result = bench.suite("echo", "--llmci-redact")
    assert "colour" not in summary.read_text("utf-8")
    assert not [line for line in result.outlines if line.startswith("::error") and "colour" in line]
