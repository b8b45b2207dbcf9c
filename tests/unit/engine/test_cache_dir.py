from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.engine.cache_dir import user_cache_dir


def test_the_cache_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_CACHE_DIR", "/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert user_cache_dir() == Path("/mine")
    monkeypatch.delenv("LLMCI_CACHE_DIR")
    assert user_cache_dir() == Path("/xdg/llmci")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache_dir() == Path.home() / ".cache" / "llmci"
