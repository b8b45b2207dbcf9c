"""Whatever a file holds, it is imported or refused in one line; and no number that is imported can be none."""

from __future__ import annotations

import json
import math
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from foreign_files import aiperf_request, every_document, llmperf_request, lm_eval_old, vllm_throughput
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing import read

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.imported import write_imported
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import ConfigError
from pytest_llmci.importers import IMPORTERS

DOCUMENTS: tuple[Any, ...] = (
    *every_document().values(), lm_eval_old(), vllm_throughput(), [llmperf_request(), llmperf_request(error=429)], aiperf_request(),
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["inf", "-1", "1e999", "N/A", "=1+1", "\ud800", "a" * 3000, 10**400, 0, -1, -0.0])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a document."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in items for found in places(value, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A document of a known tool with up to three of its values replaced by anything, or taken out."""
    data = deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from(places(data)[1:] or [("nothing",)]))
        inner = data
        for key in way:
            inner = inner[key]
        if isinstance(inner, dict) and draw(st.booleans()):
            inner.pop(last, None)
        elif isinstance(inner, (dict, list)) and last != "nothing":
            inner[last] = draw(ANYTHING)
    return data


def imports_or_refuses(content: bytes, name: str = "") -> None:
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.json"
        path.write_bytes(content)
        try:
            files = read(path, name=name)
            run = write_imported(files, Path(folder) / "runs", FakeClock(), command=["llmci"])
        except ConfigError as error:
            said = str(error)
        else:
            holds_numbers_alone(run.folder)
    assert "\n" not in said


def holds_numbers_alone(folder: Path) -> None:
    for cell in build_report(folder).cells:
        numbers = [value for column in cell.columns.samples().values() for value in column]
        assert all(math.isfinite(value) and value >= 0 for value in numbers)
        assert cell.verdict == "pass" or not numbers


@given(damaged(), st.sampled_from(["", *(entry.name for entry in IMPORTERS)]))
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_document_is_imported_or_refused(data: Any, name: str) -> None:
    """With any value of a document replaced, and read as whatever format, nothing but ConfigError comes out of it."""
    imports_or_refuses(json.dumps(data).encode(), name)


@given(ANYTHING, st.sampled_from(["", *(entry.name for entry in IMPORTERS)]))
@settings(max_examples=50)
def test_any_json_is_imported_or_refused(data: Any, name: str) -> None:
    """The same of JSON that no tool has written."""
    imports_or_refuses(json.dumps(data).encode(), name)


@given(damaged(), st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_cut_document_is_refused(data: Any, more: st.DataObject) -> None:
    """A document that ends early is refused, wherever it ends."""
    content = json.dumps(data).encode()
    if not content.startswith((b"{", b"[")):
        return
    cut = content[: more.draw(st.integers(0, len(content) - 1))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.json"
        path.write_bytes(cut)
        with pytest.raises(ConfigError):
            read(path)


@given(st.binary(max_size=200), st.sampled_from(["", *(entry.name for entry in IMPORTERS)]))
@settings(max_examples=50)
def test_any_bytes_are_imported_or_refused(content: bytes, name: str) -> None:
    """The same of bytes."""
    imports_or_refuses(content, name)
