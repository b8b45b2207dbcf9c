from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from repositories import Repository

from pytest_llmci.errors import ConfigError
from pytest_llmci.store.checkout import PREFIX, Checkout

WHERE = "--llmci-versus"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    made = Repository(tmp_path / "project")
    made.commit("first", {"app.py": "old\n", "sub/deep.py": "old\n", "pyproject.toml": "[project]\nversion = '1'\n"})
    return made


def left_over() -> list[str]:
    return os.listdir(tempfile.gettempdir())


def test_the_files_of_the_commit_are_there_and_go_away(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit("second", {"app.py": "new\n", "added.py": ""})
    with Checkout(repository.folder / "sub", "HEAD~1", WHERE) as checkout:
        assert (checkout.folder / "app.py").read_text() == "old\n"
        assert not (checkout.folder / "added.py").exists()
        assert not checkout.folder.is_relative_to(repository.folder)
        assert checkout.root == repository.folder.resolve()
        assert checkout.facts.commit == first and checkout.facts.subject == "first"
        assert first.startswith(checkout.facts.short)
        assert repository.worktrees() == 2
    assert left_over() == [] and repository.worktrees() == 1
    assert (repository.folder / "app.py").read_text() == "new\n"
    with pytest.raises(ConfigError, match="not checked out"):
        _ = checkout.folder


def test_uncommitted_and_untracked_files_are_changes_and_stay(repository: Repository) -> None:
    repository.put(
        {
            "sub/deep.py": "dirty\n",
            "new file.py": "",
            ".gitignore": "ignored\n",
            "ignored": "",
            "sub/__pycache__/deep.pyc": "",
        }
    )
    repository.git("add", "new file.py")
    with Checkout(repository.folder / "sub", "main", WHERE) as checkout:
        assert checkout.facts.changed == (".gitignore", "new file.py", "sub/deep.py")
        assert (checkout.folder / "sub/deep.py").read_text() == "old\n"
    assert (repository.folder / "sub/deep.py").read_text() == "dirty\n"


def test_commits_on_either_side_are_counted_from_where_they_part(repository: Repository) -> None:
    base = repository.git("rev-parse", "HEAD")
    repository.git("switch", "-q", "-c", "feature")
    repository.commit("mine")
    repository.commit("mine, too")
    repository.git("switch", "-q", "main")
    repository.commit("theirs")
    repository.git("switch", "-q", "feature")
    facts = Checkout(repository.folder, "main", WHERE).facts
    assert (facts.ahead, facts.behind, facts.merge_base) == (2, 1, base)


def test_an_exception_and_ctrl_c_leave_nothing(repository: Repository) -> None:
    with pytest.raises(KeyboardInterrupt), Checkout(repository.folder, "main", WHERE):
        raise KeyboardInterrupt
    assert left_over() == [] and repository.worktrees() == 1


def test_ctrl_c_while_files_are_written_leaves_nothing(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout(repository.folder, "main", WHERE)
    monkeypatch.setattr(Checkout, "_unresolved_pointers", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkout.open()
    assert left_over() == [] and repository.worktrees() == 1


def test_what_a_killed_session_left_is_removed_and_that_of_a_living_one_stays(repository: Repository) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    temporary = Path(tempfile.gettempdir())
    stale, alive = temporary / f"{PREFIX}{ended.pid}-x" / "project", temporary / f"{PREFIX}{os.getpid()}-x" / "project"
    for folder in (stale, alive):
        repository.git("worktree", "add", "-q", "--detach", str(folder), "main")
    with Checkout(repository.folder, "main", WHERE):
        assert repository.worktrees() == 3
        assert not stale.parent.exists() and alive.is_dir()
    assert repository.worktrees() == 2


def test_a_stale_entry_whose_folder_is_gone_is_removed_and_that_of_a_user_is_kept(
    repository: Repository, tmp_path: Path
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale, users = Path(tempfile.gettempdir()) / f"{PREFIX}{ended.pid}-x" / "project", tmp_path / "on-a-usb-stick"
    for folder in (stale, users):
        repository.git("worktree", "add", "-q", "--detach", str(folder), "main")
        shutil.rmtree(folder)
    with Checkout(repository.folder, "main", WHERE):
        pass
    assert "on-a-usb-stick" in repository.git("worktree", "list") and PREFIX not in repository.git("worktree", "list")


def test_variables_of_a_hook_of_another_repository_are_not_heeded(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repository(tmp_path / "other")
    other.commit("of the other one", {"app.py": "other\n"})
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.folder / ".git/index"))
    with Checkout(repository.folder, "main", WHERE) as checkout:
        assert checkout.facts.subject == "first" and checkout.facts.changed == ()
        assert (checkout.folder / "app.py").read_text() == "old\n"


def test_no_hook_of_the_repository_runs(repository: Repository, tmp_path: Path) -> None:
    hook = repository.folder / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with Checkout(repository.folder, "main", WHERE):
        assert not (tmp_path / "ran").exists()


def test_paths_of_the_repository_have_a_counterpart(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository.folder)
    with Checkout(repository.folder, "main", WHERE) as checkout:
        assert checkout.inside(repository.folder / "sub") == checkout.folder / "sub"
        assert checkout.inside(tmp_path / "link" / "sub") == checkout.folder / "sub"
        assert checkout.inside(repository.folder) == checkout.folder
        assert checkout.inside(tmp_path) is None


def test_a_tracked_file_or_folder_is_told_from_one_of_the_disk_alone(repository: Repository) -> None:
    repository.put({"weights/a.bin": ""})
    checkout = Checkout(repository.folder, "main", WHERE)
    assert checkout.is_tracked(checkout.root / "sub") and checkout.is_tracked(checkout.root / "app.py")
    assert not checkout.is_tracked(checkout.root / "weights") and not checkout.is_tracked(
        checkout.root / "weights/a.bin"
    )


# ---------------------------------------------------------------------------------------------------------- bad input


def test_no_git(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ConfigError, match=r"--llmci-versus: the command git is not installed or not on PATH; install it"
    ):
        Checkout(repository.folder, "main", WHERE)


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path} is in no git repository; run pytest within one"):
        Checkout(tmp_path, "main", WHERE)


@pytest.mark.parametrize("revision", ["", " ", "--all", "-q"])
def test_what_cannot_be_a_revision(repository: Repository, revision: str) -> None:
    with pytest.raises(ConfigError, match="names no commit; write a branch, a tag or a commit"):
        Checkout(repository.folder, revision, WHERE)


def test_an_unknown_revision_names_those_that_are_near(repository: Repository) -> None:
    repository.git("tag", "v1.0+cu118")
    with pytest.raises(ConfigError, match=r"no commit 'v1\.0\+cu12'\. Did you mean v1\.0\+cu118\?"):
        Checkout(repository.folder, "v1.0+cu12", WHERE)
    with pytest.raises(ConfigError, match=r"no commit 'zzz'\. Branches and tags here: main, v1\.0\+cu118;"):
        Checkout(repository.folder, "zzz", WHERE)
    assert Checkout(repository.folder, "v1.0+cu118", WHERE).facts.subject == "first"


def test_a_file_is_no_commit(repository: Repository) -> None:
    with pytest.raises(ConfigError, match="no commit 'HEAD:app.py'"):
        Checkout(repository.folder, "HEAD:app.py", WHERE)


def test_a_remote_branch_that_was_not_fetched_and_a_shallow_clone_say_how(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("second")
    repository.git("remote", "add", "origin", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"no commit 'origin/main'\. Run git fetch origin main, or set fetch-depth: 0"
    ):
        Checkout(repository.folder, "origin/main", WHERE)
    repository.git("clone", "-q", "--depth=1", f"file://{repository.folder}", str(tmp_path / "shallow"))
    with pytest.raises(
        ConfigError, match=r"no commit 'HEAD~1'\. The clone is shallow: run git fetch --unshallow, or set"
    ):
        Checkout(tmp_path / "shallow", "HEAD~1", WHERE)
    with pytest.raises(ConfigError, match="The clone is shallow: run git fetch --unshallow origin release, or set"):
        Checkout(tmp_path / "shallow", "origin/release", WHERE)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no commit 'HEAD'"):
        Checkout(Repository(tmp_path / "empty").folder, "HEAD", WHERE)


def test_a_branch_without_a_commit_compares_with_another_one(repository: Repository) -> None:
    repository.git("switch", "-q", "--orphan", "fresh")
    facts = Checkout(repository.folder, "main", WHERE).facts
    assert (facts.ahead, facts.behind, facts.merge_base) == (0, 0, "")


def test_a_temporary_folder_within_the_repository_is_refused(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(repository.folder / "tmp"))
    with pytest.raises(ConfigError, match="lies in the repository; set TMPDIR to one outside"):
        Checkout(repository.folder, "main", WHERE).open()


def test_what_git_says_when_it_cannot_write_is_passed_on(repository: Repository) -> None:
    (repository.folder / ".git/worktrees").write_text("in the way")
    with pytest.raises(ConfigError, match=r"git cannot check out [0-9a-f]+: could not create"):
        Checkout(repository.folder, "main", WHERE).open()
    assert left_over() == []


# ----------------------------------------------------------------------------------------------- submodules and Git LFS


def test_submodules_are_named(repository: Repository, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.commit("first", {"a.py": ""})
    repository.git("submodule", "--quiet", "add", str(other.folder), "vendor/other")
    repository.commit("with a submodule")
    with Checkout(repository.folder, "HEAD", WHERE) as checkout:
        assert checkout.facts.submodules == ("vendor/other",)
        assert list((checkout.folder / "vendor/other").iterdir()) == []
    assert left_over() == [] and repository.worktrees() == 1


def pointer(oid: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n"


def test_pointers_are_named_unless_their_content_is_here(repository: Repository) -> None:
    here, away = "ab" * 32, "cd" * 32
    repository.put({".git/lfs/objects/ab/ab/" + here: "big"})
    repository.commit(
        "weights", {"sub/here.bin": pointer(here), "sub/away.bin": pointer(away), "README": pointer(away)[:60]}
    )
    repository.git("config", "filter.lfs.smudge", 'test "$GIT_LFS_SKIP_SMUDGE" = 1 && cat')  # else it would fetch
    repository.git("config", "filter.lfs.clean", "cat")
    repository.git("config", "filter.lfs.required", "true")
    with Checkout(repository.folder, "HEAD", WHERE) as checkout:
        assert checkout.pointers == (), "without an attribute it is a file like others"
    repository.commit("attributes", {"sub/.gitattributes": "*.bin filter=lfs\n"})
    with Checkout(repository.folder, "HEAD", WHERE) as checkout:
        assert checkout.pointers == ("sub/away.bin",)
        assert (checkout.folder / "sub/here.bin").read_text() == "big"
    assert (repository.folder / ".git/lfs/objects/ab/ab" / here).read_text() == "big"
