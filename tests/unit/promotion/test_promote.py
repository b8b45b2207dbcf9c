from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from mlflow_stores import open_store
from registered import log_run
from sample_run import header
from stored_runs import judged, simple, started, write_run

from pytest_llmci.backends.cache import folder_sha256
from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import ConfigError, LogTamperedError, SinkError
from pytest_llmci.promotion import promote as module
from pytest_llmci.promotion.champion import log_of_version, promoted
from pytest_llmci.promotion.promote import Promotion, Wanted, promote
from pytest_llmci.promotion.rollback import rollback
from pytest_llmci.promotion.turn import PREFIX
from pytest_llmci.promotion.versions import RegisteredModel, Shelf
from pytest_llmci.records import LogRecord, ModelSpec
from pytest_llmci.store.log import LOG_NAME, LogWriter
from pytest_llmci.tracking.connection import Connection, connect
from pytest_llmci.tracking.lookup import TrackedRun, download, list_artifacts


@dataclass
class World:
    """A store, and runs that are logged in it."""

    path: Path
    connection: Connection
    runs: int = 0

    def run(self, records: list[LogRecord] | None = None, *, logged: bool = True, **more: Any) -> Path:
        self.runs += 1
        folder = write_run(self.path, self.runs, records or simple(seed=self.runs), **more)
        if logged:
            log_run(self.connection, folder)
        return folder

    def promote(self, folder: Path, **more: Any) -> Promotion:
        wanted = Wanted(**{"name": "assistant", "folder": folder, "cache": self.path / "cache", **more})
        return promote(lambda: self.connection, wanted, clock=FakeClock())

    @property
    def shelf(self) -> Shelf:
        return RegisteredModel(self.connection, "assistant", "test").require()

    def tags(self, number: int) -> dict[str, str]:
        version = self.shelf.version(number)
        assert version is not None
        return dict(version.tags)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, open_store(tmp_path / "store"))


def test_the_first_version_is_promoted_on_its_own_evidence(world: World) -> None:
    folder = world.run()
    done = world.promote(folder)
    assert (done.outcome, done.version, done.before, done.created) == ("promoted", 1, None, True)
    assert world.shelf.aliases == {"champion": 1}
    tags = world.tags(1)
    assert tags["validation_status"] == tags["llmci.champion.decision"] == "approved"
    assert tags["llmci.champion.decided"] == "2026-01-01T00:00:00.000Z"
    assert tags["llmci.champion.number"] == "1"
    assert "holds: ended: its session passed (exit status 0)" in tags["llmci.champion.reasons"].splitlines()
    assert "promoted on its own evidence" in tags["llmci.champion.reasons"]
    assert (tags["llmci.run_id"], tags["llmci.model"], tags["llmci.spec"]) == (folder.name, "a", done.pointer.spec.text)
    assert tags["llmci.pointer_sha256"] == done.pointer.digest
    assert not [key for key in world.shelf.tags if key.startswith(PREFIX)]


def test_what_the_alias_stands_for_is_found_again_to_the_hash(world: World) -> None:
    folder = world.run(simple(info={"file_sha256": "abc", "revision": "c" * 40}))
    done = world.promote(folder)
    found = promoted(world.connection, "assistant@champion", "serve")
    assert found.pointer == done.pointer
    assert (found.version.number, found.pointer.sha256) == (1, "abc")
    log = log_of_version(world.connection, found.version, "x", cache=world.path / "cache") / LOG_NAME
    assert log.read_bytes() == (folder / LOG_NAME).read_bytes()


def test_one_that_is_not_worse_takes_the_alias_and_names_what_changed(world: World) -> None:
    world.promote(world.run())
    done = world.promote(world.run(simple(factor=0.4, info={"dtype": "bfloat16"})))
    assert (done.outcome, done.version, done.before) == ("promoted", 2, 1)
    assert world.shelf.aliases == {"champion": 2}
    assert world.tags(2)["llmci.champion.against"] == "1"
    assert "changed: dtype: float32 -> bfloat16" in world.tags(2)["llmci.champion.reasons"]


def test_a_slower_one_is_refused_and_recorded_without_the_alias(world: World) -> None:
    world.promote(world.run())
    done = world.promote(world.run(simple(factor=1.6)))
    assert (done.outcome, done.version, done.before, done.refused) == ("refused", 2, 1, True)
    assert world.shelf.aliases == {"champion": 1}
    tags = world.tags(2)
    assert tags["validation_status"] == tags["llmci.champion.decision"] == "refused"
    assert "fails: champion: worse than version 1: " in tags["llmci.champion.reasons"]
    assert "llmci.champion.number" not in tags
    assert "refused version 2: champion: worse than version 1" in world.shelf.tags["llmci.champion.history"]


def test_a_run_that_failed_is_refused_with_all_reasons(world: World) -> None:
    folder = world.run([*simple(["tcp"])[:-1], judged(passed=False, verdict="failed")])
    done = world.promote(folder)
    assert done.outcome == "refused" and [each.name for each in done.evidence.reasons] == ["verdicts", "checks"]
    assert world.shelf.aliases == {}
    assert done.data["reasons"] == [str(each) for each in done.evidence.reasons]


def test_what_could_not_be_told_follows_the_policy(world: World) -> None:
    world.promote(world.run())
    short = world.run(simple(n=1, seed=9))
    done = world.promote(short, policy="inconclusive")
    assert (done.outcome, [each.standing for each in done.evidence.reasons]) == ("refused", ["undecided"])
    done = world.promote(short)
    assert (done.outcome, done.version) == ("promoted", 2)  # the version that was refused before
    assert world.tags(2)["validation_status"] == "approved"
    assert "undecided: champion: not proven to be as good as version 1" in world.tags(2)["llmci.champion.reasons"]


def test_an_accepted_change_is_no_reason(world: World) -> None:
    world.promote(world.run())
    slower = world.run(simple(factor=1.6))
    assert world.promote(slower, dry_run=True).outcome == "would refuse"
    assert world.promote(slower, accepted=lambda *_: "meant").outcome == "promoted"


def test_another_machine_is_refused_whatever_the_policy(world: World) -> None:
    world.promote(world.run())
    done = world.promote(world.run(environment={"cpu_model": "B"}))
    assert done.outcome == "refused"
    assert "other hardware: cpu_model: A -> B" in done.evidence.reasons[0].text


def test_the_same_run_again_changes_nothing(world: World) -> None:
    folder = world.run()
    world.promote(folder)
    before = world.tags(1)
    done = world.promote(folder, policy="inconclusive")
    assert (done.outcome, done.evidence.findings[-1].text) == ("already", "version 1 is of this run")
    assert (len(world.shelf.versions), world.tags(1)) == (1, before)
    assert world.promote(folder, alias="canary").outcome == "promoted"
    assert (len(world.shelf.versions), world.shelf.aliases) == (1, {"champion": 1, "canary": 1})


def test_a_rehearsal_writes_nothing(world: World) -> None:
    folder = world.run(logged=False)
    assert world.promote(folder, dry_run=True).outcome == "would promote"
    assert RegisteredModel(world.connection, "assistant", "x").find() is None
    assert world.connection.client.search_runs(["0"]) == []


def test_of_several_models_one_must_be_named(world: World) -> None:
    folder = world.run([*simple(), *simple(model="b")])
    with pytest.raises(ConfigError, match="measured 2 models, and a version is one: add --model with one of a, b"):
        world.promote(folder)
    with pytest.raises(ConfigError, match="promote --model: unknown model 'c'.*Known: a, b"):
        world.promote(folder, model="c")
    done = world.promote(folder, model="b")
    assert (done.pointer.model, world.tags(1)["llmci.model"]) == ("b", "b")


def test_models_of_other_names_are_compared_as_one(world: World) -> None:
    world.promote(world.run(simple(model="older")))
    assert world.promote(world.run(simple(model="newer", factor=1.6))).outcome == "refused"
    assert world.promote(world.run(simple(model="newest", factor=0.4))).outcome == "promoted"


def test_a_log_that_was_changed_is_registered_nowhere(world: World) -> None:
    folder = world.run(logged=False)
    log = folder / LOG_NAME
    log.write_bytes(log.read_bytes().replace(b'"float32"', b'"float16"', 1))
    with pytest.raises(LogTamperedError, match="refused: the run does not verify"):
        world.promote(folder)
    assert RegisteredModel(world.connection, "assistant", "x").find() is None


def test_a_log_that_was_written_anew_is_not_the_one_in_mlflow(world: World) -> None:
    folder = world.run()
    log = folder / LOG_NAME
    log.unlink()
    writer = LogWriter(log, clock=FakeClock())
    writer.append(header(run_id=folder.name))
    for record in simple(factor=0.1):
        writer.append(record)
    writer.close(0)
    with pytest.raises(LogTamperedError, match="stands for .* too, and its log is another one"):
        world.promote(folder)


def test_the_log_of_the_champion_must_be_the_one_that_was_promoted(world: World, tmp_path: Path) -> None:
    world.promote(world.run())
    (log,) = (tmp_path / "store").rglob(LOG_NAME)
    log.write_bytes(log.read_bytes().replace(b'"latency":[1', b'"latency":[9', 1))
    with pytest.raises(
        LogTamperedError, match=r"assistant version 1: the log of its run .* is not the one that was promoted"
    ):
        world.promote(world.run())
    assert world.shelf.aliases == {"champion": 1}


def test_a_pointer_that_was_changed_is_not_served(world: World, tmp_path: Path) -> None:
    world.promote(world.run())
    (pointer,) = (tmp_path / "store").rglob("model_pointer.json")
    pointer.write_bytes(pointer.read_bytes().replace(b"tiny", b"tinz").replace(b"float32", b"float16"))
    with pytest.raises(LogTamperedError, match="its model_pointer.json is not the one that was registered"):
        promoted(world.connection, "assistant", "serve")


def test_a_version_of_somebody_else_cannot_be_compared_with(world: World) -> None:
    client = world.connection.client
    client.create_registered_model("assistant")
    run = client.create_run("0")
    client.create_model_version(
        "assistant", f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, await_creation_for=0
    )
    client.set_registered_model_alias("assistant", "champion", "1")
    done = world.promote(world.run())
    assert done.outcome == "refused"
    assert "assistant version 1 was not registered by llmci promote" in done.evidence.reasons[0].text
    with pytest.raises(ConfigError, match="was not registered by llmci promote"):
        promoted(world.connection, "assistant@champion", "serve")


def test_local_weights_are_uploaded_when_asked_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(tmp_path / "own-cache"))
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF and so on")
    spec = ModelSpec(alias="a", backend="hf", target=str(weights), text=f"a=hf:{weights}")
    digest = sha256(weights.read_bytes()).hexdigest()
    folder = world.run(simple_of(spec, digest))
    done = world.promote(folder, upload=True)
    found = promoted(world.connection, "assistant", "serve")
    assert (found.pointer.weights, found.pointer.sha256) == ("weights/model.gguf", digest)
    assert found.version.source.endswith("/weights/model_pointer.json")
    got = download(world.connection, found.version.mlflow_run, found.pointer.weights, tmp_path / "got")
    assert got.read_bytes() == weights.read_bytes()
    assert done.pointer == found.pointer
    weights.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"model.gguf is not what .* measured: sha256 .*Measure it again"):
        world.promote(folder, upload=True)
    with pytest.raises(
        ConfigError,
        match="has no weights on this machine to upload; without --upload the version points at revision r1",
    ):
        world.promote(world.run(), upload=True)


def test_a_folder_of_weights_is_uploaded_as_it_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(tmp_path / "own-cache"))
    weights = tmp_path / "my-model"
    (weights / "sub").mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    (weights / "sub" / "part.safetensors").write_bytes(b"numbers")
    spec = ModelSpec(alias="a", backend="hf", target=str(weights), text=f"a=hf:{weights}")
    digest = folder_sha256(weights, tmp_path / "own-cache")
    world.promote(world.run([started(spec=spec, info={"manifest_sha256": digest}), *simple()[1:]]), upload=True)
    found = promoted(world.connection, "assistant", "serve")
    assert (found.pointer.weights, found.pointer.sha256_of) == ("weights/my-model", "folder")
    files = list_artifacts(world.connection, found.version.mlflow_run)
    assert {name for name in files if name.startswith("weights/")} == {
        "weights/model_pointer.json", "weights/my-model/config.json", "weights/my-model/sub/part.safetensors"
    }  # fmt: skip


def simple_of(spec: ModelSpec, digest: str) -> list[LogRecord]:
    return [started(spec=spec, info={"file_sha256": digest}), *simple()[1:]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alias": "latest"}, "promote: 'latest' is no alias"),
        ({"alias": "v3"}, "promote: 'v3' is no alias"),
        ({"alias": "a b"}, "promote: 'a b' is no alias"),
        ({"name": "a/b"}, "promote: 'a/b' is no name of a registered model"),
        ({"name": ""}, "promote: '' is no name of a registered model"),
        ({"name": "it's"}, "promote: 'it's' is no name"),
    ],
)
def test_names_that_mlflow_refuses(world: World, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        world.promote(world.run(), **changes)


def test_a_store_that_cannot_be_reached_is_said_before_anything_is_uploaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = connect("http://127.0.0.1:9", "test")
    with pytest.raises(SinkError, match=r"MLflow at http://127.0.0.1:9: cannot read the registered model 'assistant'"):
        promote(lambda: away, Wanted(name="assistant", folder=world.run()))


# --------------------------------------------------------------------------------------------------------- rolling back


def three(world: World) -> list[Promotion]:
    return [world.promote(world.run(simple(seed=number, factor=0.5**number))) for number in range(3)]


def back(world: World, **more: Any) -> tuple[int, int]:
    done = rollback(world.connection, "assistant", clock=FakeClock(), **more)
    return done.before, done.now


def test_each_rollback_goes_one_approved_version_further_back(world: World) -> None:
    assert [each.version for each in three(world)] == [1, 2, 3]
    assert back(world, reason="it swears") == (3, 2)
    assert world.shelf.aliases == {"champion": 2}
    assert world.tags(3)["llmci.champion.withdrawn"] == "2026-01-01T00:00:00.000Z it swears"
    assert world.tags(3)["validation_status"] == "withdrawn"
    assert world.tags(2)["llmci.champion.restored"].endswith("in place of version 3: it swears")
    assert back(world) == (2, 1)
    with pytest.raises(ConfigError, match="no version of 'assistant' was approved as 'champion' before version 1"):
        back(world)
    assert world.shelf.aliases == {"champion": 1}
    assert [line.partition(" ")[2] for line in world.shelf.tags["llmci.champion.history"].splitlines()] == [
        "promoted version 1", "promoted version 2, in place of version 1", "promoted version 3, in place of version 2",
        "rolled back from version 3 to version 2: it swears", "rolled back from version 2 to version 1: no reason was given",
    ]  # fmt: skip


def test_refused_and_withdrawn_versions_are_passed_over(world: World) -> None:
    world.promote(world.run(simple(factor=1.0)))
    world.promote(world.run(simple(factor=3.0)))  # refused
    fast = world.run(simple(factor=0.5))
    assert world.promote(fast).version == 3
    assert back(world) == (3, 1)
    faster = world.run(simple(factor=0.25))
    assert world.promote(faster).version == 4
    assert back(world) == (4, 1)
    assert world.promote(fast).outcome == "promoted"  # what was withdrawn may earn it again
    assert "llmci.champion.withdrawn" not in world.tags(3)
    assert back(world) == (3, 1)


def test_an_alias_that_was_set_by_hand_goes_back_to_the_last_approved(world: World) -> None:
    three(world)
    slow = world.promote(world.run(simple(factor=3.0)))
    world.connection.client.set_registered_model_alias("assistant", "champion", str(slow.version))
    assert back(world) == (4, 3)
    world.connection.client.set_registered_model_alias("assistant", "champion", "2")
    assert back(world) == (2, 1)


def test_a_rehearsed_rollback_writes_nothing_and_tells_the_way_back(world: World) -> None:
    world.promote(world.run(simple(), environment={"git": {"commit": "1" * 40, "dirty": False}}))
    world.promote(world.run(simple(factor=0.5), environment={"git": {"commit": "2" * 40, "dirty": False}}))
    before = world.shelf
    done = rollback(world.connection, "assistant", dry_run=True)
    assert (done.before, done.now, world.shelf) == (2, 1, before)
    assert [line.partition("#")[0].strip() for line in done.way_back] == [
        "git checkout 111111111111", "git revert --no-edit 111111111111..222222222222", "pytest --llmci --llm-models=a=echo",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "alias", "words"),
    [
        (
            "assistent",
            "champion",
            r"rollback: MLflow at sqlite.* has no registered model 'assistent'. Did you mean 'assistant'\? Known: assistant",
        ),
        (
            "assistant",
            "canary",
            r"rollback: registered model 'assistant' has no alias 'canary'. It has champion \(version 1\)",
        ),
    ],
)
def test_a_name_or_an_alias_that_does_not_exist(world: World, name: str, alias: str, words: str) -> None:
    world.promote(world.run())
    with pytest.raises(ConfigError, match=words):
        rollback(world.connection, name, alias=alias)


def test_a_champion_that_changed_while_one_waited_is_the_one_that_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look and the own turn somebody else promotes a faster model."""
    world.promote(world.run())
    fast, middle = world.run(simple(factor=0.3)), world.run(simple(factor=0.6))
    pointed, looked = module._Promoting._pointed, list[int]()

    def meanwhile(self: Any, home: TrackedRun) -> str:
        if not looked:
            looked.append(1)
            assert world.promote(fast).outcome == "promoted"
        return pointed(self, home)

    monkeypatch.setattr(module._Promoting, "_pointed", meanwhile)
    done = world.promote(middle)
    assert (done.outcome, done.before, world.shelf.aliases) == ("refused", 2, {"champion": 2})
    assert world.tags(3)["llmci.champion.against"] == "2"
