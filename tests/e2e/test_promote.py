"""From a session to a champion and back, with the real sink and a real store."""

from __future__ import annotations

import pytest

pytest.importorskip("mlflow")

from bench import Bench
from mlflow_stores import fresh_store, open_store

from pytest_llmci.cli.main import main
from pytest_llmci.promotion.champion import promoted
from pytest_llmci.store.log import LOG_NAME
from pytest_llmci.tracking.connection import connect
from pytest_llmci.tracking.lookup import find_runs

FIXED = ("--llmci-rounds=5", "--llmci-max-latency=1s")


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow, before pytester notes which modules there are; see test_registry_baseline.py."""
    open_store(tmp_path_factory.mktemp("loaded")).client.search_experiments()


@pytest.mark.slow
def test_a_session_is_uploaded_promoted_refused_and_rolled_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = fresh_store(bench.path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(bench.path / "cache"))

    def llmci(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out + said.err

    bench.suite("bot=echo+ttft=40ms", *FIXED)
    first = bench.results()["run"]
    status, out = llmci("promote", "support")
    assert (status, "PROMOTED: support@champion is version 1 now" in out) == (0, True), out
    assert out.startswith(f"uploading {first['id']} to MLflow at sqlite:")
    assert "  ok    budgets   2 of 2 passed" in out
    connection = connect(uri, "test")
    found = promoted(connection, "support@champion", "serve")
    assert (found.pointer.spec.text, found.pointer.log_digest) == ("bot=echo+ttft=40ms", first["log_digest"])

    assert llmci("promote", "support")[0] == 0
    assert len(find_runs(connection, first["id"])) == 1  # it was there already

    bench.suite("bot=echo+ttft=120ms", *FIXED)
    status, out = llmci("promote", "support")
    assert status == 1
    assert "  FAILS champion  worse than version 1: net_time of prompt " in out
    assert 'options: {"ttft": "40ms"} -> {"ttft": "120ms"}' in " ".join(out.split())

    bench.suite("bot=echo+ttft=40ms", "--llmci-rounds=5", "--llmci-max-latency=1ms")  # misses its budgets
    status, out = llmci("promote", "support", "--dry-run")
    assert status == 1
    for words in (
        "FAILS ended     its session failed (exit status 1)",
        "FAILS budgets   2 of 2 failed (",
        "would be REFUSED",
    ):
        assert words in out

    bench.suite("bot=echo+ttft=15ms", *FIXED)
    assert llmci("promote", "support")[0] == 0
    status, out = llmci("rollback", "support", "--reason", "it mumbles")
    assert (status, out.splitlines()[0]) == (
        0,
        "ROLLED BACK: support@champion is version 1 again; version 3 is withdrawn",
    )
    assert promoted(connection, "support", "serve").pointer == found.pointer

    (log,) = bench.latest.glob(LOG_NAME)
    log.write_bytes(log.read_bytes()[:-200])
    status, out = llmci("promote", "support", "--run", str(bench.latest))
    assert (status, "refused: the run does not verify" in out) == (1, True)
