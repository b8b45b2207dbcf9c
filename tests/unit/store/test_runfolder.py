from __future__ import annotations

import os
import re
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sample_run import usual_records, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import ConfigError, StoreError
from pytest_llmci.store.runfolder import (
    create_run_folder,
    discard_run_folder,
    list_runs,
    models_wrote,
    publish_latest,
    replacing,
    resolve_run,
)
from pytest_llmci.store.verify import verify_log

FIRST, SECOND, THIRD = "20260101T000000Z-aaaaaa", "20260101T000000Z-ab0000", "20260102T000000Z-cccccc"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Three runs, two of them of one second; the one that sorts first by name ended last of the two."""
    for age, name in ((5, SECOND), (4, FIRST), (3, THIRD)):
        (tmp_path / name).mkdir()
        log = write_log(tmp_path / name, [])
        os.utime(log, ns=(0, 10**18 - age * 10**9))
    (tmp_path / "20260103T000000Z-dddddd").mkdir()  # a session that died before its first line
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_run_folder_is_named_by_time_and_ignored_by_git(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "results"
    run = create_run_folder(output, FakeClock(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)))
    assert run.parent == output
    assert re.fullmatch(r"20260304T050607Z-[0-9a-f]{6}", run.name)
    assert (output / ".gitignore").read_text() == "*\n"
    assert sorted(entry.name for entry in run.iterdir()) == ["spool", "workers"]
    assert create_run_folder(output, FakeClock(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))) != run


def test_a_discarded_run_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    kept, run = (create_run_folder(tmp_path, FakeClock()) for _ in range(2))
    (run / "spool" / "gw0.jsonl").write_text("{}\n")
    discard_run_folder(run)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".gitignore", kept.name]
    discard_run_folder(run)  # again: nothing to do


def test_whether_a_model_wrote_anything(tmp_path: Path) -> None:
    run = create_run_folder(tmp_path, FakeClock())
    assert not models_wrote(run)
    log = run / "workers" / "echo-1.log"
    log.write_text("")
    assert not models_wrote(run)
    log.write_text("no such weights\n")
    assert models_wrote(run)
    discard_run_folder(run)
    assert not models_wrote(run)


def test_a_gitignore_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    create_run_folder(tmp_path, FakeClock())
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


@pytest.mark.parametrize(("other", "written"), [("", True), ("notes.txt", False), ("latest", False)])
def test_a_folder_of_our_runs_alone_is_ignored_by_git(tmp_path: Path, other: str, written: bool) -> None:
    run = create_run_folder(tmp_path, FakeClock())
    write_log(run, [])
    if other != "latest":
        publish_latest(run)
    (tmp_path / ".gitignore").unlink()
    if other:
        (tmp_path / other).write_text("mine")
    create_run_folder(tmp_path, FakeClock())
    assert (tmp_path / ".gitignore").exists() is written


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        create_run_folder(tmp_path / "file" / "results", FakeClock())
    message = str(caught.value)
    assert str(tmp_path / "file") in message
    assert "Not a directory" in message
    assert message.endswith("--llmci-output DIR.")
    assert "\n" not in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        create_run_folder(tmp_path / "results", FakeClock())


def test_runs_are_listed_oldest_first(output: Path) -> None:
    assert [run.name for run in list_runs(output)] == [SECOND, FIRST, THIRD]
    assert list_runs(output / "nowhere") == []


def test_a_run_that_another_session_discards_meanwhile_is_not_listed(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file = Path.is_file

    def last_seen(path: Path) -> bool:
        found = is_file(path)
        if path.parent.name == FIRST:
            discard_run_folder(path.parent)
        return found

    monkeypatch.setattr(Path, "is_file", last_seen)
    assert [run.name for run in list_runs(output)] == [SECOND, THIRD]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("latest", THIRD),
        ("latest~0", THIRD),
        ("latest~1", FIRST),
        ("latest~2", SECOND),
        ("20260102", THIRD),
        (FIRST, FIRST),
        ("aaa", FIRST),
        ("ab", SECOND),
        ("cccccc", THIRD),
    ],
)
def test_a_run_is_found_by_what_a_person_writes(output: Path, text: str, name: str) -> None:
    assert resolve_run(text, output) == output / name


def test_a_run_is_found_by_path(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(output)
    for text in (str(output / FIRST), str(output / FIRST / "log.jsonl"), f"./{FIRST}"):
        assert resolve_run(text, Path("elsewhere")).resolve() == (output / FIRST).resolve()


def test_a_folder_of_runs_is_told_from_one_that_is_not_there(output: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"'{output}' is a folder of runs, and no run: .* '{output / THIRD}', or .* --output"
    ):
        resolve_run(str(output), Path("elsewhere"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", f"run 'a' is ambiguous in '.*': {SECOND}, {FIRST}. Give more of the name"),
        ("2026", f"ambiguous .*: {SECOND}, {FIRST}, {THIRD}"),
        ("zz", f"no run 'zz' .* It holds {THIRD}, {FIRST}, {SECOND}"),
        ("latest~3", f"no run 'latest~3' in .* It holds {THIRD}"),
        ("", "no run ''"),
        ("notes", "no run 'notes'"),
    ],
)
def test_a_run_that_is_not_found_lists_what_is_there(output: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_run(text, output)


def test_an_empty_output_says_how_to_make_a_run(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="It holds no run: give another folder with --output DIR .pytest: --llmci-output., or"
    ):
        resolve_run("latest", tmp_path)


def test_many_candidates_are_cut_short(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"20260101T00000{number}Z-aaaaaa").mkdir()
        write_log(tmp_path / f"20260101T00000{number}Z-aaaaaa", [])
    with pytest.raises(ConfigError, match="and 3 more"):
        resolve_run("2026", tmp_path)


def test_latest_is_a_real_copy_without_the_spool(tmp_path: Path) -> None:
    run = create_run_folder(tmp_path, FakeClock())
    write_log(run, usual_records())
    (run / "spool" / "gw0.jsonl").write_text("{}\n")
    (run / "workers" / "a-1.log").write_text("hello")
    latest = publish_latest(run)
    assert latest == tmp_path / "latest"
    assert not latest.is_symlink()
    assert sorted(str(path.relative_to(latest)) for path in latest.rglob("*")) == [
        "log.jsonl",
        "workers",
        "workers/a-1.log",
    ]
    assert verify_log(latest / "log.jsonl").ok


def test_latest_alone_is_found(tmp_path: Path) -> None:
    run = create_run_folder(tmp_path / "there", FakeClock())
    write_log(run, [])
    here = tmp_path / "here"
    here.mkdir()
    publish_latest(run).rename(here / "latest")
    assert resolve_run("latest", here) == here / "latest"
    with pytest.raises(ConfigError):
        resolve_run("latest~1", here)


def test_a_finished_run_whose_log_was_removed_is_not_passed_over(tmp_path: Path) -> None:
    older, newest = (tmp_path / f"2026010{day}T000000Z-aaaaaa" for day in (1, 2))
    for run in (older, newest):
        run.mkdir()
        write_log(run, [])
        publish_latest(run)
    (newest / "log.jsonl").unlink()
    assert resolve_run("latest", tmp_path) == older  # as where a session is only beginning
    (newest / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"is {newest.name}, and its log\.jsonl was removed: name another run"):
        resolve_run("latest", tmp_path)
    assert resolve_run(str(tmp_path / "latest"), tmp_path) == tmp_path / "latest"


def test_latest_is_replaced_as_a_whole_while_somebody_reads_it(tmp_path: Path) -> None:
    first, second = create_run_folder(tmp_path, FakeClock()), create_run_folder(tmp_path, FakeClock())
    write_log(first, [])
    (first / "only-in-the-first.csv").write_text("old")
    write_log(second, usual_records())
    publish_latest(first)
    with (tmp_path / "latest" / "only-in-the-first.csv").open() as reader:
        publish_latest(second)
        assert reader.read() == "old"
    assert not (tmp_path / "latest" / "only-in-the-first.csv").exists()
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".latest")] == []


def test_a_copy_that_was_left_half_made_is_replaced(tmp_path: Path) -> None:
    run = create_run_folder(tmp_path, FakeClock())
    write_log(run, [])
    (tmp_path / f".latest-{run.name}").mkdir()
    (tmp_path / f".latest-{run.name}-old").mkdir()
    publish_latest(run)
    assert verify_log(tmp_path / "latest" / "log.jsonl").ok
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([".gitignore", run.name, "latest"])


@pytest.mark.parametrize("what", ["folder", "foreign log", "file", "link"])
def test_what_is_the_users_in_the_place_of_latest_stays(tmp_path: Path, what: str) -> None:
    run = create_run_folder(tmp_path, FakeClock())
    write_log(run, [])
    latest = tmp_path / "latest"
    if what == "file":
        latest.write_text("precious")
    elif what == "link":
        latest.symlink_to(run.name)
    else:
        latest.mkdir()
        (latest / ("log.jsonl" if what == "foreign log" else "data.txt")).write_text("precious")
    with pytest.raises(StoreError, match="latest is no copy of a run and was left alone: rename it, or give") as caught:
        publish_latest(run)
    assert "\n" not in str(caught.value)
    if what == "link":
        assert latest.is_symlink()
    else:
        kept = [latest] if what == "file" else list(latest.iterdir())
        assert [path.read_text() for path in kept] == ["precious"]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".latest")] == []


def test_sessions_that_end_together_leave_one_whole_copy(tmp_path: Path) -> None:
    runs = [create_run_folder(tmp_path, FakeClock()) for _ in range(6)]
    for run in runs:
        write_log(run, usual_records())
    failures: list[Exception] = []

    def publish(run: Path) -> None:
        try:
            publish_latest(run)
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert verify_log(tmp_path / "latest" / "log.jsonl").ok
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".latest")] == []


def test_a_copy_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the copy of gone could not be made"):
        publish_latest(tmp_path / "gone")


def test_a_copy_that_fails_in_every_file_tells_the_first_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, **_: object) -> None:
        names = ("log.jsonl", "results.csv")
        raise shutil.Error([(str(source / name), str(target / name), f"no room for {name}") for name in names])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StoreError, match=r"latest: the copy of run could not be made: no room for log\.jsonl\.$"):
        publish_latest(tmp_path / "run")


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines(["half", None])  # type: ignore[list-item]  # fails in the middle
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]
    assert path.read_text() == "old"
    with replacing(path) as stream:
        stream.write("a\r\nb \udc80 ü")
        assert path.read_text() == "old"
    assert path.read_bytes() == b"a\r\nb \\udc80 \xc3\xbc"
