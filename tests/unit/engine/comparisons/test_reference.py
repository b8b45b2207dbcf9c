from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci import backends
from pytest_llmci.engine.comparisons.reference import Candidate, reference_of_spec
from pytest_llmci.engine.places import Places
from pytest_llmci.errors import ConfigError
from pytest_llmci.registry import Registry
from pytest_llmci.settings import Settings
from pytest_llmci.specs import parse_spec

ORIGIN = "--llmci-versus"


def candidate(*texts: str) -> Candidate:
    registry = Registry()
    backends.register(registry)
    specs = tuple(parse_spec(text, registry.names("backend"), "x") for text in texts)
    places = Places(command=Path.cwd(), settings=Path.cwd())
    return Candidate(specs=specs, settings=Settings(), registry=registry, places=places, sys_path=())


def test_a_bare_spec_is_the_reference_of_the_only_model_under_its_alias() -> None:
    found = reference_of_spec("old=echo:one two+itl=5ms", ORIGIN, candidate("m=echo:one"))
    (spec,) = found.specs.values()
    assert found.specs.keys() == {"m"} and spec.alias == "m"
    assert (spec.backend, spec.target, spec.options) == ("echo", "one two", {"itl": "5ms"})
    assert found.on_purpose == {"m": ("itl", "target")}
    assert found.name == "old=echo:one two+itl=5ms" and found.notes == () and found.nothing_to_compare == ""


def test_options_alone_are_added_or_replaced_in_every_model() -> None:
    found = reference_of_spec("+itl=9ms+threads=2", ORIGIN, candidate("a=echo:one+itl=5ms+ttft=1ms", "b=echo:two"))
    assert {alias: spec.options for alias, spec in found.specs.items()} == {
        "a": {"itl": "9ms", "ttft": "1ms", "threads": "2"}, "b": {"itl": "9ms", "threads": "2"},
    }  # fmt: skip
    assert found.specs["a"].text == "a=echo:one+itl=9ms+ttft=1ms+threads=2"


def test_one_model_of_several_by_its_alias() -> None:
    found = reference_of_spec("a=echo:two", ORIGIN, candidate("a=echo:one", "b=tiny", "c=tiny"))
    assert found.specs.keys() == {"a"} and found.specs["a"].target == "two" and found.name == "echo:two"
    assert found.notes == ("without a reference, so not compared: b, c",)


def test_options_for_one_model_and_several_at_once() -> None:
    found = reference_of_spec("a=+threads=2,b=echo+threads=4", ORIGIN, candidate("a=echo:one", "b=echo"))
    assert found.specs["a"].options == {"threads": "2"} and found.specs["a"].target == "one"
    assert found.specs["b"].options == {"threads": "4"}
    assert found.on_purpose == {"a": ("threads",), "b": ("threads",)}


def test_a_model_against_itself_is_compared() -> None:
    found = reference_of_spec("echo", ORIGIN, candidate("echo"))
    assert found.nothing_to_compare == "" and found.on_purpose == {"echo": ()}


def test_cpus_are_one_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert reference_of_spec("+cpus=0,2", ORIGIN, candidate("echo")).specs["echo"].options == {"cpus": "0,2"}


def test_an_interpreter_is_named_from_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c++" / "bin").mkdir(parents=True)
    (tmp_path / "c++" / "bin" / "python").write_text("#!/bin/sh\n")
    (tmp_path / "c++" / "bin" / "python").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    found = reference_of_spec("+python=./c++", ORIGIN, candidate("tiny"))
    assert found.specs["tiny"].options == {"python": str(tmp_path / "c++")}


@pytest.mark.parametrize(
    ("text", "models", "said"),
    [
        (
            "tiny",
            ["a=tiny", "b=tiny"],
            r"--llmci-versus: 'tiny' does not say which model it is the reference of; write alias=SPEC with one of a, b",
        ),
        (
            "c=tiny",
            ["a=tiny", "b=tiny"],
            r"--llmci-versus: 'c' is no model of this session; write alias=SPEC with one of a, b",
        ),
        ("a=tiny,a=echo:x", ["a=tiny", "b=tiny"], "gives model 'a' two references; keep one"),
        ("tiny", [], "with one of none"),
        (" ", ["a=tiny"], r"the value is empty; write a model, such as \+dtype=bfloat16, or git:origin/main"),
        ("+threads", ["a=tiny"], r"'\+threads' must have the form \+key=value"),
        ("+threads=1+threads=2", ["a=tiny"], r"'\+threads=' is given more than once"),
        ("vlm:x", ["a=tiny"], "unknown backend 'vlm'"),
        ("+nonsense=1", ["a=tiny"], "unknown key 'nonsense'"),
        ("+threads=many", ["a=tiny"], "threads"),
    ],
)
def test_bad_input(text: str, models: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        reference_of_spec(text, ORIGIN, candidate(*models))
