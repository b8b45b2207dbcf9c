"""Whatever a client sends as an id, no file is opened but those of listed runs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.testclient import TestClient
from stored_runs import simple, write_run

from pytest_llmci.api.app import build_app
from pytest_llmci.dashboard.source import FolderSource

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the test client
PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "%2e%2e",
        "%2f",
        "~",
        "\0",
        "latest",
        "etc/passwd",
        "log.jsonl",
        "file:",
        "C:",
        "\n",
        "*",
        "#",
        "?",
    ]
)
HOSTILE = st.one_of(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.text(min_size=1, max_size=40))
WAYS = ("/runs/{}", "/runs/{}/cells", "/runs/{}/verdicts", "/runs/{}/gates")


class Watched(FolderSource):
    """Notes which folders are asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: set[str] = set()

    def folder(self, run_id: str) -> Path:
        self.asked.add(run_id)
        return super().folder(run_id)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run; beside it one that nobody may see."""
    top = tmp_path_factory.mktemp("runs")
    write_run(top / "hidden", 2, simple())
    return write_run(top / "shown", 1, simple())


@given(text=HOSTILE, way=st.sampled_from(WAYS), raw=st.booleans())
@example(text="../hidden/20260103T000000Z-000002", way="/runs/{}", raw=False)
@example(text="..%2fhidden%2f20260103T000000Z-000002", way="/runs/{}", raw=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_id_is_looked_up_and_never_opened(text: str, way: str, raw: bool, place: Path) -> None:
    """Only ids that are in the list reach the source, in a path or in a query."""
    source = Watched(place.parent)
    client = TestClient(build_app(source), raise_server_exceptions=False)
    written = quote(text, safe="%/.") if raw else quote(text, safe="")
    client.get(way.format(written), follow_redirects=False)
    query = client.get("/comparisons", params={"base": text, "candidate": place.name})
    assert query.status_code == 404
    assert source.asked == set()
