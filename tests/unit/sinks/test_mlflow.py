from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mlflow_stores import fresh_store
from sample_run import CRASH, METRICS, header, rounds, usual_records, verdict, worker, write_log
from stored_runs import block, judged, simple, started, write_run

from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import ConfigError, MissingExtraError, SinkError
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import GateRecord, LogRecord
from pytest_llmci.sinks.mlflow import MlflowSink
from pytest_llmci.store.log import LOG_NAME, LogWriter
from pytest_llmci.store.recovery import recover
from pytest_llmci.tracking import connection as connections
from pytest_llmci.tracking.connection import Connection, connect
from pytest_llmci.tracking.contents import Point, _Numbers
from pytest_llmci.tracking.lookup import (
    TrackedRun,
    download,
    find_children,
    find_run,
    find_runs,
    get_run,
    list_artifacts,
)

pytest.importorskip("mlflow")
T = TypeVar("T")
NAME = "20260101T000000Z-abcdef"


class Heard:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.results: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def result(self, text: str) -> None:
        self.results.append(text)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_RUN_ID",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_EXPERIMENT_ID",
        "LLMCI_MLFLOW_EXPERIMENT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)  # where MLflow keeps what experiments hold


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return fresh_store(tmp_path / "store")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    (folder / "workers").mkdir(parents=True)
    write_log(folder, usual_records())
    (folder / "workers" / "b-1.log").write_text("Killed\n")
    (folder / "workers" / "a-1.log").write_text("")
    (folder / "results.csv").write_text("model\n")
    return folder


def send(uri: str, folder: Path) -> Heard:
    sink, heard = MlflowSink(uri), Heard()
    sink.listener = heard
    assert sink.write(build_report(folder), folder) == []
    return heard


def tree(uri: str, name: str = NAME) -> tuple[Connection, TrackedRun, dict[str, TrackedRun]]:
    store = connect(uri, "test")
    parent, *surplus = find_runs(store, name)
    assert surplus == []
    children = find_children(store, parent)
    assert len({child.model for child in children}) == len(children)
    return store, parent, {child.model: child for child in children}


def table(store: Connection, run: TrackedRun, folder: Path) -> list[dict[str, Any]]:
    data = json.loads(download(store, run.id, "results.json", folder).read_text("utf-8"))
    return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]


def test_a_session_is_a_run_and_each_model_one_below_it(uri: str, run: Path, tmp_path: Path) -> None:
    heard = send(uri, run)
    store, parent, children = tree(uri)
    assert (parent.name, parent.status, parent.is_whole, set(children)) == (NAME, "FAILED", True, {"a", "b"})
    assert parent.tags["llmci.log_sha256"] == build_report(run).digest
    assert parent.tags["llmci.failed"] == "b-tcp: crashed: killed by SIGKILL, cause unknown"
    assert parent.tags["llmci.command"] == "pytest --llmci"
    assert parent.params["rounds"] == "3" and parent.params["environment.python"] == "3.11.7"
    assert (parent.metrics["cells"], parent.metrics["failed_cells"], parent.metrics["models"]) == (3, 1, 2)
    a, b = children["a"], children["b"]
    assert (a.status, a.tags["llmci.verdict"]) == ("FINISHED", "inconclusive")
    assert (b.status, b.tags["llmci.verdict"], b.tags["llmci.failed"]) == (
        "FAILED",
        "failed",
        parent.tags["llmci.failed"],
    )
    assert a.metrics["avg_latency"] == pytest.approx(0.155) == a.metrics["latency.mean"]
    assert a.metrics["avg_memory"] == pytest.approx(250_000_001) and a.metrics["avg_cpu"] == 90.5
    assert a.metrics["load_time.median"] == 1.5
    assert "gpu_peak_allocated.median" not in a.metrics and "latency.median" not in b.metrics
    assert "gpu_peak_allocated: no GPU" in a.tags["llmci.missing"].splitlines()
    assert a.params["spec"] == "a=echo" and a.params["revision"] == "main" and a.params["max_new_tokens"] == "50"
    history = store.client.get_metric_history(a.id, "prompt/latency")
    assert [(point.step, point.value) for point in history] == [(0, pytest.approx(0.11)), (1, pytest.approx(0.2))]
    assert heard.results[0] == "MLflow: logged in experiment 'LLM_CI_CD_Benchmark'"
    assert heard.results[1] == f"MLflow: run {parent.id}; look with: mlflow ui --backend-store-uri {uri}"


def test_the_table_has_a_row_a_cell(uri: str, run: Path, tmp_path: Path) -> None:
    send(uri, run)
    store, _, children = tree(uri)
    first, second = table(store, children["a"], tmp_path / "a")
    assert (first["step"], first["prompt_id"], first["latency_ms"], first["memory_mb"], first["verdict"]) == (
        0,
        "tcp",
        110.0,
        250.000001,
        "pass",
    )
    assert (second["prompt_id"], second["latency"], second["error"]) == ("dns", 0.2, None)
    assert first["hash"] == build_report(run).cells[0].outputs[0].md5 and first["output"] == "An answer."
    assert first["gpu_peak_allocated"] is None and "gpu_peak_allocated: no GPU" in first["missing"]
    (crashed,) = table(store, children["b"], tmp_path / "b")
    assert (crashed["verdict"], crashed["error"], crashed["latency_ms"]) == (
        "failed",
        "crashed: killed by SIGKILL, cause unknown",
        None,
    )
    import mlflow

    mlflow.set_tracking_uri(uri)  # where MLflow's own function looks
    try:
        shown = store.client.load_table(children["a"].experiment_id, "results.json", run_ids=[children["a"].id])
    finally:
        mlflow.set_tracking_uri(None)
    assert list(shown["prompt_id"]) == ["tcp", "dns"]


def test_the_files_are_those_of_the_run_folder(uri: str, run: Path, tmp_path: Path) -> None:
    (run / "spool").mkdir()
    (run / "spool" / "x.jsonl").write_text("{}")
    send(uri, run)
    store, parent, _ = tree(uri)
    assert set(list_artifacts(store, parent.id)) == {"log.jsonl", "results.csv", "workers/b-1.log"}
    assert download(store, parent.id, "log.jsonl", tmp_path / "got").read_bytes() == (run / "log.jsonl").read_bytes()


def test_logs_that_are_large_or_many_stay_and_are_named(uri: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmci.tracking.layout.MOST_WORKER_LOG", 6)
    monkeypatch.setattr("pytest_llmci.tracking.layout.MOST_WORKER_LOGS", 2)
    for name in ("c", "d"):
        (run / "workers" / f"{name}-1.log").write_text("x")
    heard = send(uri, run)
    store, parent, _ = tree(uri)
    assert set(list_artifacts(store, parent.id)) == {"log.jsonl", "results.csv", "workers/c-1.log"}
    assert parent.tags["llmci.left_out"].splitlines() == [
        "workers/b-1.log: 7 bytes are more than 6",
        "workers/d-1.log: one of more than 2 logs",
    ]
    assert (
        heard.results[-1]
        == "MLflow: stays in the run folder alone: workers/b-1.log: 7 bytes are more than 6 and 1 more"
    )


def test_a_second_time_changes_nothing_but_brings_new_files(uri: str, run: Path) -> None:
    send(uri, run)
    _, before, children = tree(uri)
    (run / "plots").mkdir()
    (run / "plots" / "a.png").write_bytes(b"png")
    assert send(uri, run).results[0] == "MLflow: was there already, in experiment 'LLM_CI_CD_Benchmark'"
    store, after, same = tree(uri)
    assert (after, same) == (before, children)
    assert "plots/a.png" in list_artifacts(store, after.id)


def cutting(monkeypatch: pytest.MonkeyPatch, at: int, *, done: bool) -> Callable[[], None]:
    """Requests fail from a number on; the first of them is carried out all the same if ``done``."""
    ask, count = Connection.ask, 0

    def failing(self: Connection, what: str, call: Callable[[Any], Any]) -> Any:
        nonlocal count
        count += 1
        if count < at or (count == at and done):
            answer = ask(self, what, call)
            if count < at:
                return answer
        raise SinkError("the server is gone")

    monkeypatch.setattr(Connection, "ask", failing)
    return lambda: monkeypatch.setattr(Connection, "ask", ask)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize(
    "at",
    [pytest.param(at, marks=() if at in (5, 7, 9, 12) else pytest.mark.slow) for at in range(1, 27)],
)
def test_what_was_cut_short_is_completed_and_there_once(
    uri: str, run: Path, monkeypatch: pytest.MonkeyPatch, at: int, done: bool, tmp_path: Path
) -> None:
    restore = cutting(monkeypatch, at, done=done)
    with pytest.raises(SinkError, match="the server is gone"):
        send(uri, run)
    restore()
    send(uri, run)
    store, parent, children = tree(uri)
    whole = fresh_store(tmp_path / "other")
    send(whole, run)
    other, expected, others = tree(whole)
    assert parent.is_whole and parent.status == "FAILED"
    assert list_artifacts(store, parent.id) == list_artifacts(other, expected.id)
    for mine, theirs in [(parent, expected), *((children[name], others[name]) for name in ("a", "b"))]:
        assert (mine.metrics, mine.params, mine.status) == (theirs.metrics, theirs.params, theirs.status)
        assert {name: value for name, value in mine.tags.items() if name != "mlflow.parentRunId"} == {
            name: value for name, value in theirs.tags.items() if name != "mlflow.parentRunId"
        }
    history = store.client.get_metric_history(children["a"].id, "prompt/latency")
    assert len(history) == 2


def test_every_request_of_a_small_run_is_among_those_that_were_cut(uri: str, run: Path) -> None:
    assert len(send(uri, run).steps) - 1 == 26  # the first step is that MLflow is loaded; see the numbers above


def test_a_run_that_is_there_twice_is_there_once_afterwards(uri: str, run: Path) -> None:
    send(uri, run)
    store, first, _ = tree(uri)
    twin = store.client.create_run("0", tags={"llmci.run_id": NAME, "llmci.log_sha256": first.tags["llmci.log_sha256"]})
    store.client.create_run(
        "0", tags={"llmci.of_run": NAME, "llmci.model": "a", "mlflow.parentRunId": twin.info.run_id}
    )
    send(uri, run)
    store, kept, children = tree(uri)
    assert kept.id == first.id and set(children) == {"a", "b"}
    assert find_children(store, get_run(store, twin.info.run_id)) == []


def test_a_log_that_was_completed_later_replaces_what_was_sent(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    write_log(folder, usual_records(), footer=False)
    send(uri, folder)
    _, before, _ = tree(uri)
    assert before.status == "KILLED"
    assert recover(folder, clock=FakeClock()).done
    send(uri, folder)
    _, after, children = tree(uri)
    assert after.id != before.id and set(children) == {"a", "b"}
    assert after.status == "KILLED" and after.tags["llmci.recovered"] == "true"
    assert "The session was killed" in after.tags["mlflow.note.content"]


def test_it_nests_in_the_users_own_run(uri: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect(uri, "test")
    own = store.client.create_experiment("mine")
    mine = store.client.create_run(own)
    monkeypatch.setenv("MLFLOW_RUN_ID", mine.info.run_id)
    assert send(uri, run).results[0] == "MLflow: logged in experiment 'mine'"
    _, parent, children = tree(uri)
    assert parent.tags["mlflow.parentRunId"] == mine.info.run_id
    assert parent.experiment_id == own == children["a"].experiment_id
    assert children["a"].tags["mlflow.parentRunId"] == parent.id
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert send(uri, run).results[0].startswith("MLflow: was there already,")  # also without it


def test_which_experiment(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect(uri, "test")
    by_id = store.client.create_experiment("by id")

    def experiment(number: int) -> str:
        folder = write_run(tmp_path / "runs", number, simple(["tcp"]))
        send(uri, folder)
        found = find_run(store, folder.name)
        assert found is not None
        return str(store.client.get_experiment(found.experiment_id).name)

    assert experiment(1) == "LLM_CI_CD_Benchmark"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", by_id)
    assert experiment(2) == "by id"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by name")
    assert experiment(3) == "by name"
    monkeypatch.setenv("LLMCI_MLFLOW_EXPERIMENT", "by option")
    assert experiment(4) == "by option"


def test_the_session_said_which_experiment(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    folder = tmp_path / NAME
    folder.mkdir()
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    writer.append(header(settings={"mlflow_experiment": "of the session"}))
    writer.close(0)
    assert send(uri, folder).results[0] == "MLflow: logged in experiment 'of the session'"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "LLMCI_MLFLOW_EXPERIMENT",
            "gone",
            r"^experiment 'gone' was deleted in MLflow at sqlite.*: restore it \(mlflow experiments restore --experiment-id 1\), or name",
        ),
        ("MLFLOW_EXPERIMENT_ID", "77", "^MLFLOW_EXPERIMENT_ID: .*77.* Name one with --llmci-mlflow-experiment"),
        ("MLFLOW_RUN_ID", "abc", "^MLFLOW_RUN_ID: .* has no run 'abc'.* Unset it to log a run of its own"),
    ],
)
def test_a_place_that_is_not_there_is_one_line(
    uri: str, run: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    store = connect(uri, "test")
    store.client.delete_experiment(store.client.create_experiment("gone"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=message):
        send(uri, run)
    assert find_runs(store, NAME) == []


def test_a_store_that_may_only_be_read_is_one_line(uri: str, run: Path) -> None:
    path = uri.removeprefix("sqlite:///")
    with pytest.raises(
        SinkError, match="^MLflow at sqlite:///file:.*: cannot make the experiment .*readonly database"
    ) as caught:
        send(f"sqlite:///file:{path}?mode=ro&uri=true", run)
    assert "\n" not in str(caught.value)


def test_odd_names_numbers_and_texts(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    odd = MetricDef(name="p95(ms)", unit="1", direction="lower", definition="Imported.")
    writer = LogWriter(folder / LOG_NAME, clock=FakeClock())
    settings = {"what?": "x", "long": "y" * 7000, "where": "http://ann:secret@h/x"}
    writer.append(header(metrics=[*METRICS, odd], settings=settings))
    writer.append(worker())
    writer.append(rounds(values={"latency": [1e9, 2e9, 3e9], "p95(ms)": [1, 2, 3]}))
    writer.append(verdict())
    writer.append(GateRecord(name="model", outcome="failed", message="slower", model="a"))
    writer.close(1)
    send(uri, folder)
    store, parent, children = tree(uri)
    a = children["a"]
    key, name = next(iter(json.loads(a.tags["llmci.renamed"]).items()))
    assert name == "p95(ms).min" and a.metrics[key] == 1
    assert parent.params["long"].endswith("y... (cut, 7000 in all)") and len(parent.params["long"]) == 6000
    assert parent.tags["llmci.cut"] == "long: whole in llmci-long-texts.json"
    whole = json.loads(download(store, parent.id, "llmci-long-texts.json", tmp_path / "got").read_text("utf-8"))
    assert whole == {"long": "y" * 7000}
    assert parent.params["where"] == "http://***@h/x"
    assert (a.status, a.tags["llmci.gates"], parent.tags["llmci.verdict"]) == (
        "FAILED",
        "model: failed: slower",
        "failed",
    )


def test_what_is_not_finite_is_dropped_and_named() -> None:
    numbers = _Numbers()
    for name, value in [("a", 1.5), ("b", math.inf), ("c", math.nan), ("prompt/d", -math.inf)]:
        numbers.add(name, value, 3 if "/" in name else 0)
    assert numbers.points == [Point("a", 1.5)]
    assert numbers.not_finite == ["b: inf", "c: nan", "prompt/d: -inf (step 3)"]


def test_the_prompts_are_a_dataset_told_apart_by_its_digest(uri: str, tmp_path: Path) -> None:
    digests = []
    for number, prompts in enumerate([["tcp", "dns"], ["dns", "tcp"], ["tcp", "udp"]], start=1):
        folder = write_run(tmp_path / "runs", number, simple(prompts))
        send(uri, folder)
        store, parent, children = tree(uri, folder.name)
        for one in (parent, children["a"]):
            (entry,) = store.client.get_run(one.id).inputs.dataset_inputs
            digests.append(entry.dataset.digest)
            assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "eval")]
            assert json.loads(entry.dataset.profile) == {"num_rows": 2}
    assert digests[0] == digests[1] == digests[2] == digests[3] != digests[4]


def test_equal_protocols_on_equal_machines_have_equal_keys(uri: str, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    cases: list[dict[str, Any]] = [{}, {"info": {"dtype": "bfloat16"}}, {"prompts": ["udp"]}]
    for number, changes in enumerate(cases, start=1):
        send(uri, folder := write_run(tmp_path / "runs", number, simple(**{"prompts": ["tcp"], **changes})))
        found.append(tree(uri, folder.name)[2]["a"].tags)
    assert found[0]["llmci.comparability"] == found[1]["llmci.comparability"]
    assert found[0]["llmci.comparability.subject"] != found[1]["llmci.comparability.subject"]
    assert found[0]["llmci.comparability"] != found[2]["llmci.comparability"]
    assert found[0]["mlflow.source.git.commit"] == "1" * 40 and found[0]["mlflow.source.git.branch"] == "main"


def test_a_prompt_has_the_same_step_in_every_model(uri: str, tmp_path: Path) -> None:
    other = "r-other"
    records: list[LogRecord] = [
        started("a"), block("one"), block("two"), judged("one"), judged("two"),
        started("b"), block("two", model="b"), judged("two", model="b"),
        block("two", model="b", uid=other, test=other), verdict(other, "b", "two", test=other),
    ]  # fmt: skip
    send(uri, folder := write_run(tmp_path / "runs", 1, records))
    store, _, children = tree(uri, folder.name)
    assert [point.step for point in store.client.get_metric_history(children["b"].id, "prompt/latency")] == [1, 2]


def test_a_wide_session_has_its_single_prompts_in_the_tables(
    uri: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmci.tracking.contents.WIDE", 2)
    send(uri, run)
    store, parent, children = tree(uri)
    a = children["a"]
    assert not [name for name in a.metrics if name.startswith("prompt/")] and a.metrics["latency.max"] == 0.21
    assert "latency.min" not in a.metrics and a.metrics["min_latency"] == 0.1
    assert [row["latency"] for row in table(store, a, tmp_path / "a")] == [0.11, 0.2]
    assert store.client.get_run(a.id).inputs.dataset_inputs == []
    assert a.tags["llmci.prompts"] == parent.tags["llmci.prompts"]


def test_a_model_that_never_answered_is_there(uri: str, tmp_path: Path) -> None:
    records: list[LogRecord] = [
        worker("w", "b", error=CRASH, values={}, info={}),
        verdict("v", "b", verdict="failed", error=CRASH, checks=[], rounds=0),
    ]
    send(uri, folder := write_run(tmp_path / "runs", 1, records))
    _, _, children = tree(uri, folder.name)
    assert children["b"].status == "FAILED" and children["b"].metrics["worker_deaths"] == 1
    assert "llmci.comparability" not in children["b"].tags


def test_without_mlflow_the_sink_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"^sink 'mlflow' needs .*pip install 'pytest-llmci\[mlflow\]'"):
        MlflowSink("")
