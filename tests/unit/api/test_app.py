from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from sample_run import usual_records
from starlette.testclient import TestClient
from stored_runs import simple, write_run

from pytest_llmci.api.app import MOST, build_app
from pytest_llmci.clock import FakeClock
from pytest_llmci.dashboard.source import RunRow, Source, open_source
from pytest_llmci.errors import SinkError
from pytest_llmci.store.log import LOG_NAME

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the test client


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two that can be compared, and one with a crash."""
    return [
        write_run(tmp_path, 1, simple()),
        write_run(tmp_path, 2, simple(seed=1, factor=1.5)),
        write_run(tmp_path, 3, usual_records()),
    ]


@pytest.fixture
def client(runs: list[Path]) -> TestClient:
    return TestClient(build_app(open_source(str(runs[0].parent))), raise_server_exceptions=False)


def got(client: TestClient, address: str, status: int = 200) -> Any:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_health_and_the_list(client: TestClient, runs: list[Path]) -> None:
    assert got(client, "/health") | {"version": ""} == {
        "status": "ok",
        "version": "",
        "runs": 3,
        "newest": runs[2].name,
        "reason": "",
    }
    page = got(client, "/runs?limit=2")
    assert (page["total"], [run["id"] for run in page["items"]]) == (3, [runs[2].name, runs[1].name])
    assert [run["id"] for run in got(client, "/runs?limit=2&offset=2")["items"]] == [runs[0].name]
    assert got(client, "/runs?offset=99")["items"] == []
    assert page["items"][1]["state"] == "passed" and page["items"][1]["commit"] == "1" * 40


class Dying:
    """A place of runs that does not answer when it is told so."""

    shown = "http://127.0.0.1:5000"

    def __init__(self, source: Source) -> None:
        self._source = source
        self.says = ""
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.says:
            raise SinkError(self.says)

    def rows(self) -> list[RunRow]:
        self.check()
        return self._source.rows()

    def folder(self, run_id: str) -> Path:
        self.check()
        return self._source.folder(run_id)


def test_a_place_that_dies_is_told_in_one_line_and_asked_again_later(runs: list[Path]) -> None:
    source, clock = Dying(open_source(str(runs[0].parent))), FakeClock()
    client = TestClient(build_app(source, clock=clock), raise_server_exceptions=False)
    assert got(client, "/health")["status"] == "ok"
    source.says = "MLflow at http://127.0.0.1:5000: cannot search the runs: Connection refused"
    asked = source.asked
    told = client.get("/runs")
    assert told.json() == {"title": "Service Unavailable", "status": 503, "detail": source.says}
    assert told.headers["content-type"] == "application/problem+json" and told.headers["retry-after"] == "2"
    health = got(client, "/health", 503)
    assert (health["status"], health["runs"], health["reason"]) == ("unhealthy", None, source.says)
    assert got(client, f"/runs/{runs[0].name}/cells", 503)["detail"] == source.says
    assert source.asked == asked + 1  # one try, which may take seconds, for all of them
    clock.sleep(2)
    assert got(client, "/health", 503) and source.asked == asked + 2
    source.says = ""
    clock.sleep(2)
    assert got(client, "/health")["runs"] == 3 and got(client, "/runs")["total"] == 3


def test_a_log_that_cannot_be_fetched_is_no_fault_of_the_api(runs: list[Path]) -> None:
    source = Dying(open_source(str(runs[0].parent)))
    client = TestClient(build_app(source), raise_server_exceptions=False)
    listed, source.rows = source.rows(), lambda: listed  # type: ignore[method-assign]  # the list came just before
    source.says = "MLflow at http://127.0.0.1:5000: cannot copy log.jsonl: Connection refused"
    assert got(client, f"/runs/{runs[0].name}", 503)["detail"] == source.says


def test_a_folder_that_is_gone_is_told(runs: list[Path], tmp_path: Path) -> None:
    client = TestClient(build_app(open_source(str(tmp_path))), raise_server_exceptions=False)
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert got(client, "/runs", 503)["detail"] == f"{tmp_path}: the folder cannot be read: No such file or directory."
    assert got(client, "/health", 503)["status"] == "unhealthy"


def test_a_run_that_goes_while_it_is_asked_for_is_not_found(runs: list[Path]) -> None:
    source = open_source(str(runs[0].parent))
    client = TestClient(build_app(source), raise_server_exceptions=False)
    listed = source.rows()
    source.rows = lambda: listed  # type: ignore[method-assign]  # the list came just before
    gone, other = runs[0].name, runs[1].name
    shutil.rmtree(runs[0])
    for path in (
        f"/runs/{gone}",
        f"/runs/{gone}/cells",
        f"/comparisons?base={gone}&candidate={other}",
        f"/comparisons?base={other}&candidate={gone}",
    ):
        assert "is gone" in got(client, path, 404)["detail"]


def test_a_parameter_that_is_not_there_has_no_value(client: TestClient) -> None:
    assert client.get("/comparisons?base=x").json()["detail"] == "candidate: Field required"


@pytest.mark.parametrize("query", ["limit=0", f"limit={MOST + 1}", "offset=-1", "limit=many", "offset=99999999999999"])
def test_pages_have_bounds(query: str, client: TestClient) -> None:
    told = client.get(f"/runs?{query}")
    assert told.status_code == 422 and told.headers["content-type"] == "application/problem+json"
    assert told.json()["detail"].startswith(f"{query}: Input should be ") and told.json()["title"]


def test_a_run_its_cells_and_verdicts(client: TestClient, runs: list[Path]) -> None:
    address = f"/runs/{runs[2].name}"
    run = got(client, address)
    assert [model["alias"] for model in run["results"]] == ["a", "b"]
    assert run["results"][0]["statistics"]["latency"]["median"] == pytest.approx(0.155)
    cells = got(client, f"{address}/cells")
    assert (cells["total"], [cell["id"] for cell in cells["items"]]) == (3, ["a-tcp", "a-dns", "b-tcp"])
    first = cells["items"][0]
    assert first["metrics"]["latency"] == {"n": 3, "median": pytest.approx(0.11), "reason": ""} and first[
        "outputs"
    ] == ["An answer."]
    crashed = got(client, f"{address}/cells?model=b")["items"][0]
    assert (
        "SIGKILL" in crashed["error"]
        and crashed["metrics"]["latency"]["median"] is None
        and crashed["metrics"]["latency"]["reason"]
    )
    failed = got(client, f"{address}/verdicts?verdict=failed")
    assert [each["cell"] for each in failed["items"]] == ["b-tcp"]
    assert got(client, f"{address}/verdicts?limit=1")["items"][0]["checks"] == [
        {"name": "valid", "passed": True, "message": "ok"}
    ]
    assert got(client, f"{address}/gates")["total"] == 0
    for part in ("cells", "verdicts"):  # an empty page would be taken for one without failures
        assert got(client, f"{address}/{part}?verdict=fail", 422)["detail"].startswith(
            "verdict=fail: Input should be 'pass'"
        )
        assert got(client, f"{address}/{part}?verdict=")["total"] == 3


def test_a_comparison_says_what_llmci_compare_says(client: TestClient, runs: list[Path]) -> None:
    found = got(client, f"/comparisons?base={runs[0].name}&candidate={runs[1].name}&limit=1")
    assert (found["verdict"], found["counts"], found["cells"]["total"]) == ("regressed", {"regressed": 2}, 2)
    assert len(found["cells"]["items"]) == 1 and found["headline"].startswith("2 cells: 2 regressed")
    worse = [result for result in found["cells"]["items"][0]["results"] if result["verdict"] == "regressed"]
    assert worse and worse[0]["change"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("address", ["/", "/runs", "/nothing", "/openapi.json"])
def test_nothing_can_be_written(method: str, address: str, client: TestClient) -> None:
    answer = client.request(method, address)
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("address", ["/health", "/runs", "/", "/openapi.json"])
def test_heads_are_those_of_the_answers(address: str, client: TestClient) -> None:
    assert client.head(address).headers["content-type"] == client.get(address).headers["content-type"]


def test_a_log_that_was_changed_is_told_and_not_shown(client: TestClient, runs: list[Path]) -> None:
    log = runs[0] / LOG_NAME
    log.write_bytes(log.read_bytes().replace(b"What is tcp?", b"What is TCP?", 1))
    assert LOG_NAME in got(client, f"/runs/{runs[0].name}", 500)["detail"]


def test_a_page_of_another_name_reads_nothing(runs: list[Path]) -> None:
    client = TestClient(build_app(open_source(str(runs[0].parent)), ("127.0.0.1",)), base_url="http://127.0.0.1")
    assert client.get("/runs").status_code == 200
    assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 421


def test_the_description_is_whole(client: TestClient) -> None:
    api = got(client, "/openapi.json")
    assert set(api["paths"]) == {
        "/health", "/runs", "/runs/{run_id}", "/runs/{run_id}/cells", "/runs/{run_id}/verdicts", "/runs/{run_id}/gates", "/comparisons",
    }  # fmt: skip
    for path, verbs in api["paths"].items():
        assert set(verbs) == {"get"} and verbs["get"]["summary"], path
        answers = verbs["get"]["responses"]
        assert "$ref" in json.dumps(answers["200"]["content"]["application/json"]["schema"]), path
        problems = {status: list(answer["content"]) for status, answer in answers.items() if status != "200"}
        wanted = "application/json" if path == "/health" else "application/problem+json"
        assert problems and set(map(tuple, problems.values())) == {(wanted,)}, path


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    answer = client.get("/")
    assert not re.search(r"https?://|//[a-z]+\.", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def logged(folder: Path) -> tuple[TestClient, list[Path]]:
    """The API of a real store, and the runs that were logged to it."""
    pytest.importorskip("mlflow")
    from mlflow_stores import open_store
    from registered import log_run

    runs = [write_run(folder / "runs", number, simple(seed=number, factor=number)) for number in (1, 2)]
    store = open_store(folder / "store")
    for run in runs:
        log_run(store, run)
    source = open_source(store.uri, "api")
    return TestClient(build_app(source), raise_server_exceptions=False), runs


def test_the_runs_of_an_mlflow_store(tmp_path: Path) -> None:
    client, runs = logged(tmp_path)
    here = TestClient(build_app(open_source(str(tmp_path / "runs"))))
    assert got(client, "/health")["runs"] == 2
    assert {run["id"] for run in got(client, "/runs")["items"]} == {run.name for run in runs}
    for part in ("cells", "verdicts", "gates"):
        assert got(client, f"/runs/{runs[0].name}/{part}") == got(here, f"/runs/{runs[0].name}/{part}")
    details, expected = got(client, f"/runs/{runs[0].name}"), got(here, f"/runs/{runs[0].name}")
    assert [details[name] for name in ("digest", "verdict", "results")] == [
        expected[name] for name in ("digest", "verdict", "results")
    ]
    pair = f"/comparisons?base={runs[0].name}&candidate={runs[1].name}"
    assert got(client, pair) == got(here, pair)
    assert "there is no run of that id" in got(client, "/runs/nope", 404)["detail"]


def test_a_log_that_was_replaced_in_the_store_is_told(tmp_path: Path) -> None:
    client, runs = logged(tmp_path)
    for place in (tmp_path / "store").rglob(LOG_NAME):
        if runs[0].name in place.read_text("utf-8"):
            place.write_bytes((runs[1] / LOG_NAME).read_bytes())  # whole in itself
    for _ in range(2):
        told = got(client, f"/runs/{runs[0].name}", 500)["detail"]
        assert told.endswith(f"the log of {runs[0].name} is not the one that was logged.")
    assert got(client, f"/runs/{runs[1].name}")["id"] == runs[1].name
