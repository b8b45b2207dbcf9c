from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from repositories import Repository

from pytest_llmci import backends
from pytest_llmci.clock import SystemClock
from pytest_llmci.engine.comparisons.code_origin import prove_origin
from pytest_llmci.engine.comparisons.reference import Candidate, Reference
from pytest_llmci.engine.comparisons.revision import SettingsThen, reference_of_revision, split_revision
from pytest_llmci.engine.places import Places
from pytest_llmci.errors import ConfigError
from pytest_llmci.given import Given, resolve_settings
from pytest_llmci.prompts import load_prompts
from pytest_llmci.records import GenerationSettings, Json, Prompt, RoundRecord, RunRequest
from pytest_llmci.registry import Registry
from pytest_llmci.runner.guard import Guard
from pytest_llmci.runner.model_worker import Limits, WorkerSetup
from pytest_llmci.runner.worker import WorkerProcess
from pytest_llmci.settings import Sourced
from pytest_llmci.specs import read_specs
from pytest_llmci.store.checkout import Checkout

ORIGIN = "--llmci-versus"
INI = "pyproject.toml: llmci_"
PROMPTS = "- id: a\n  prompt: one\n- id: b\n  prompt: two\n"


class Project:
    """A repository, and the settings that a session of it has today and had then."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(folder)
        self.folder = folder
        self.registry = Registry()
        backends.register(self.registry)
        self.today: dict[str, Given] = {}
        self.then: dict[str, Given] = {}
        self.places = Places(command=folder, settings=folder)
        self.marker_prompts: tuple[Sourced, ...] = ()
        self.sys_path: tuple[str, ...] = (*sys.path, str(folder))
        self.marker_models: tuple[tuple[str, str], ...] = ()

    def given(self, origin: str = INI, **options: str | tuple[str, ...]) -> None:
        """Settings that are the same today and then."""
        for name, value in options.items():
            self.today[name] = self.then[name] = Given(value, origin if origin.startswith("--") else origin + name)

    def candidate(self) -> Candidate:
        settings = resolve_settings(self.today, ())
        texts = [(model.text, model.origin) for model in settings.models]
        specs = read_specs([*texts, *self.marker_models], self.registry.names("backend"), self.folder)
        sources = [(each.text, self.places.of(each.origin)) for each in (*settings.prompts, *self.marker_prompts)]
        prompts = tuple(prompt for text, base in sources for prompt in load_prompts(text, "x", base))
        return Candidate(
            specs=specs, settings=settings, prompts=prompts, registry=self.registry, places=self.places, sys_path=self.sys_path,
            marker_prompts=self.marker_prompts,
        )  # fmt: skip

    def reference(self, checkout: Checkout, text: str = "git:HEAD", environment: Path | None = None) -> Reference:
        then = SettingsThen(given=self.then, folder=checkout.inside(self.places.settings) or self.places.settings)
        return reference_of_revision(text, ORIGIN, self.candidate(), checkout, lambda _: then, environment=environment)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path / "project")
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def compare(project: Project) -> Iterator[Callable[..., Reference]]:
    """The reference at a revision; its worktree lasts as long as the test."""
    opened: list[Checkout] = []

    def build(revision: str = "HEAD", options: str = "", environment: Path | None = None) -> Reference:
        opened.append(Checkout(project.folder, revision, ORIGIN))
        opened[-1].open()
        return project.reference(opened[-1], f"git:{revision}{options}", environment)

    yield build
    for checkout in opened:
        checkout.close()


Compare = Callable[..., Reference]


def test_a_revision_is_told_from_its_options() -> None:
    assert split_revision("git:v1+cu118+dtype=float16+threads=2", "x") == (
        "v1+cu118",
        {"dtype": "float16", "threads": "2"},
    )
    assert split_revision("git:origin/main", "x") == ("origin/main", {})


# ------------------------------------------------------------------------------------------------------------- models


def test_models_are_those_of_the_old_settings_under_the_same_alias(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.today["models"] = Given(("m=echo:new", "added=echo"), INI + "models")
    project.then["models"] = Given(("gone=echo", "m=echo:old"), INI + "models")
    found = compare()
    assert {alias: spec.target for alias, spec in found.specs.items()} == {"m": "old"}
    assert "new since HEAD, so not compared: added" in found.notes
    assert found.nothing_to_compare == ""


def test_a_model_that_only_a_marker_names_is_the_same_on_both_sides(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.given(models="small=echo")
    project.marker_models = (("other=echo:x", "test_x.py"),)
    assert compare().specs.keys() == {"small", "other"}


def test_no_model_in_common(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.today["models"] = Given(("small=echo",), INI + "models")
    project.then["models"] = Given(("a=echo",), INI + "models")
    with pytest.raises(
        ConfigError,
        match=r"--llmci-versus=git:HEAD: none of the models of this session \(small\) is in the settings of that commit \(a\)",
    ):
        compare()


def test_options_of_the_reference_hold_for_all_its_models(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.given("--llm-models", models="small=echo,m=echo:x+threads=1")
    found = compare(options="+threads=2")
    assert [spec.options for spec in found.specs.values()] == [{"threads": "2"}, {"threads": "2"}]
    assert found.on_purpose == {"small": ("threads",), "m": ("threads",)} and found.name == "HEAD"
    assert found.nothing_to_compare == ""


def test_files_of_models_are_those_of_the_commit(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"models/m/config.json": "{}", "models/m/model.safetensors": ""})
    project.given("--llm-models", models="m=plain:./models/m+adapter=./models/m/config.json")
    project.registry.add("backend", "plain", "types:SimpleNamespace")
    found = compare()
    assert found.folder is not None and found.specs["m"].target == str(found.folder / "models/m")
    assert found.specs["m"].options == {"adapter": str(found.folder / "models/m/config.json")}
    assert found.specs["m"].text == f"m=plain:{found.folder}/models/m+adapter={found.folder}/models/m/config.json"
    assert found.nothing_to_compare.startswith("HEAD (")
    project.repository.put({"models/m/config.json": "{ }"})
    assert compare().nothing_to_compare == "", "the weights are others today"


def test_a_file_that_the_repository_does_not_hold_is_todays_on_both_sides(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {".gitignore": "weights\n"})
    project.repository.put({"weights/config.json": "{}"})
    project.registry.add("backend", "plain", "types:SimpleNamespace")
    project.given("--llm-models", models="m=plain:./weights")
    found = compare()
    assert found.specs["m"].target == str(project.folder / "weights")
    assert "'weights' is not in the repository: both sides use the file of today" in found.notes


def test_a_file_that_the_commit_lacks_and_one_that_is_only_a_pointer(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 3\n"
    project.repository.commit("second", {"m/a.bin": pointer, ".gitattributes": "*.bin filter=lfs\n"})
    project.registry.add("backend", "plain", "types:SimpleNamespace")
    project.given("--llm-models", models="m=plain:./m")
    with pytest.raises(
        ConfigError,
        match=r"git:HEAD~1: model 'm=plain:\./m': there is no 'm' at [0-9a-f]+; compare with a commit that has it",
    ):
        compare("HEAD~1")
    with pytest.raises(
        ConfigError,
        match=r"of 'm/a\.bin' there is only the pointer of Git LFS; run git lfs fetch origin [0-9a-f]{40}\.",
    ):
        compare("HEAD")


def test_what_cannot_be_loaded_then_is_said_before_anything_runs(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"pipeline_q.py": "def before(prompt): return ''\n"})
    project.repository.commit("second", {"pipeline_q.py": "def answer(prompt): return ''\n"})
    project.given("--llm-models", models="py:pipeline_q:answer")
    with pytest.raises(
        ConfigError,
        match=r"git:HEAD~1: .*has no 'answer'.*before.*\(in the files of [0-9a-f]+: compare with a commit that can run it",
    ):
        compare("HEAD~1")


# ------------------------------------------------------------------------------------------- prompts and other settings


def test_prompts_are_those_of_the_commit_wherever_they_are_named(project: Project, compare: Compare) -> None:
    project.repository.commit(
        "first", {"p.yaml": PROMPTS, "cli/q.yaml": "- id: c\n  prompt: old\n", "m.yaml": "- id: d\n  prompt: old\n"}
    )
    project.repository.put(
        {
            "p.yaml": PROMPTS.replace("two", "changed"),
            "cli/q.yaml": "- id: c\n  prompt: new\n",
            "m.yaml": "- id: d\n  prompt: new\n",
        }
    )
    project.places = Places(command=project.folder / "cli", settings=project.folder)
    project.given(models="small=echo")
    project.today["prompts"] = project.then["prompts"] = Given(("p.yaml",), INI + "prompts")
    project.marker_prompts = (Sourced("m.yaml", "test_x.py: marker llmci(prompts=)"),)
    found = compare()
    assert found.prompts is not None
    assert {prompt.id: prompt.text for prompt in found.prompts} == {"a": "one", "b": "two", "d": "old"}
    assert found.prompts[0].source == "p.yaml, row 1"
    assert "prompts that ask something else: b, d" in found.notes
    assert found.nothing_to_compare == ""
    project.today["prompts"] = project.then["prompts"] = Given(("q.yaml",), "--llm-prompts")
    found = compare()
    assert found.prompts is not None and [prompt.text for prompt in found.prompts] == ["old", "old"]
    assert found.start_in is not None and found.folder is not None and found.start_in == found.folder / "cli"


def test_new_prompts_are_not_compared_and_none_in_common_is_refused(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"p.yaml": PROMPTS})
    project.repository.commit(
        "second", {"p.yaml": PROMPTS + "- id: c\n  prompt: three\n", "q.yaml": "- id: d\n  prompt: four\n"}
    )
    project.given(models="small=echo", prompts=("p.yaml", "q.yaml"))
    found = compare("HEAD~1")
    assert found.prompts is not None and [prompt.id for prompt in found.prompts] == ["a", "b"]
    assert "new since HEAD~1, so not compared: the prompts of 'q.yaml'" in found.notes
    assert "new prompts: c, d" in found.notes
    project.given(prompts="q.yaml")
    with pytest.raises(ConfigError, match="no prompt of this session is among those of that commit"):
        compare("HEAD~1")


def test_the_suite_has_its_own_prompts(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.given(models="small=echo", suite="inference")
    found = compare()
    assert found.prompts is not None and len(found.prompts) == 10


def test_settings_of_the_commit_are_taken_where_they_say_what_is_measured(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.given(models="small=echo")
    project.today |= {"seed": Given("1", INI + "seed"), "rounds": Given("7", INI + "rounds")}
    project.then |= {
        "seed": Given("2", INI + "seed"),
        "max_new_tokens": Given("9", INI + "max_new_tokens"),
        "rounds": Given("no", "x"),
    }
    found = compare()
    assert found.settings is not None
    assert (found.settings.seed, found.settings.max_new_tokens, found.settings.rounds) == (2, 9, 7)
    assert "settings that differ: max_new_tokens 9 -> default, seed 2 -> 1" in found.notes
    assert found.nothing_to_compare == ""
    project.then["seed"] = Given("x", "pyproject.toml at abc: llmci_seed")
    with pytest.raises(
        ConfigError, match="--llmci-versus=git:HEAD: pyproject.toml at abc: llmci_seed: 'x' is not a whole number"
    ):
        compare()


# ---------------------------------------------------------------------------------------------------- what is compared


def test_no_code_of_the_repository_is_measured(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"p.yaml": PROMPTS, "app.py": "", "test_a.py": ""})
    project.repository.put({"app.py": "x = 1\n", "test_a.py": "x = 1\n"})
    project.given(models="small=echo", prompts="p.yaml")
    found = compare()
    assert found.nothing_to_compare.endswith(
        "have the same models, prompts and settings, and no code of the repository is measured"
    )
    assert "test_a.py changed: code in a test is not compared, the tests of today ask both sides" in found.notes
    assert found.changed == ("app.py", "test_a.py")
    project.repository.put({"p.yaml": PROMPTS.replace("one", "other")})
    assert compare().nothing_to_compare == ""


def test_a_callable_is_compared_where_anything_but_documentation_differs(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"pipeline_r.py": "def answer(prompt): return ''\n", "README.md": ""})
    project.given(models="py:pipeline_r:answer")
    assert compare().nothing_to_compare.endswith("and no file differs")
    project.repository.put({"README.md": "text", ".github/a.yml": "text"})
    assert compare().nothing_to_compare.endswith("and only documentation differs")
    project.repository.put({"prompts/system.md": "text"})
    assert compare().nothing_to_compare == ""


def test_a_backend_or_instrument_of_the_repository_is_its_code(project: Project, compare: Compare) -> None:
    project.repository.commit("first", {"mine.py": "from pytest_llmci.backends.echo import EchoBackend as Mine\n"})
    project.repository.put({"mine.py": "from pytest_llmci.backends.echo import EchoBackend as Mine  # new\n"})
    project.given(models="small=echo")
    assert compare().nothing_to_compare != ""
    project.registry.add("instrument", "own", "mine:Mine")
    assert compare().nothing_to_compare == ""


def test_a_commit_that_is_named_by_its_digest_is_told_once(project: Project, compare: Compare) -> None:
    project.repository.commit("first")
    project.given(models="small=echo")
    digest, short = (project.repository.git("rev-parse", *more, "HEAD") for more in ((), ("--short",)))
    found = compare(digest)
    assert found.notes[0] == f"{short} is 'first'; no file differs in the working tree"
    assert found.nothing_to_compare.startswith(f"{short} and the working tree have the same models")


def test_commits_environments_and_options_are_told(project: Project, compare: Compare) -> None:
    project.repository.commit("first: a subject", {"requirements.txt": "a"})
    project.repository.git("switch", "-q", "-c", "feature")
    project.repository.commit("mine", {"requirements.txt": "b"})
    project.repository.git("switch", "-q", "main")
    base = project.repository.git("rev-parse", "--short", "HEAD")
    project.repository.commit("theirs")
    project.repository.git("switch", "-q", "feature")
    project.given(models="small=echo")
    found = compare("main")
    assert found.notes[0].startswith("main is ") and found.notes[0].endswith(
        " 'theirs', 1 commit before HEAD; 1 changed file in the working tree"
    )
    assert found.notes[1] == f"main has 1 commit that HEAD has not: git:{base} leaves them out"
    assert found.notes[2] == (
        "requirements.txt changed: both sides run with today's environment, since git:REV compares code, prompts and settings; to compare"
        " environments add +python=/path/to/venv or --llmci-versus-python=auto"
    )
    environment = Path(sys.prefix)
    with_own = compare("main", environment=environment)
    assert found.sys_path is not None and found.sys_path[-1] == str(found.folder), "where the repository was"
    assert with_own.sys_path is not None and with_own.sys_path[0] == str(with_own.folder), (
        "before installs of the project there"
    )
    assert not any("today's environment" in note for note in with_own.notes)
    assert with_own.specs["small"].options == {"python": str(environment)} and with_own.nothing_to_compare == ""


# --------------------------------------------------------------------------------------------------- in a real process


@pytest.mark.skipif(os.name != "posix", reason="processes are POSIX only")
def test_each_side_runs_its_own_code_in_its_own_folder(project: Project, compare: Compare, tmp_path: Path) -> None:
    code = "import pathlib, version_s\ndef answer(prompt): return f'{version_s.NAME} {pathlib.Path(\"data.txt\").read_text()}'\n"
    project.repository.commit(
        "first", {"src/pipeline_s.py": code, "src/version_s.py": "NAME = 'old'\n", "data.txt": "old"}
    )
    project.repository.put({"src/version_s.py": "NAME = 'new'\n", "data.txt": "new"})
    project.given("--llm-models", models="py:pipeline_s:answer")
    project.sys_path = (*sys.path, str(project.folder / "src"))
    found = compare()
    assert found.sys_path is not None
    assert _answer(project, found, found.sys_path, tmp_path) == "old old"
    prove_origin(_last_info, found, project.folder)
    assert _answer(project, replace(found, start_in=None), project.sys_path, tmp_path) == "new new"
    with pytest.raises(
        ConfigError,
        match=r"HEAD: its module 'pipeline_s' was loaded from .*/project/src/pipeline_s\.py, not from the files of that commit",
    ):
        prove_origin(_last_info, found, project.folder)


_last_info: dict[str, Json] = {}


def _answer(project: Project, reference: Reference, path: tuple[str, ...], tmp_path: Path) -> str:
    setup = WorkerSetup(
        registry=project.registry, limits=Limits(), cache_dir=str(tmp_path / "cache"), log_folder=tmp_path / "logs", sys_path=path,
        start_in=str(reference.start_in) if reference.start_in else None,
    )  # fmt: skip
    guard = Guard()
    worker = WorkerProcess(next(iter(reference.specs.values())), setup, clock=SystemClock(), guard=guard, number=1)
    rounds: list[RoundRecord] = []
    try:
        _last_info.clear()
        _last_info.update(worker.load().info)
        request = RunRequest(
            cell="m-p", prompt=Prompt(id="p", text="x"), generation=GenerationSettings(), rounds=1, warmup=0
        )
        worker.run(request, rounds.append)
    finally:
        worker.kill()
        guard.close()
    return rounds[0].completion.text
