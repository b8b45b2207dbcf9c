"""``llmci init --github``: the steps of its workflow, run from a clean clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from repositories import Repository

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the steps are of bash")

PIPELINE = "import time\n\n\ndef answer(prompt):\n    time.sleep({seconds})\n    return 'an answer to ' + prompt\n"
INSTALLING = ("Install torch for the CPU", "Install the project")
"""Steps that need the network; what they install is there."""
CONDITIONS = {"always()": "", "github.event_name != 'push'": "pull_request", "github.event_name == 'push'": "push"}
"""Condition of a step -> the event at which it runs; empty: at any, after a failure as well."""


class Runner:
    """What GitHub does with a commit: a clean clone with all branches, and the steps of the workflow in it."""

    def __init__(self, origin: Repository, folder: Path) -> None:
        self.origin, self.folder = origin, folder

    def run(self, branch: str, event: str) -> tuple[dict[str, int], Path]:
        """Exit status of each step that was run, and the clone."""
        clone = self.folder / f"{branch}-{event}"
        command = ["git", "clone", "-q", "--branch", branch, str(self.origin.folder), str(clone)]
        subprocess.run(command, check=True)
        workflow: dict[str, Any] = yaml.safe_load((clone / ".github/workflows/llmci.yml").read_text("utf-8"))
        assert workflow["defaults"]["run"]["shell"] == "bash"
        statuses: dict[str, int] = {}
        failed = False
        for step in workflow["jobs"]["llmci"]["steps"]:
            wanted = CONDITIONS[step["if"]] if "if" in step else event
            if "uses" in step or step["name"] in INSTALLING or wanted not in ("", event) or (failed and wanted):
                continue
            statuses[step["name"]] = self._step(step["run"], clone, event)
            failed = failed or statuses[step["name"]] != 0
        return statuses, clone

    def _step(self, text: str, clone: Path, event: str) -> int:
        script = self.folder / "step.sh"
        script.write_text(text, "utf-8")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("LLMCI", "GITHUB", "PYTEST"))
        }
        environment = {
            **inherited, "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event, "RUNNER_TEMP": str(self.folder),
            "GITHUB_BASE_REF": "main" if event == "pull_request" else "", "GITHUB_STEP_SUMMARY": str(clone / "summary.md"),
            "GITHUB_WORKSPACE": str(clone), "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(sys.path), "LLMCI_LOCK_FILE": str(self.folder / "lock"),
        }  # fmt: skip
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        return subprocess.run(command, cwd=clone, env=environment, check=False).returncode


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A project with a pipeline that takes 60 ms, set up by ``llmci init --github`` and pushed to its origin."""
    project = Repository(tmp_path / "project")
    project.put({"app/__init__.py": "", "app/bot.py": PIPELINE.format(seconds=0.06)})
    init(project.folder, "--github", "--model=bot=py:app.bot:answer")
    project.commit("set up")
    return Runner(project, tmp_path)


def init(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "init", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_a_change_that_is_as_fast_passes_and_a_slower_one_fails(runner: Runner) -> None:
    project = runner.origin
    project.git("checkout", "-q", "-b", "as-fast")
    project.commit("reword", {"app/bot.py": PIPELINE.format(seconds=0.06) + "# a word\n"})
    project.git("checkout", "-q", "-b", "slower")
    project.commit("slow down", {"app/bot.py": PIPELINE.format(seconds=0.12)})

    statuses, clone = runner.run("as-fast", "pull_request")
    assert statuses == {"Compare with the target branch": 0, "Tell why nothing was measured": 0}
    assert (clone / "llmci-results/latest/results.json").is_file()
    summary = (clone / "summary.md").read_text("utf-8")
    assert summary.startswith("### llmci: ") and "Compared with origin/main" in summary and "```text" not in summary

    statuses, clone = runner.run("slower", "pull_request")
    assert statuses == {"Compare with the target branch": 1, "Tell why nothing was measured": 0}
    summary = (clone / "summary.md").read_text("utf-8")
    assert "failed" in summary.splitlines()[0] and "**REGRESSED**" in summary


def test_a_commit_without_any_change_passes(runner: Runner) -> None:
    runner.origin.git("checkout", "-q", "-b", "nothing")
    runner.origin.commit("nothing")
    statuses, _ = runner.run("nothing", "pull_request")
    assert statuses == {"Compare with the target branch": 0, "Tell why nothing was measured": 0}


def test_a_push_to_the_main_branch_saves_a_baseline(runner: Runner) -> None:
    statuses, clone = runner.run("main", "push")
    assert statuses == {"Save a baseline": 0, "Tell why nothing was measured": 0}
    assert list((clone / "llmci-baselines/main").glob("*.json"))


def test_the_summary_is_written_where_nothing_ran(runner: Runner) -> None:
    runner.origin.git("checkout", "-q", "-b", "broken")
    runner.origin.commit("break", {"pyproject.toml": "[tool.llmci]\nnonsense = 1\n"})
    statuses, clone = runner.run("broken", "pull_request")
    assert statuses["Compare with the target branch"] == 4 and statuses["Tell why nothing was measured"] == 0
    assert "nonsense" in (clone / "summary.md").read_text("utf-8")


def test_without_github_the_next_steps_are_told(tmp_path: Path) -> None:
    told = init(tmp_path, "--model=echo").splitlines()
    assert told[:2] == ["wrote pyproject.toml", "wrote llm-prompts.yaml"]
    assert any("pytest --llmci " in line for line in told) and any("llmci init --github" in line for line in told)
    command = [sys.executable, "-m", "pytest", "-q", "--llmci", "--llmci-rounds=2", "--llmci-max-rounds=2"]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMCI_LOCK_FILE": str(tmp_path / "lock"), "PYTEST_ADDOPTS": "",
    }  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout
    again = subprocess.run(
        [sys.executable, "-m", "pytest_llmci.cli.main", "init"], cwd=tmp_path, env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert again.returncode == 4 and "already" in again.stderr and len(again.stderr.splitlines()) == 1
