from __future__ import annotations

from collections.abc import Callable

from pytest_llmci.backends import echo
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.backends.echo_script import READERS, read_script
from pytest_llmci.records import ModelSpec

MakeSpec = Callable[..., ModelSpec]


def test_alloc_ms_takes_a_unit_too(spec: MakeSpec) -> None:
    assert read_script(spec("echo", alloc_ms="0.5s")).alloc_s == 0.5


def test_every_key_is_documented_and_read() -> None:
    documented = {line.split("``")[1] for line in (echo.__doc__ or "").splitlines() if line.startswith("``")}
    documented.discard("echo:TEXT")
    assert documented == set(EchoBackend.OPTIONS)
    assert READERS.keys() == EchoBackend.OPTIONS.keys()
