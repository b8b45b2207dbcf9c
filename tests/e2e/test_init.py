"""``llmci init --github``: the steps of its workflow, run from a clean clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from repositories import Repository
from timing import on_real_time

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


@on_real_time
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


PROMPTFOO = """\
prompts:
  - 'Answer in one sentence: {{question}}'
  - '{{question | upper}}'
providers: [openai:gpt-4o]
defaultTest: {assert: [{type: latency, threshold: 60000}]}
tests:
  - {description: capital, vars: {question: What is the capital of France, city: Paris}, assert: [{type: not-contains, value: '{{city}}!'}]}
  - vars: {question: [What is TCP, What is UDP]}
    assert: [{type: llm-rubric, value: is right}, {type: word-count, value: {min: 1, max: 500}}]
"""


def run_init(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "init", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMCI_LOCK_FILE": str(folder / "lock"), "PYTEST_ADDOPTS": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--llmci-rounds=1", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def test_a_configuration_of_promptfoo_is_converted_and_runs(tmp_path: Path) -> None:
    (tmp_path / "promptfooconfig.yaml").write_text(PROMPTFOO, "utf-8")
    done = run_init(tmp_path, "--from", "promptfooconfig.yaml")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == ["wrote test_promptfoo.llm.yaml", "1 test, 3 prompts, 8 checks, 0 models"]
    start = lines.index("not translated (3):")
    assert [line.partition(": ")[0].strip() for line in lines[start + 1 : start + 4]] == [
        "promptfooconfig.yaml:3:5", "promptfooconfig.yaml:4:13", "promptfooconfig.yaml:9:14",
    ]  # fmt: skip
    assert "no model of it can be run here: give --llm-models, or the key 'models'" in lines
    measured = run_pytest(tmp_path, "--llm-models=echo")
    assert measured.returncode == 0 and "3 passed" in measured.stdout
    again = run_init(tmp_path, "--from", "promptfooconfig.yaml")
    assert again.returncode == 4 and len(again.stderr.splitlines()) == 1 and "there already" in again.stderr
    assert run_init(tmp_path, "--from", "promptfooconfig.yaml", "--force").returncode == 0


def test_a_first_test_file_runs_and_its_schema_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    done = run_init(tmp_path, "--llm-yaml", "tests/test_first.llm.yaml", "--model=echo")
    assert done.stdout.splitlines()[:2] == ["wrote tests/test_first.llm.yaml", "wrote tests/llm-test.schema.json"]
    packaged = run_init(tmp_path, "--schema").stdout.strip()
    assert (tmp_path / "tests/llm-test.schema.json").read_text("utf-8") == Path(packaged).read_text("utf-8")
    text = (tmp_path / "tests/test_first.llm.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=llm-test.schema.json\n")
    jsonschema.validate(yaml.safe_load(text), json.loads(Path(packaged).read_text("utf-8")))
    measured = run_pytest(tmp_path, "--llmci")
    assert "2 failed" in measured.stdout or "1 failed" in measured.stdout  # echo knows no capitals
    assert "InvalidOutput: icontains:paris" in measured.stdout


def test_options_of_init_that_do_not_go_together_are_one_line(tmp_path: Path) -> None:
    for arguments, told in (
        (("--schema", "--github"), "--schema and --github do not go together; call llmci init twice."),
        (("--from", "x.yaml", "--llm-yaml"), "--llm-yaml and --from do not go together; call llmci init twice."),
        (
            ("--llm-yaml", "cases.yaml"),
            "pytest collects test_*.llm.yaml and *_test.llm.yaml, and 'cases.yaml' is neither.",
        ),
        (("--from", "none.yaml"), "none.yaml: cannot be read: No such file or directory."),
    ):
        done = run_init(tmp_path, *arguments)
        assert done.returncode == 4 and told in done.stderr and len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
