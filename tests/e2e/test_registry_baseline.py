"""``--llmci-baseline=mlflow:NAME@ALIAS``: a session against the run that was promoted, in a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from bench import Bench
from mlflow_stores import fresh_store, open_store
from registered import log_run
from timing import on_real_time

from pytest_llmci.promotion.promote import Wanted, promote
from pytest_llmci.store.runfolder import resolve_run
from pytest_llmci.tracking.connection import connect

FIXED = ("--llmci-rounds=5", "--llmci-max-rounds=5")
CHAMPION = "--llmci-baseline=mlflow:assistant@champion"


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow, before pytester notes which modules there are: what is imported later it takes away again, and SQLAlchemy cannot be
    imported twice.
    """
    open_store(tmp_path_factory.mktemp("loaded")).client.search_experiments()


@pytest.fixture
def store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = fresh_store(bench.path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(bench.path / "cache"))
    return uri


def crown(bench: Bench, uri: str, **more: Any) -> None:
    """Promote the newest run."""
    folder = resolve_run("latest", bench.path / "llmci-results")
    connection = connect(uri, "test")
    log_run(connection, folder)
    done = promote(lambda: connection, Wanted(name="assistant", folder=folder, cache=Path("cache"), **more))
    assert done.outcome == "promoted", done.evidence.reasons


def comparisons(bench: Bench) -> dict[str, Any]:
    cells = [cell for cell in bench.results()["cells"] if cell["id"].endswith("first")]
    return {each["metric"]: each for cell in cells for each in cell["comparisons"]}


@on_real_time
def test_the_same_model_is_compared_by_the_numbers_of_the_promoted_run(bench: Bench, store: str) -> None:
    bench.suite("echo=echo+ttft=30ms,two=echo", *FIXED)
    crown(bench, store, model="echo")
    result = bench.suite("echo=echo+ttft=30ms,two=echo", CHAMPION, *FIXED)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*baseline assistant@champion: stored numbers, as it was saved outside of a"])
    found = comparisons(bench)
    assert {each["against"] for each in found.values()} == {"assistant@champion"}
    assert found["net_time"]["mode"] == "saved"
    compared = [
        cell["id"] for cell in bench.results()["cells"] if {each["verdict"] for each in cell["comparisons"]} - {"new"}
    ]
    assert compared == ["echo-first", "echo-second"]  # the session's other model is none of that version


@on_real_time
def test_another_model_is_measured_alternately_with_the_promoted_one(bench: Bench, store: str) -> None:
    bench.suite("echo=echo+ttft=30ms", *FIXED)
    crown(bench, store)
    result = bench.suite("echo=echo+ttft=90ms", CHAMPION, *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*assistant@champion is echo=echo+ttft=30ms: both models run with the*"])
    found = comparisons(bench)["net_time"]
    assert (found["mode"], found["against"], found["verdict"]) == ("interleaved", "assistant@champion", "regressed")
    assert found["change"] > 0.5


def test_parallel_workers_are_told_and_the_session_does_not_import_mlflow(bench: Bench, store: str) -> None:
    pytest.importorskip("xdist")
    bench.suite("echo=echo+ttft=30ms", *FIXED)
    crown(bench, store)
    loaded = "import sys\ndef pytest_sessionfinish():\n    open('loaded.txt', 'a').write(f\"{'mlflow' in sys.modules}\\n\")\n"
    bench.write("conftest.py", loaded)
    result = bench.suite("echo=echo+ttft=30ms", CHAMPION, *FIXED, "-n1", fresh=True)
    assert result.ret == 0
    assert {each["against"] for each in comparisons(bench).values()} == {"assistant@champion"}
    assert (bench.path / "loaded.txt").read_text().splitlines() == ["False", "False"]


def test_bad_input_is_a_usage_error_of_one_line(bench: Bench, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.suite("echo=echo", *FIXED)
    crown(bench, store)
    for models, arguments, said in (
        ("echo=echo", ["--llmci-baseline=mlflow:assistant@canary"], ": registered model 'assistant' has no alias 'canary'. It has champion (version 1)*"),
        ("echo=echo", ["--llmci-baseline=mlflow:assistant"],
         ": 'mlflow:assistant' names no alias; expected mlflow:NAME@ALIAS, such as mlflow:assistant@champion."),
        ("echo=echo", [CHAMPION, "--llmci-max-new-tokens=7"],
         ": baseline assistant@champion asked something else: max_new_tokens: 50 -> 7*or renew it: llmci promote assistant --alias champion"),
        ("other=echo", [CHAMPION], ": baseline assistant@champion has none of the 2 cells of this session; it has echo-first*"),
    ):  # fmt: skip
        result = bench.suite(models, *arguments, *FIXED)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: --llmci-baseline{said}"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = bench.suite("echo=echo", CHAMPION, *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --llmci-baseline: MLflow at http://127.0.0.1:9: cannot read the registered model*"]
    )
