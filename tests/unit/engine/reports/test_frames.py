from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import pytest
from sample_run import rounds, usual_records, verdict, worker, write_log

import pytest_llmci
from pytest_llmci.errors import ConfigError, MissingExtraError

pandas = pytest.importorskip("pandas")


def run(tmp_path: Path, *records: Any) -> pytest_llmci.Run:
    write_log(tmp_path, records or usual_records())
    return pytest_llmci.load_run(tmp_path)


def test_a_round_is_a_row_in_si_units(tmp_path: Path) -> None:
    frame = run(tmp_path, worker(), rounds(latencies_ms=(100, 120), noisy=["", "stole"]), verdict()).to_frame()
    assert frame["latency"].tolist() == [0.1, 0.12] and frame["peak_rss"].tolist() == [250_000_000.0, 250_000_001.0]
    assert frame["output"].tolist() == ["An answer."] * 2 and frame["round"].tolist() == [0, 1]
    assert frame["noisy"].tolist() == ["", "stole"] and frame["status"].tolist() == ["ok", "ok"]
    assert set(frame["model"]) == {"a"} and set(frame["prompt"]) == {"What is TCP?"}


def test_what_was_not_measured_is_nan(tmp_path: Path) -> None:
    values = {"latency": [100_000_000, None], "output_tokens": [50, 50]}
    frame = run(tmp_path, worker(), rounds(latencies_ms=(1, 2), values=values)).to_frame()
    assert frame["latency"].isna().tolist() == [False, True]
    assert frame["cpu_percent"].isna().all()


def test_models_and_cells_have_their_statistics_and_reasons(tmp_path: Path) -> None:
    found = run(tmp_path)
    models, cells = found.models(), found.cells()
    assert len(models) == len(found.report.models) and len(cells) == len(found.report.cells)
    first = found.report.models[0]
    assert models["latency.median"][0] == first.summary("latency").median
    failed = cells[cells["verdict"] == "failed"]
    assert failed["why"].str.contains("SIGKILL").any()
    assert math.isnan(failed["latency"].iloc[-1]) or failed["latency"].iloc[-1] > 0


def test_a_notebook_shows_the_verdict_and_escapes_names(tmp_path: Path) -> None:
    found = run(tmp_path, worker(model="<b>x</b>"), rounds(model="<b>x</b>"), verdict(model="<b>x</b>"))
    page = found._repr_html_()
    assert "1 cell passed" in page and "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x" not in page
    assert repr(found).startswith(f"<run {found.id}: 1 cell passed")


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        pytest_llmci.load_run("nowhere", tmp_path)


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llmci\[report\]'"):
        found.to_frame()
    assert "<table>" in found._repr_html_()
