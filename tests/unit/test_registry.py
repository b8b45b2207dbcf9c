from __future__ import annotations

import json
import os.path
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError, MissingExtraError, UnknownNameError
from pytest_llmci.registry import Registry, import_target, missing_package


def test_loads_what_a_name_stands_for_and_only_then() -> None:
    registry = Registry()
    registry.add("sink", "later", "no.such.module:Thing")
    registry.add("backend", "join", "os.path:join")
    assert registry.load("backend", "join", "x") is os.path.join


def test_names_are_sorted_and_entries_keep_their_order() -> None:
    registry = Registry()
    for name in ("b", "a"):
        registry.add("check", name, f"m:{name}")
    assert registry.names("check") == ["a", "b"]
    assert [entry.name for entry in registry.entries("check")] == ["b", "a"]
    assert registry.names("sink") == []


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    registry = Registry()
    registry.add("backend", "echo", "m:Echo")
    registry.add("backend", "tiny", "m:Tiny")
    with pytest.raises(UnknownNameError) as caught:
        registry.get("backend", "ecko", "--llm-models")
    assert str(caught.value) == "--llm-models: unknown backend 'ecko'. Did you mean 'echo'? Known: echo, tiny."


@pytest.mark.parametrize(
    ("kind", "name", "target", "message"),
    [
        ("chart", "x", "m:X", "registry.add: unknown kind 'chart'"),
        ("sink", "Upper", "m:X", "sink name 'Upper' must be lower case"),
        ("sink", "a b", "m:X", "sink name 'a b' must be lower case"),
        ("sink", "", "m:X", "sink name '' must be lower case"),
        ("sink", "x", "module.Class", "target 'module.Class' must have the form package.module:attribute"),
        ("sink", "x", "m:", "must have the form"),
        ("sink", "x", "m:X; import os", "must have the form"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(kind: str, name: str, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Registry().add(kind, name, target)


def test_the_same_entry_twice_is_fine_and_another_under_its_name_is_not() -> None:
    registry = Registry()
    registry.add("sink", "mine", "m:X")
    registry.add("sink", "mine", "m:X", summary="again")
    registry.add("check", "mine", "m:Y")
    with pytest.raises(ConfigError, match="sink 'mine' is taken by m:X; choose another name for m:Y"):
        registry.add("sink", "mine", "m:Y")


@pytest.mark.parametrize(
    ("extra", "step"),
    [("pytest-llmci[openai]", "pip install 'pytest-llmci\\[openai\\]'"), ("", "install 'no_such_package' or fix")],
)
def test_a_missing_package_is_one_line_with_the_command(extra: str, step: str) -> None:
    registry = Registry()
    registry.add("backend", "far", "no_such_package.deep:Thing", extra=extra)
    with pytest.raises(
        MissingExtraError, match=f"backend 'far' needs the package 'no_such_package', which is not installed: {step}"
    ):
        registry.load("backend", "far", "x")


def test_torch_is_installed_before_what_would_pull_its_cuda_build() -> None:
    told = str(missing_package("backend 'tiny'", "torch", "pytest-llmci[transformers]"))
    assert told.endswith(
        "not installed: install torch first, in the build for your machine (https://pytorch.org), then"
        " pip install 'pytest-llmci[transformers]'."
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('no\\nway')", "RuntimeError: no way"),
        ("import sys; sys.exit()", "SystemExit"),
        ("1 +", "SyntaxError: "),
    ],
)
def test_a_module_that_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "broken_module_of_a_user.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    registry.add("check", "mine", "broken_module_of_a_user:Check")
    with pytest.raises(
        ConfigError, match=f"^check 'mine': broken_module_of_a_user:Check cannot be imported: {message}"
    ):
        registry.load("check", "mine", "x")


def test_targets_reach_into_classes_and_name_what_is_absent() -> None:
    assert import_target("pytest_llmci.registry:Registry.add", "x") is Registry.add
    with pytest.raises(
        ConfigError, match=r"x: module 'os.path' has no attribute 'nothing'\. It was read from \S+path\.py\."
    ):
        import_target("os.path:nothing", "x")
    with pytest.raises(ConfigError, match="x: 'os.path' must have the form package.module:attribute"):
        import_target("os.path", "x")


def test_reaches_the_models_process_as_json() -> None:
    registry = Registry()
    registry.add("backend", "a", "m:A", extra="pkg[x]", summary="one line")
    registry.add("sink", "b", "m:B")
    again = Registry.from_json(json.loads(json.dumps(registry.to_json())))
    assert again == registry
