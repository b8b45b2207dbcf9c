"""Gives the pharmacy's check a name for markers and rows of prompts."""

from __future__ import annotations

import pytest

from pytest_llmci import Registry


@pytest.hookimpl
def pytest_llmci_register(registry: Registry) -> None:
    registry.add("check", "dose", "pharmacy_checks:DoseCheck")
