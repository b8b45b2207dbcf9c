from collections.abc import Callable

import pytest

from pytest_llmci.checks import CHECKS, DEFAULT_CHECK, parse_check, register
from pytest_llmci.checks.base import CheckInput
from pytest_llmci.errors import ConfigError, MissingExtraError, UnknownNameError
from pytest_llmci.records import CheckResult, Prompt
from pytest_llmci.registry import Registry


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    register(made)
    return made


ARGUMENTS = {"contains": "Paris", "regex": r"\d+", "max_words": "5"}


def output(text: str) -> CheckInput:
    return CheckInput(text=text, finish_reason="stop", special_only=False, prompt=Prompt(id="p", text="?"))


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_is_built_and_judges_in_one_line(name: str, registry: Registry) -> None:
    text = f"{name}:{ARGUMENTS[name]}" if name in ARGUMENTS else name
    check = parse_check(text, registry, "marker")
    for sample in ("Paris 5", "", "a\nb\x1b[31m\u202e" * 300):
        result = check(output(sample))
        assert result.name == text
        assert result.message and "\n" not in result.message and "\x1b" not in result.message
        assert len(result.message) < 300


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ARGUMENTS])
def test_arguments_where_there_are_none(name: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=f"marker: check '{name}:x': '{name}' takes no argument"):
        parse_check(f"{name}:x", registry, "marker")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_missing_arguments(name: str, registry: Registry) -> None:
    for text in (name, f"{name}:"):
        with pytest.raises(
            ConfigError, match=f"marker: check '{text}': an argument is missing; write it like '{name}:"
        ):
            parse_check(text, registry, "marker")


@pytest.mark.parametrize(
    "text", ["max_words:many", "max_words:0", "max_words:-1", "max_words:1.5", "regex:(", "regex:a{2,1}"]
)
def test_unreadable_arguments(text: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"\Amarker: check [^\n]+\Z"):
        parse_check(text, registry, "marker")


def test_an_unknown_check_brings_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'regex'"):
        parse_check("regexp:a", registry, "marker")


def test_the_default_is_registered() -> None:
    assert DEFAULT_CHECK in CHECKS


def polite(argument: str) -> Callable[[CheckInput], CheckResult]:
    if argument == "never":
        raise ConfigError("politeness is not optional.")
    return lambda output: CheckResult(name="polite", passed="please" in output.text, message="")


def broken(argument: str) -> Callable[[CheckInput], CheckResult]:
    if argument == "leave":
        raise SystemExit
    raise KeyError(argument)


NOT_CALLABLE = 5


def test_checks_of_others(registry: Registry) -> None:
    registry.add("check", "polite", f"{__name__}:polite")
    assert parse_check("polite", registry, "marker")(output("please")).passed
    with pytest.raises(ConfigError, match=r"marker: check 'polite:never': politeness is not optional"):
        parse_check("polite:never", registry, "marker")
    registry.add("check", "number", f"{__name__}:NOT_CALLABLE")
    with pytest.raises(ConfigError, match="'number' is registered as something that cannot be called"):
        parse_check("number", registry, "marker")
    registry.add("check", "absent", "no_such_package_at_all:Check", extra="some[extra]")
    with pytest.raises(MissingExtraError, match=r"pip install 'some\[extra\]'"):
        parse_check("absent", registry, "marker")


def test_a_check_that_raises_when_it_is_built_is_one_line(registry: Registry) -> None:
    registry.add("check", "broken", f"{__name__}:broken")
    with pytest.raises(ConfigError, match=r"^prompts.yaml: check 'broken:x' cannot be built: KeyError: 'x'$"):
        parse_check("broken:x", registry, "prompts.yaml")
    with pytest.raises(ConfigError, match=r"cannot be built: SystemExit$"):
        parse_check("broken:leave", registry, "prompts.yaml")
