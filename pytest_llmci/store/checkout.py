"""Another commit of the repository, as files: a detached worktree in a private folder, removed when it is no longer needed.

Nothing is fetched, no hook of the repository runs, and what the environment says of another repository (``GIT_DIR`` while a
hook runs pytest) is not heeded. The working tree is left as it is: with its uncommitted and untracked files it is the candidate.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ..errors import ConfigError
from ..text import one_line
from .dependencies import dependency_files

PREFIX: Final = "llmci-git-"
"""Of the private folder, followed by the process that made it: one that died leaves its folder to the next."""
_LFS_MARK: Final = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_OBJECT: Final = re.compile(rb"^oid sha256:(?P<oid>[0-9a-f]{64})$", re.MULTILINE)
_LONGEST_POINTER: Final = 1024
_ELSEWHERE: Final = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR",
    "GIT_NAMESPACE", "GIT_PREFIX", "GIT_INTERNAL_SUPER_PREFIX", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG", "GIT_EXTERNAL_DIFF",
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
"""Variables that would have git look at another repository, or in another way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What distinguishes a commit from the working tree."""

    commit: str
    short: str
    """As git abbreviates it."""
    subject: str
    """First line of its message."""
    merge_base: str
    """Newest commit that it and HEAD have in common; empty without one."""
    ahead: int
    """Commits that HEAD has and it has not."""
    behind: int
    """Commits that it has and HEAD has not."""
    changed: tuple[str, ...]
    """Files that differ from the working tree, untracked ones included; paths from the top of the repository, with slashes."""
    dependencies: tuple[str, ...]
    """Those of ``changed`` that say which packages are installed."""
    submodules: tuple[str, ...]
    """Folders that git leaves empty in the worktree."""


class Checkout:
    """A commit of the repository around a folder; its files are there from :meth:`open` to :meth:`close`.

    :param start: a folder within the repository.
    :param revision: whatever git takes for a commit, such as ``origin/main`` or ``HEAD~1``.
    :param where: what named the revision, for messages: ``--llmci-versus=git:origin/main``.
    :raises ConfigError: if git is missing, ``start`` is in no repository, or it has no such commit.
    """

    def __init__(self, start: Path, revision: str, where: str) -> None:
        self._where = where
        self.revision = revision
        if shutil.which("git") is None:
            raise ConfigError(
                f"{where}: the command git is not installed or not on PATH; install it to compare with a commit."
            )
        self.root = Path(self._top(start))
        self.facts = self._facts(self._commit())
        self._private: Path | None = None
        self._folder: Path | None = None
        self.pointers: tuple[str, ...] = ()
        """Files in the worktree of which there is only the pointer of Git LFS, as long as it is open."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ the files

    @property
    def folder(self) -> Path:
        """Top of the worktree.

        :raises ConfigError: if it is not open.
        """
        if self._folder is None:
            raise ConfigError(f"{self._where}: the files of the commit are not checked out.")
        return self._folder

    def open(self) -> Path:
        """Write the files of the commit.

        :returns: the folder; the same one until it is closed.
        :raises ConfigError: if they cannot be written.
        """
        if self._folder is None:
            self._remove_stale()
            try:
                self._add()
            except BaseException:  # Ctrl-C as well
                self.close()
                raise
        return self.folder

    def _add(self) -> None:
        temporary = Path(tempfile.gettempdir()).resolve()
        if temporary.is_relative_to(self.root):
            raise ConfigError(
                f"{self._where}: the folder for temporary files, {temporary}, lies in the repository; set TMPDIR to one outside."
            )
        self._private = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=temporary))
        folder = self._private / (self.root.name or "repository")
        # Git LFS would fetch; a hook may do anything.
        done = self._run(
            "-c",
            f"core.hooksPath={os.devnull}",
            "worktree",
            "add",
            "--detach",
            "--force",
            str(folder),
            self.facts.commit,
        )
        if done.returncode != 0:
            raise ConfigError(f"{self._where}: git cannot check out {self.facts.short}: {_complaint(done)}.")
        self._folder = folder
        self.pointers = tuple(self._unresolved_pointers())

    def close(self) -> None:
        """Remove the files; safe to call twice."""
        private, self._private, self._folder, self.pointers = self._private, None, None, ()
        if private is not None:
            self._remove(private / (self.root.name or "repository"), private)

    def _remove(self, folder: Path, private: Path) -> None:
        """``worktree remove`` takes what git notes of it along; ``worktree prune`` would forget others' on absent drives, too."""
        self._run("worktree", "remove", "--force", "--force", str(folder))
        shutil.rmtree(private, ignore_errors=True)

    def _remove_stale(self) -> None:
        """Worktrees of sessions that were killed."""
        for line in self._text("worktree", "list", "--porcelain").splitlines():
            folder = Path(line.removeprefix("worktree "))
            match = re.match(rf"{PREFIX}(?P<pid>\d+)-", folder.parent.name)
            if line.startswith("worktree ") and match and not _is_alive(int(match["pid"])):
                self._remove(folder, folder.parent)

    def inside(self, path: Path) -> Path | None:
        """Where a path of the repository is in the worktree; None for a path outside of the repository."""
        name = self._name(path)
        return None if name is None else self.folder / name

    def is_tracked(self, path: Path) -> bool:
        """Whether the repository holds a file, or a file below a folder, as it stands today."""
        name = self._name(path)
        return name is not None and bool(self._text("ls-files", "-z", "--", f":(top,literal){name.as_posix()}"))

    def _name(self, path: Path) -> Path | None:
        for each in (Path(os.path.abspath(path)), path.resolve()):
            if each.is_relative_to(self.root):
                return each.relative_to(self.root)
        return None

    def _unresolved_pointers(self) -> Iterator[str]:
        """Files that Git LFS keeps elsewhere and that are not on this machine; those that are here are linked to."""
        marked = self._run("grep", "-q", "-F", "filter=lfs", self.facts.commit, "--", ":(top,glob)**/.gitattributes")
        if marked.returncode != 0:
            return
        objects = (
            Path(self._text("rev-parse", "--path-format=absolute", "--git-common-dir").strip()) / "lfs" / "objects"
        )
        for name in self._names("ls-files", "-z", folder=self.folder):
            file = self.folder / name
            oid = _pointed_at(file)
            if oid and not _link(file, objects / oid[:2] / oid[2:4] / oid):
                yield name

    # ------------------------------------------------------------------------------------------------------ the facts

    def _top(self, start: Path) -> str:
        done = _git(start, "rev-parse", "--show-toplevel")
        if done.returncode == 0:
            return done.stdout.rstrip("\n")
        if "dubious ownership" in done.stderr:
            raise ConfigError(
                f"{self._where}: git does not trust the repository around {start}, which belongs to another user; run:"
                f" git config --global --add safe.directory {start}."
            )
        if "not a git repository" in done.stderr:
            raise ConfigError(
                f"{self._where}: {start} is in no git repository; run pytest within one, or compare with another spec or a baseline."
            )
        raise ConfigError(f"{self._where}: git cannot read the repository around {start}: {_complaint(done)}.")

    def _commit(self) -> str:
        if not self.revision.strip() or self.revision.startswith("-"):
            raise ConfigError(
                f"{self._where}: '{self.revision}' names no commit; write a branch, a tag or a commit, such as git:origin/main."
            )
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self.revision}^{{commit}}")
        if done.returncode != 0:
            raise ConfigError(f"{self._where}: this clone has no commit '{one_line(self.revision)}'.{self._hint()}")
        return done.stdout.strip()

    def _hint(self) -> str:
        """What to do about a commit that is not there."""
        remote, slash, branch = self.revision.partition("/")
        is_remote = bool(slash) and remote in self._text("remote").split()
        if self._text("rev-parse", "--is-shallow-repository").strip() == "true":
            fetch = f"git fetch --unshallow {remote} {branch}" if is_remote else "git fetch --unshallow"
            return f" The clone is shallow: run {fetch}, or set fetch-depth: 0 for actions/checkout."
        if is_remote:
            return f" Run git fetch {remote} {branch}, or set fetch-depth: 0 for actions/checkout."
        names = self._text(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
        ).split("\n")
        near = difflib.get_close_matches(self.revision, names, n=3, cutoff=0.5)
        if near:
            return f" Did you mean {' or '.join(near)}?"
        there = ", ".join(name for name in names[:5] if name)
        return f" Branches and tags here: {there or 'none'}; git log --oneline lists commits."

    def _facts(self, commit: str) -> Facts:
        has_head = self._run("rev-parse", "--verify", "--quiet", "HEAD").returncode == 0
        ahead, behind = (
            self._text("rev-list", "--left-right", "--count", f"HEAD...{commit}").split() if has_head else ("0", "0")
        )
        changed = self._changed(commit)
        return Facts(
            commit=commit,
            short=self._text("rev-parse", "--short", commit).strip(),
            subject=one_line(self._text("show", "-s", "--format=%s", commit)),
            merge_base=self._run("merge-base", "HEAD", commit).stdout.strip(),
            ahead=int(ahead),
            behind=int(behind),
            changed=changed,
            dependencies=dependency_files(changed, lambda name: self._at(commit, name), self._today),
            submodules=tuple(self._submodules(commit)),
        )

    def _changed(self, commit: str) -> tuple[str, ...]:
        diff = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-relative", "-z", commit, "--")
        untracked = self._names("ls-files", "--others", "--exclude-standard", "-z")
        compiled = {
            name for name in untracked if name.endswith(".pyc")
        }  # what Python left where no .gitignore hides it
        return tuple(sorted({*self._names(*diff), *untracked} - compiled))

    def _submodules(self, commit: str) -> Iterator[str]:
        for row in self._names("ls-tree", "-r", "-z", "--full-tree", commit):
            facts, _, name = row.partition("\t")
            if facts.startswith("160000 "):
                yield name

    def _at(self, commit: str, name: str) -> str:
        """The text of a file in a commit; empty where it has none."""
        done = self._run("show", f"{commit}:{name}")
        return done.stdout if done.returncode == 0 else ""

    def _today(self, name: str) -> str:
        with suppress(OSError):
            return (self.root / name).read_text("utf-8", "replace")
        return ""

    def _run(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return _git(folder or self.root, *arguments)

    def _text(self, *arguments: str, folder: Path | None = None) -> str:
        done = self._run(*arguments, folder=folder)
        if done.returncode != 0:
            raise ConfigError(f"{self._where}: git {arguments[0]} failed: {_complaint(done)}.")
        return done.stdout

    def _names(self, *arguments: str, folder: Path | None = None) -> list[str]:
        return [name for name in self._text(*arguments, folder=folder).split("\0") if name]


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    offline = {"GIT_LFS_SKIP_SMUDGE": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", *arguments],  # noqa: S607  # the user's git
        cwd=folder,
        env={**kept, **offline, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The last thing that git said, in one line."""
    lines = [
        line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:"))
    ] or done.stderr.splitlines()
    said = lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else f"exit status {done.returncode}"
    return one_line(said).rstrip(".")


def _is_alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


def _pointed_at(file: Path) -> str:
    """The object that a pointer of Git LFS stands for; empty for any other file."""
    try:
        if file.is_symlink() or file.stat().st_size > _LONGEST_POINTER:
            return ""
        content = file.read_bytes()
    except OSError:
        return ""
    match = _LFS_OBJECT.search(content) if content.startswith(_LFS_MARK) else None
    return match["oid"].decode("ascii") if match else ""


def _link(file: Path, stored: Path) -> bool:
    """Put a link to the stored object in place of its pointer; False where it is not stored, or links cannot be made."""
    if not stored.is_file():
        return False
    link = file.with_name(f"{file.name}.llmci-link")
    try:
        link.symlink_to(stored)
        link.replace(file)
    except OSError:
        link.unlink(missing_ok=True)
        return False
    return True
