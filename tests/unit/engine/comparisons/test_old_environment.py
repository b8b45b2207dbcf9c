from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from pytest_llmci.engine.comparisons.old_environment import old_environment
from pytest_llmci.errors import ConfigError

WHERE = "--llmci-versus-python=auto"


def wheel(folder: Path, version: str) -> Path:
    """An installable package ``planted`` of that version."""
    path = folder / f"planted-{version}-py3-none-any.whl"
    info = f"planted-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("planted.py", f"VERSION = '{version}'\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: planted\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "planted.py,,\n")
    return path


def version_in(environment: Path) -> str:
    code = "import planted; print(planted.VERSION)"
    done = subprocess.run([environment / "bin/python", "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.slow
@pytest.mark.usefixtures("empty_path")
def test_requirements_are_installed_once_for_each_list(project: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wheel(project, "1.0")
    (project / "base.txt").write_text("./planted-1.0-py3-none-any.whl\n")
    (project / "requirements.txt").write_text("-r base.txt\n")
    first = old_environment(project, WHERE, tmp_path / "cache", said.append)
    assert version_in(first) == "1.0"
    assert said == ["building an environment from requirements.txt (once)"]
    assert old_environment(project, WHERE, tmp_path / "cache", said.append) == first and len(said) == 1
    wheel(project, "2.0")
    (project / "base.txt").write_text("./planted-2.0-py3-none-any.whl\n")
    second = old_environment(project, WHERE, tmp_path / "cache", said.append)
    assert second != first and version_in(second) == "2.0" and version_in(first) == "1.0"


@pytest.mark.slow
@pytest.mark.usefixtures("empty_path")
def test_constraints_pin_what_the_project_needs(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "2.0"):
        wheel(project, version)
    monkeypatch.setenv("PIP_FIND_LINKS", str(project))
    (project / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["planted"]\n')
    (project / "constraints.txt").write_text("planted==1.0\n")
    assert version_in(old_environment(project, WHERE, tmp_path / "cache", lambda _: None)) == "1.0"


@pytest.mark.slow
@pytest.mark.usefixtures("empty_path")
def test_a_failure_is_one_line_and_leaves_nothing_that_passes_for_an_environment(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("planted==3.0\n")
    with pytest.raises(
        ConfigError, match=r"the environment cannot be built \(-m pip\): .*No matching .* planted==3\.0; build it"
    ) as error:
        old_environment(project, WHERE, tmp_path / "cache", lambda _: None)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{WHERE}: ")
    assert [path.suffix for path in (tmp_path / "cache/environments").iterdir()] == [".lock"]


@pytest.fixture
def recorded_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``uv`` that notes how it was called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(f'#!/bin/sh\necho "$PYTHONPATH$@" >> {tmp_path}/calls\n')
    (tools / "uv").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", "of this session")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lock", "calls"),
    [
        (
            "uv.lock",
            """export --quiet --frozen --no-emit-project --all-groups --output-file {made}/requirements.txt
pip install --python {made}/bin/python -r {made}/requirements.txt
""",
        ),
        ("pylock.toml", "pip sync --python {made}/bin/python {project}/pylock.toml\n"),
    ],
)
def test_locks_of_uv_go_through_uv(project: Path, tmp_path: Path, recorded_uv: Path, lock: str, calls: str) -> None:
    (project / lock).write_text("")
    (project / "requirements.txt").write_text("not taken\n")
    made = old_environment(project, WHERE, tmp_path / "cache", lambda _: None)
    assert recorded_uv.read_text() == calls.format(made=made, project=project)


@pytest.mark.usefixtures("empty_path")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {},
            "there is neither uv.lock, pylock.toml nor requirements.txt at that commit; build the environment yourself",
        ),
        ({"poetry.lock": ""}, "poetry.lock cannot be read here at that commit"),
        ({"uv.lock": ""}, "uv.lock needs the command uv, which is not installed: pip install uv, or give"),
        (
            {"requirements-a.txt": "", "requirements-b.txt": ""},
            "which of requirements-a.txt, requirements-b.txt is meant?",
        ),
        ({"constraints.txt": ""}, "there is neither"),
        ({"constraints.txt": "", "pyproject.toml": "not toml"}, "there is neither"),
    ],
)
def test_what_cannot_be_built_is_said_at_once(project: Path, tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (project / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        old_environment(project, WHERE, tmp_path / "cache", lambda _: None)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be kept in .*; set LLMCI_CACHE_DIR to a folder with room"):
        old_environment(project, WHERE, tmp_path / "cache", lambda _: None)
