from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from stored_runs import block, judged, simple, started, write_run

from pytest_llmci.engine.comparisons.release_gate import ReleaseJudgement, judge_newest, pinned_spec, rollback_lines
from pytest_llmci.engine.comparisons.stored_run import StoredModel, StoredRun, read_run
from pytest_llmci.errors import ConfigError
from pytest_llmci.records import ModelSpec
from pytest_llmci.store.comparability import Part


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commits of a repository with the tags v1 on the first and v2 (annotated) on the second; its folder is the working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def git(*arguments: str) -> str:
        who = (
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.org",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "tag.gpgsign=false",
        )
        done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    commits = []
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number))
        commits.append(git("rev-parse", "HEAD"))
    git("tag", "v1", commits[0])
    git("tag", "-a", "v2", "-m", "two", commits[1])
    return commits


def run(
    output: Path, number: int, commit: str = "", *, dirty: bool = False, records: list[Any] | None = None
) -> StoredRun:
    git = {"commit": commit, "branch": "main", "dirty": dirty} if commit else None
    return read_run(write_run(output, number, records or simple(seed=number), environment={"git": git}))


def judge(runs: list[StoredRun], output: Path, **options: Any) -> ReleaseJudgement:
    return judge_newest(runs, output=output, **options)


# ----------------------------------------------------------------------------------------------------- which release


def test_the_newest_run_of_a_tagged_commit_is_the_release(tmp_path: Path, tags: list[str]) -> None:
    runs = [run(tmp_path, 0, tags[0]), run(tmp_path, 1, tags[1]), run(tmp_path, 2, tags[2]), run(tmp_path, 3, tags[2])]
    found = judge(runs, tmp_path).release
    assert ([each.run_id for each in found.runs], found.why) == ([runs[1].run_id], "the newest with a tag, v2")


def test_all_clean_runs_of_the_release_tell_how_sessions_differ(tmp_path: Path, tags: list[str]) -> None:
    runs = [
        run(tmp_path, 0, tags[0]),
        run(tmp_path, 1, tags[0]),
        run(tmp_path, 2, tags[0], dirty=True),
        run(tmp_path, 3, tags[0]),
        run(tmp_path, 4, tags[2]),
    ]
    found = judge(runs, tmp_path)
    assert [each.run_id for each in found.release.runs] == [runs[number].run_id for number in (0, 1, 3)]
    assert found.found.mode == "history"


def test_without_a_tagged_run_the_oldest_is_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no repository
    runs = [run(tmp_path, number, f"{number + 1}" * 40) for number in range(3)]
    found = judge(runs[::-1], tmp_path).release
    assert ([each.run_id for each in found.runs], found.why) == (
        [runs[0].run_id], "the oldest, as no older run measured a tagged commit"
    )  # fmt: skip


def test_a_release_may_be_named_by_tag_or_run(tmp_path: Path, tags: list[str]) -> None:
    runs = [run(tmp_path, 0, tags[0]), run(tmp_path, 1, tags[1]), run(tmp_path, 2, tags[2])]
    assert judge(runs, tmp_path, release="v1").release.runs[-1].run_id == runs[0].run_id
    named = judge(runs, tmp_path, release=runs[1].run_id).release
    assert (named.runs[-1].run_id, named.why) == (runs[1].run_id, "named with --release")


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("v2", r"none of 1 older runs measured v2 \(commit "),
        ("v9", "no run 'v9' in"),
        ("latest", "is the newest run itself: name an older one"),
    ],
)
def test_a_release_that_is_not_there(tmp_path: Path, tags: list[str], release: str, words: str) -> None:
    output = tmp_path / "runs"
    with pytest.raises(ConfigError, match=words):
        judge([run(output, 0, tags[0]), run(output, 1, tags[2])], output, release=release)


def test_a_single_run_has_no_release(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is one run only"):
        judge([run(tmp_path, 0)], tmp_path)


# --------------------------------------------------------------------------------------------------------------- drift


def other_answers(**info: Any) -> list[Any]:
    changed: dict[str, Any] = {"outputs": ["other"], "output_sha256": ["f" * 64]}
    return [started(info=info), block(**changed), block("dns"), judged(), judged("dns")]


def test_answers_that_change_for_no_known_reason_fail(tmp_path: Path) -> None:
    found = judge([run(tmp_path, 0), run(tmp_path, 1, records=other_answers())], tmp_path)
    ((alias, drift),) = found.drift
    assert (alias, drift.verdict) == ("a", "regressed")
    assert drift.reason == "1 of 2 cells answer otherwise (a-tcp); nothing that is known of changed"
    assert found.failed and not found.found.failed


def test_answers_that_another_model_or_commit_may_explain_are_undecided(tmp_path: Path) -> None:
    found = judge(
        [run(tmp_path, 0, "1" * 40), run(tmp_path, 1, "2" * 40, records=other_answers(dtype="bfloat16"))], tmp_path
    )
    ((_, drift),) = found.drift
    assert drift.verdict == "inconclusive"
    assert drift.reason.endswith("commit, dtype may be why")
    assert found.undecided and not found.failed


def test_answers_that_vary_by_themselves_do_not_drift(tmp_path: Path) -> None:
    varied: dict[str, Any] = {
        "outputs": ["x", "y"],
        "md5": ["0", "1"],
        "output_sha256": ["x", "y"],
        "output_of_round": [0, 1] * 5,
    }
    before = [started(), block(**varied), block("dns", **varied), judged(), judged("dns")]
    found = judge([run(tmp_path, 0, records=before), run(tmp_path, 1, records=other_answers())], tmp_path)
    assert found.drift == ()


# ------------------------------------------------------------------------------------------------------------ the way back


def test_the_way_back_names_commit_and_pinned_models(tmp_path: Path) -> None:
    spec = ModelSpec(
        alias="a", backend="transformers", target="org/name", text="a=org/name", options={"dtype": "float32"}
    )
    before = [started(spec=spec), *simple()[1:]]
    found = judge(
        [run(tmp_path, 0, "1" * 40, records=before), run(tmp_path, 1, "2" * 40, records=simple(factor=3.0))], tmp_path
    )
    assert found.failed
    lines = rollback_lines(found)
    assert lines[0].startswith("git checkout 111111111111 ")
    assert lines[1].startswith("git revert --no-edit 111111111111..222222222222 ")
    assert lines[2].startswith("pytest --llmci --llm-models=a=transformers:org/name@r1+dtype=float32 ")


def test_the_same_commit_has_no_code_to_go_back_to(tmp_path: Path) -> None:
    found = judge([run(tmp_path, 0, "1" * 40), run(tmp_path, 1, "1" * 40, records=simple(factor=3.0))], tmp_path)
    assert not any(line.startswith("git") for line in rollback_lines(found))


def test_a_branch_is_pinned_to_the_commit_that_was_loaded() -> None:
    spec = ModelSpec(alias="a", backend="hf", target="org/name", revision="main", text="a=hf:org/name@main")
    for loaded, wanted in (("c" * 40, "a=hf:org/name@" + "c" * 40), (None, "a=hf:org/name@main")):
        model = StoredModel(spec=spec, subject=Part({"revision": loaded}), environment=Part({}), on_cpu=True)
        assert pinned_spec(model).text == wanted
