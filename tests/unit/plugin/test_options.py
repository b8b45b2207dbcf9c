from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.given import Given, resolve_settings
from pytest_llmci.plugin.options import OPTIONS, UNNAMED, Option, gather, is_armed
from pytest_llmci.settings import BASELINE_NAME, Settings

Configure = Callable[..., pytest.Config]


@pytest.fixture
def configure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A configuration of these files and arguments; nothing is collected or run."""
    for name in ("LLMCI", "PYTEST_ADDOPTS", *(f"LLMCI_{option.name.upper()}" for option in OPTIONS)):
        monkeypatch.delenv(name, raising=False)

    def parse(*arguments: str, **files: str) -> pytest.Config:
        for name, text in files.items():
            pytester.path.joinpath(name.replace("_", ".")).write_text(text, "utf-8")
        return pytester.parseconfig("--rootdir", str(pytester.path), *arguments)

    return parse


def test_nothing_given_is_nothing_found(configure: Configure) -> None:
    config = configure()
    assert gather(config) == {}
    assert not is_armed(config)


def test_the_command_line_in_every_kind(configure: Configure) -> None:
    found = gather(
        configure("--llm-models=a", "--llmci-models=b,c", "--llmci-rounds=7", "--llmci-output=out", "--llmci-plan")
    )
    assert found == {
        "models": Given(("a", "b,c"), "--llm-models"), "rounds": Given("7", "--llmci-rounds"),
        "output": Given("out", "--llmci-output"), "plan": Given("yes", "--llmci-plan"),
    }  # fmt: skip


def test_environment_variables(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in [
        ("MODELS", "a,b"),
        ("ROUNDS", "7"),
        ("PLAN", "1"),
        ("SEED", " "),
        ("CHECK", "json\nmax_words:5"),
    ]:
        monkeypatch.setenv(f"LLMCI_{name}", value)
    assert gather(configure()) == {
        "models": Given(("a,b",), "LLMCI_MODELS"), "rounds": Given("7", "LLMCI_ROUNDS"), "plan": Given("1", "LLMCI_PLAN"),
        "check": Given(("json", "max_words:5"), "LLMCI_CHECK"),
    }  # fmt: skip


def test_ini_settings_name_their_file(configure: Configure) -> None:
    found = gather(configure(tox_ini="[pytest]\nllmci_models =\n    a\n    b\nllmci_rounds = 7\nllmci_plan = false\n"))
    assert found == {
        "models": Given(("a", "b"), "tox.ini: llmci_models"), "rounds": Given("7", "tox.ini: llmci_rounds"),
        "plan": Given("no", "tox.ini: llmci_plan"),
    }  # fmt: skip


def test_the_table_of_the_project_has_texts_numbers_and_lists(configure: Configure) -> None:
    found = gather(
        configure(pyproject_toml='[tool.llmci]\nmodels = ["a", "b"]\nrounds = 7\ntemperature = 0.5\nplan = true\n')
    )
    assert found == {
        "models": Given(("a", "b"), "pyproject.toml: [tool.llmci] models"), "rounds": Given("7", "pyproject.toml: [tool.llmci] rounds"),
        "temperature": Given("0.5", "pyproject.toml: [tool.llmci] temperature"), "plan": Given("yes", "pyproject.toml: [tool.llmci] plan"),
    }  # fmt: skip


def test_each_place_beats_the_next(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project = "[tool.llmci]\nrounds = 1\nwarmup = 1\nblock = 1\nseed = 1\n[tool.pytest.ini_options]\nllmci_rounds = '2'\nllmci_warmup = '2'\nllmci_block = '2'\n"
    monkeypatch.setenv("LLMCI_ROUNDS", "3")
    monkeypatch.setenv("LLMCI_WARMUP", "3")
    found = gather(configure("--llmci-rounds=4", pyproject_toml=project))
    assert {name: given.value for name, given in found.items()} == {
        "rounds": "4", "warmup": "3", "block": "2", "seed": "1",
    }  # fmt: skip


def test_a_misspelt_key_of_the_table_names_the_nearest(configure: Configure) -> None:
    config = configure(pyproject_toml="[tool.llmci]\nround = 5\n")
    with pytest.raises(
        UnknownNameError, match=r"pyproject.toml: \[tool.llmci\]: unknown key 'round'. Did you mean 'rounds'"
    ):
        gather(config)


@pytest.mark.parametrize("value", ["{a = 1}", "[1, 2]", '["a", 1]', "[[]]"])
def test_a_value_of_the_table_must_be_plain(configure: Configure, value: str) -> None:
    config = configure(pyproject_toml=f"[tool.llmci]\nmodels = {value}\n")
    with pytest.raises(ConfigError, match="'models' must be text, a number or a list of texts"):
        gather(config)


def test_other_tables_are_nobodys_business(configure: Configure) -> None:
    assert gather(configure(pyproject_toml="[tool.other]\nround = 5\n")) == {}


@pytest.mark.parametrize(
    ("arguments", "value", "armed"),
    [
        ((), None, False),
        (("--llmci",), None, True),
        (("--llm-models=echo",), None, True),
        (("--llmci-rounds=3",), "0", False),
        (("--llmci-rounds=3",), "1", True),
        (("--help", "--llmci-rounds=3"), None, False),
        (("-o", "llmci_rounds=3", "-o", "addopts=--llmci-suite=inference"), None, False),
        ((), "1", True),
        ((), " Yes ", True),
        ((), "0", False),
        ((), "off", False),
        ((), "", False),
        (("--llmci",), "0", True),
    ],
)
def test_what_arms(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], value: str | None, armed: bool
) -> None:
    if value is not None:
        monkeypatch.setenv("LLMCI", value)
    assert is_armed(configure(*arguments)) is armed


def test_an_unclear_variable_is_a_usage_error(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI", "maybe")
    with pytest.raises(pytest.UsageError, match="LLMCI: 'maybe' is neither 1 nor 0"):
        is_armed(configure())


@pytest.mark.parametrize(
    "arguments", [("--llmci-rounds=3",), ("-x", "--llmci-rounds", "3"), ("--llmci-plan",)], ids=" ".join
)
def test_a_flag_without_effect_is_a_usage_error(configure: Configure, arguments: tuple[str, ...]) -> None:
    config = configure(*arguments)
    flag = next(part.partition("=")[0] for part in arguments if part.startswith("--"))
    with pytest.raises(
        pytest.UsageError, match=f"^{flag}: no model is asked anything without --llm-models=SPEC .or --llmci, .*"
    ):
        is_armed(config)


def test_flags_in_other_places_are_for_armed_sessions(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_armed(configure(pytest_ini="[pytest]\naddopts = --llmci-output=there\nllmci_rounds = 3\n"))
    monkeypatch.setenv("PYTEST_ADDOPTS", "--llmci-rounds=3")
    assert not is_armed(configure())


def test_settings_of_models_alone_do_not_arm(configure: Configure) -> None:
    assert not is_armed(configure(pyproject_toml='[tool.llmci]\nmodels = "echo"\n'))


def test_the_name_of_the_unnamed_is_that_of_the_settings() -> None:
    assert UNNAMED == BASELINE_NAME


def test_the_store_of_mlflow_may_be_left_out(configure: Configure) -> None:
    assert gather(configure("--llmci-mlflow", "tests"))["mlflow"] == Given("yes", "--llmci-mlflow")
    assert gather(configure("--llmci-mlflow=http://h:1", "tests"))["mlflow"] == Given("http://h:1", "--llmci-mlflow")


BARE = "--llmci-save-baseline"
MANY = "--llmci-baseline"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((BARE,), "main"),
        ((f"{BARE}=old",), "old"),
        ((BARE, "-q"), "main"),
        ((BARE, "tests"), "main"),
        ((BARE, "tests/"), "main"),
        (("tests", BARE), "main"),
        ((f"{BARE}=old", "tests"), "old"),
        ((f"{BARE}=", "tests"), ""),
    ],
    ids=" ".join,
)
def test_only_an_equals_sign_names_the_baseline(configure: Configure, words: tuple[str, ...], name: str) -> None:
    config = configure(*words)
    assert gather(config) == {"save_baseline": Given(name, BARE)}
    assert config.option.file_or_dir == [word for word in words if word.startswith("tests")]


def test_a_path_behind_an_option_of_the_settings_stays_one(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("tests", pytest_ini=f"[pytest]\naddopts = {BARE}\n")
    assert (gather(config)["save_baseline"].value, config.option.file_or_dir) == ("main", ["tests"])
    monkeypatch.setenv("PYTEST_ADDOPTS", BARE)
    config = configure("tests", pytest_ini="[pytest]\n")
    assert (gather(config)["save_baseline"].value, config.option.file_or_dir) == ("main", ["tests"])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((MANY,), ("main",)),
        ((MANY, "tests"), ("main",)),
        ((f"{MANY}=a", f"{MANY}=b", "tests"), ("a", "b")),
        ((f"{MANY}=a", MANY, "-q"), ("a", "main")),
        ((f"{MANY}=old.json",), ("old.json",)),
    ],
    ids=" ".join,
)
def test_several_baselines_may_be_compared_with(
    configure: Configure, words: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert gather(configure(*words)) == {"baseline": Given(names, MANY)}


def test_baselines_of_the_settings(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(pytest_ini="[pytest]\nllmci_baseline =\n    main\n    release\nllmci_baselines = kept\n")
    assert gather(config) == {
        "baseline": Given(("main", "release"), "pytest.ini: llmci_baseline"),
        "baselines": Given("kept", "pytest.ini: llmci_baselines"),
    }
    monkeypatch.setenv("LLMCI_BASELINE", "old")
    assert gather(config)["baseline"] == Given(("old",), "LLMCI_BASELINE")


def test_help_shows_no_doubled_percent_sign() -> None:
    """pytest formats help texts, and no metavars."""
    assert [option.name for option in OPTIONS if "%%" in option.metavar] == []


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_reaches_the_settings_and_has_help(option: Option) -> None:
    samples: dict[str, str | tuple[str, ...]] = {
        "number": "7", "flag": "yes", "list": ("inference" if option.name == "suite" else "csv",), "one": "7s",
        "name": "old", "names": ("old",), "maybe": "http://h",
    }  # fmt: skip
    choices: dict[str, str | tuple[str, ...]] = {
        "inconclusive": "fail",
        "isolation": "inline",
        "timing": "parallel",
        "memory_limit": "7GiB",
        "memory": "exact",
        "detect": ("5%",),
        "min_pass_rate": "70%",
        "shard": "2/8",
    }
    raw = {option.name: Given(choices.get(option.name, samples[option.kind]), "x")}
    assert resolve_settings(raw, ["csv"]) != Settings(origins={option.name: "x"})
    assert option.help and all(flag.startswith(("--llmci-", "--llm-")) for flag in option.flags)
