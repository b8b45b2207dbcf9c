"""The sink ``dvc`` and ``llmci init --dvc`` in a repository of git and DVC, with the command ``dvc`` itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repositories import Repository

pytest.importorskip("dvc")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")]

SETTINGS = (
    '[tool.llmci]\nmodels = ["a=echo", "b=echo"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\nrounds = 2\n'
)
PROMPTS = "- {id: first, prompt: Name a colour.}\n- {id: second, prompt: Name a river.}\n"
CHANGED = "- {id: first, prompt: Name a colour.}\n- {id: second, prompt: Name a long river.}\n"


class Project(Repository):
    """A repository with DVC and a remote of its own on this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dvc("init", "-q")
        self.dvc("remote", "add", "-q", "-d", "here", str(folder.parent / "remote"))

    def dvc(self, *arguments: str, folder: Path | None = None) -> str:
        return self.call("-m", "dvc", *arguments, folder=folder).stdout

    def pytest(self, *arguments: str) -> str:
        return self.call("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments).stdout

    def llmci(self, *arguments: str, folder: Path | None = None, status: int = 0) -> str:
        return self.call("-m", "pytest_llmci.cli.main", *arguments, folder=folder, status=status).stdout

    def call(self, *arguments: str, folder: Path | None = None, status: int = 0) -> subprocess.CompletedProcess[str]:
        scripts = str(Path(sys.executable).parent)
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("LLMCI", "GIT_", "PYTEST", "DVC"))
        }
        env = {
            **inherited, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site"), "PYTHONPATH": os.pathsep.join(sys.path),
            "LLMCI_LOCK_FILE": str(self.folder.parent / "lock"), "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder or self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
        return done


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.put({"pyproject.toml": SETTINGS, "prompts.yaml": PROMPTS})
    return made


def _metrics(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.chmod(0o644)  # what DVC keeps is read-only
    path.write_bytes(whole)


def test_dvc_takes_what_the_sink_writes(project: Project) -> None:
    project.pytest("--llmci", "--llmci-sink=dvc")
    place = project.folder / "llmci-dvc"
    pointer = (place / "run.dvc").read_bytes()
    assert "not in cache" in project.dvc("status")
    project.dvc("add", "-q", "llmci-dvc/run")
    assert (place / "run.dvc").read_bytes() == pointer
    assert (place / ".gitignore").read_text() == "/run\n"
    assert "up to date" in project.dvc("status")
    shown = _metrics(project.dvc("metrics", "show", "--json"))[""]["data"]["llmci-dvc/metrics.json"]["data"]
    latest = json.loads((project.folder / "llmci-results/latest/metrics.json").read_text())
    assert shown == latest
    assert set(shown) == {"a", "b"}
    first = project.commit("first run")
    assert "llmci-dvc/run/" not in project.git("ls-files")
    assert "8 files pushed" in project.dvc("push")

    project.put({"prompts.yaml": CHANGED})
    project.pytest("--llmci", "--llmci-sink=dvc")
    difference = _metrics(project.dvc("metrics", "diff", first, "--json"))["llmci-dvc/metrics.json"]
    assert (
        difference["a.prompt_tokens"]["diff"] == difference["a.prompt_tokens"]["new"] - latest["a"]["prompt_tokens"] > 0
    )
    project.dvc("plots", "diff", first, "-o", "plots")
    page = (project.folder / "plots/index.html").read_text("utf-8")
    assert page.count('"cell": "a-second"') >= 2
    assert '"rev": "workspace"' in page
    project.dvc("plots", "show", "-o", "plots")
    assert "not in cache" in project.dvc("status")
    project.dvc("commit", "-q", "-f", "llmci-dvc/run.dvc")
    second = project.commit("second run")
    project.dvc("push", "-q")

    clone = project.folder.parent / "clone"
    project.git("clone", "-q", str(project.folder), str(clone))
    for commit in (first, second):
        project.call(
            "-c", f"import subprocess; subprocess.run(['git', 'checkout', '-q', '{commit}'], check=True)", folder=clone
        )
        project.dvc("pull", "-q", folder=clone)
        said = project.llmci("verify", "llmci-dvc/run", "--against", "dvc", folder=clone)
        assert "tracks this run (" in said
        assert "DVC's cache holds all of it, byte for byte" in said


def test_one_flipped_byte_anywhere_is_caught(project: Project) -> None:
    project.pytest("--llmci", "--llmci-sink=dvc")
    project.dvc("commit", "-q", "-f", "llmci-dvc/run.dvc")
    project.dvc("push", "-q")
    said = project.llmci("verify", "--against=dvc")
    assert "DVC's cache holds all of it" in said
    assert "DVC's remote 'here' holds all of it" in said
    for name in ("llmci-dvc/metrics.json", "llmci-dvc/plots.csv", "llmci-dvc/run/results.csv"):
        path = project.folder / name
        whole = path.read_bytes()
        _flip(path)
        said = project.llmci("verify", "--against=dvc", status=1)
        assert said.startswith(f"FAILED: {name.removesuffix('/results.csv')} ")
        path.write_bytes(whole)
    run = next(path for path in (project.folder / "llmci-results").iterdir() if path.name[0] == "2")
    md5 = next(e["md5"] for e in json.loads((run / "manifest.json").read_text())["files"] if e["path"] == "results.csv")
    _flip(project.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:])
    said = project.llmci("verify", "--against=dvc", status=1)
    assert said.startswith("FAILED: DVC's cache holds other bytes than were put there for results.csv: ")


def test_the_pointer_of_another_run_is_told_apart(project: Project) -> None:
    project.pytest("--llmci", "--llmci-sink=dvc")
    project.dvc("commit", "-q", "-f", "llmci-dvc/run.dvc")
    project.pytest("--llmci")
    said = project.llmci("verify", "--against=dvc", status=1)
    assert said.startswith("FAILED: llmci-dvc/run.dvc has another log.jsonl than this run: md5 ")
    assert "tracks this run" in project.llmci("verify", "latest~1", "--against=dvc")


def test_a_stage_measures_and_dvc_keeps_the_run(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.put(
        {"dvc.yaml": "stages:\n  other: # the team's\n    cmd: echo done > done.txt\n    outs:\n    - done.txt\n"}
    )
    project.llmci("init", "--dvc", "--model=echo")
    assert "# the team's" in (project.folder / "dvc.yaml").read_text()
    project.dvc("repro")
    assert not (project.folder / "llmci-dvc/run.dvc").exists()
    assert not (project.folder / "llmci-dvc/dvc.yaml").exists()
    assert "up to date" in project.dvc("status")
    project.commit("first run")
    assert "didn't change, skipping" in project.dvc("repro", "llmci")
    said = project.llmci("verify", "--against=dvc")
    assert "dvc.lock tracks this run" in said
    assert "DVC's cache holds all of it" in said
    project.put({"llm-prompts.yaml": PROMPTS})
    project.dvc("repro")
    difference = _metrics(project.dvc("metrics", "diff", "--json"))["llmci-dvc/metrics.json"]
    assert difference["echo.prompt_tokens"]["diff"] != 0
    project.dvc("plots", "diff", "-o", "plots")
    assert '"rev": "HEAD"' in (project.folder / "plots/index.html").read_text("utf-8")
    project.dvc("push", "-q")
