from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from served import ScriptedServer, hub_snapshot, promoted_model, weights
from waiting import PATIENCE_S, comes_true

from pytest_llmci.backends import gguf, packages
from pytest_llmci.backends.cache import file_sha256, hash_file, remember_sha256
from pytest_llmci.backends.gguf import ConvertedGguf
from pytest_llmci.backends.hub import snapshot_files
from pytest_llmci.errors import ConfigError, LLMCIError, ServingError, UnknownNameError, WeightsChangedError
from pytest_llmci.promotion.champion import Promoted
from pytest_llmci.records import ModelSpec
from pytest_llmci.serving import SERVERS, canary, proof, serve, server_of
from pytest_llmci.serving.base import Launch
from pytest_llmci.serving.process import server_environment
from pytest_llmci.serving.serve import Wanted, serving
from pytest_llmci.serving.transformers_serve import TransformersServer
from pytest_llmci.serving.vllm import VllmServer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are looked at as POSIX has them")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    server = ScriptedServer()
    monkeypatch.setattr(serve, "server_of", lambda *_: server)
    return server


def refused(folder: Path, wanted: Wanted | None = None, **changes: Any) -> LLMCIError:
    with pytest.raises(LLMCIError) as caught, serving(promoted_model(folder, **changes), wanted or Wanted(port=0)):
        pytest.fail("it was served")
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_model_is_proven_started_and_asked_twice(play: ScriptedServer, tmp_path: Path) -> None:
    said: list[str] = []
    with serving(promoted_model(weights(tmp_path / "w")), Wanted(port=0), say=said.append) as served:
        assert served.first_request_s > 0 and served.second_request_s > 0 and served.started_s > 0
        assert served.address.url == f"http://127.0.0.1:{served.address.port}/v1"
        data = served.data
        assert (data["name"], data["version"], data["model"]) == ("support-bot", 3, "support-bot")
        connection = http.client.HTTPConnection("127.0.0.1", served.address.port, timeout=PATIENCE_S)
        connection.request(
            "POST", "/v1/completions", json.dumps({"model": "support-bot", "prompt": "a", "max_tokens": 1})
        )
        assert connection.getresponse().status == 200
        connection.close()
        family = [psutil.Process(served.process.pid), *psutil.Process(served.process.pid).children()]
        assert len(family) == 2
    assert not psutil.wait_procs(family, timeout=PATIENCE_S)[1]
    assert said[1:] == [
        f"sha256 of the folder {str(data['sha256'])[:16]}, as 20260101T000000Z-000001 measured it",
        "starting scripted 1.0",
    ]


@pytest.mark.parametrize("change", ["model.safetensors", "config.json", "new.json"])
def test_weights_that_were_changed_are_refused_before_anything_starts(
    change: str, play: ScriptedServer, tmp_path: Path
) -> None:
    folder = weights(tmp_path / "w")
    found = promoted_model(folder)
    (folder / change).write_bytes(b"x")
    with pytest.raises(WeightsChangedError, match="is not what was promoted: sha256"), serving(found, Wanted(port=0)):
        pytest.fail("it was served")


def test_a_remembered_digest_is_no_proof(play: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, memory = weights(tmp_path / "w"), tmp_path / "cache"
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(memory))
    large = folder / "model.safetensors"
    large.write_bytes(bytes(2**21))
    found = promoted_model(folder)
    right = file_sha256(large, memory)
    large.write_bytes(b"1" + bytes(2**21 - 1))
    remember_sha256(large, right, memory)  # as if it had not changed
    assert file_sha256(large, memory) == right
    with pytest.raises(WeightsChangedError), serving(found, Wanted(port=0)):
        pytest.fail("it was served")


COMMIT = "2290a62682d06624634c1f46a6ad5be0f47f38aa"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit of acme/bot in a cache of the hub's client."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = hub_snapshot(tmp_path / "hub", "acme/bot", weights(tmp_path / "w"))
    return found.rename(found.with_name(COMMIT))


def of_the_hub(snapshot: Path, **changes: Any) -> Promoted:
    """As it was promoted from the files that are there now."""
    spec = ModelSpec(alias="bot", backend="hf", target="acme/bot", revision=COMMIT, text=f"bot=hf:acme/bot@{COMMIT}")
    facts = {
        "spec": spec,
        "sha256": "",
        "sha256_of": "",
        "revision": COMMIT,
        "files": snapshot_files(snapshot, hash_file),
    }
    return promoted_model(snapshot, **{**facts, **changes})


def test_files_of_the_hub_are_those_that_were_measured_and_no_others_are_served(
    play: ScriptedServer, snapshot: Path
) -> None:
    found = of_the_hub(snapshot)
    (snapshot / "adapter_config.json").write_text("{}", "utf-8")  # a server would load it
    with serving(found, Wanted(port=0)) as served:
        given = Path(psutil.Process(served.process.pid).cwd()) / "support-bot"
        assert {path.name for path in given.iterdir()} == {"config.json", "model.safetensors"}
        assert (given / "model.safetensors").read_bytes() == (snapshot / "model.safetensors").read_bytes()
        assert (
            served.data["proof"]
            == f"commit {COMMIT[:12]} of acme/bot, 2 files by the checksums that 20260101T000000Z-000001 measured"
        )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_was_turned_to_another_whole_blob_is_refused(
    name: str, play: ScriptedServer, snapshot: Path, tmp_path: Path
) -> None:
    found = of_the_hub(snapshot)
    content = b"another model of this repository"
    blob = snapshot.parent.parent / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (snapshot / name).unlink()
    (snapshot / name).symlink_to(Path("..", "..", "blobs", blob.name))
    with pytest.raises(WeightsChangedError, match=rf"refused: \S+{name} is not what was promoted: checksum [0-9a-f]{{16}} on"), serving(
        found, Wanted(port=0)
    ):  # fmt: skip
        pytest.fail("it was served")


def test_files_of_the_hub_without_links_or_with_other_names_are_proven(play: ScriptedServer, snapshot: Path) -> None:
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").write_text("{}", "utf-8")  # as where there are no links
    blob = (snapshot / "model.safetensors").resolve()
    named = blob.rename(blob.with_name('W_"etag-of-a-mirror"'))
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(named)
    found = of_the_hub(snapshot)
    assert found.pointer.files == {name: hash_file(snapshot / name) for name in ("config.json", "model.safetensors")}
    with serving(found, Wanted(port=0)) as served:
        assert "2 files" in str(served.data["proof"])
    named.write_bytes(b"x")
    with pytest.raises(WeightsChangedError), serving(found, Wanted(port=0)):
        pytest.fail("it was served")


def test_a_version_from_before_its_files_were_noted_says_what_is_not_proven(
    play: ScriptedServer, snapshot: Path
) -> None:
    said: list[str] = []
    with serving(of_the_hub(snapshot, files={}), Wanted(port=0), say=said.append):
        assert said[1] == (
            f"commit {COMMIT[:12]} of acme/bot, 2 files whole by the hub's checksums; not proven: that they are those that were measured,"
            " of which 20260101T000000Z-000001 noted none (measure and promote again)"
        )  # fmt: skip
    (snapshot / "config.json").resolve().write_bytes(b"x")
    with pytest.raises(WeightsChangedError, match="by the checksum of the hub"), serving(
        of_the_hub(snapshot, files={}), Wanted(port=0)
    ):  # fmt: skip
        pytest.fail("it was served")


def test_a_file_of_the_hub_that_is_gone_or_lies_elsewhere(play: ScriptedServer, snapshot: Path) -> None:
    found = of_the_hub(snapshot)
    (snapshot / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config.json is not there, and 2026\S+ measured it"), serving(
        found, Wanted(port=0)
    ):  # fmt: skip
        pytest.fail("it was served")
    for name in ("../x", "/etc/passwd"):
        with pytest.raises(ConfigError, match="which is no path in a repository"), serving(
            of_the_hub(snapshot, files={name: "0" * 40}), Wanted(port=0)
        ):  # fmt: skip
            pytest.fail("it was served")


def test_a_file_of_the_hub_that_changes_while_it_is_loaded(play: ScriptedServer, snapshot: Path) -> None:
    play.part = "changes"
    with pytest.raises(WeightsChangedError, match="was changed while the server loaded it"), serving(
        of_the_hub(snapshot), Wanted(port=0)
    ):  # fmt: skip
        pytest.fail("it was served")


def test_a_remembered_digest_of_a_file_is_put_right(
    play: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, file = tmp_path / "cache", tmp_path / "model.gguf"
    file.write_bytes(bytes(2**21))
    remember_sha256(file, "d" * 64, memory)
    made: list[str] = []

    def convert(path: Path, *, cache_dir: Path, **_: Any) -> ConvertedGguf:
        made.append(file_sha256(path, cache_dir))
        return ConvertedGguf(folder=tmp_path / "made", converted_now=False, temporary=True)

    monkeypatch.setattr(gguf, "ensure_converted", convert)
    monkeypatch.setattr(packages, "require_installed", lambda *_: None)
    monkeypatch.setattr(proof, "version", lambda _: "5")
    spec = ModelSpec(alias="bot", backend="hf", target=str(file), text=f"bot=hf:{file}")
    found = promoted_model(file, spec=spec, sha256=hash_file(file), sha256_of="file")
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        proof.prove(found.pointer, "serve", memory, lambda _: None)
    assert made == [hash_file(file)]


def test_weights_that_change_while_they_are_loaded_are_refused(play: ScriptedServer, tmp_path: Path) -> None:
    play.part = "changes"
    error = refused(weights(tmp_path / "w"))
    assert isinstance(error, WeightsChangedError) and "was changed while the server loaded it" in str(error)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("dies", "the server ended with exit status 1. Its last line: no room for the weights"),
        ("frames", "the server ended with exit status 2. Its last line: No such option: --x"),
        ("hints", "the server ended with exit status 2. It said: Error: No such option '--x'."),
        ("argues", "the server ended with exit status 1. It said: serve: error: unrecognized arguments: --x"),
        ("raises", "the server ended with exit status 1. Its last line: ValueError: no such dtype"),
        ("quits", "the server ended with exit status 3; it said nothing."),
        ("fails", "/v1/chat/completions answers 500 (no template)"),
        ("nonsense", 'is none of OpenAI\'s protocol: {"hello": 1}'),
    ],
)
def test_a_server_that_cannot_answer(part: str, message: str, play: ScriptedServer, tmp_path: Path) -> None:
    play.part = part
    error = refused(weights(tmp_path / "w"))
    assert isinstance(error, ServingError) and message in str(error)


def test_a_server_that_is_not_ready_in_time(play: ScriptedServer, tmp_path: Path) -> None:
    play.part = "sleeps"
    error = refused(weights(tmp_path / "w"), Wanted(port=0, timeout_s=0.3))
    assert isinstance(error, ServingError) and str(error).startswith("the server does not listen after ")


@pytest.mark.parametrize("part", ["loads", "plain"])
def test_a_server_that_still_loads_or_has_no_chat_is_waited_for(
    part: str, play: ScriptedServer, tmp_path: Path
) -> None:
    play.part = part
    with serving(promoted_model(weights(tmp_path / "w")), Wanted(port=0)) as served:
        assert served.second_request_s > 0


def test_a_port_that_is_taken(play: ScriptedServer, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        error = refused(weights(tmp_path / "w"), Wanted(port=other.getsockname()[1]))
    assert isinstance(error, ConfigError) and "Give another --port" in str(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": ""}, "recorded no hash"),
        ({"spec": ModelSpec(alias="e", backend="echo", text="echo")}, "'echo' has no weights that a server could load"),
        ({"spec": ModelSpec(alias="e", backend="hf", target="org/x", text="org/x")}, "neither a hash nor a commit"),
        ({"spec": ModelSpec(alias="e", backend="hf", target="./nowhere", text="./nowhere")}, "nowhere (looked in"),
    ],
)
def test_what_cannot_be_proven_is_not_served(
    changes: dict[str, Any], message: str, play: ScriptedServer, tmp_path: Path
) -> None:
    error = refused(weights(tmp_path / "w"), **changes)
    assert isinstance(error, ConfigError) and message in str(error)


KILLED = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background of a shell, it is ignored
sys.path[:0] = {path!r}
from dataclasses import replace
from pathlib import Path
from typing import Any
from served import ScriptedServer, promoted_model
from pytest_llmci.serving import serve
serve.server_of = lambda *_: ScriptedServer()
with serve.serving(promoted_model(Path({folder!r})), serve.Wanted(port=0)) as served:
    print(served.process.pid, flush=True)
    served.process.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_when_ours_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    script = KILLED.format(path=sys.path, folder=str(weights(tmp_path / "w")))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as ours:
        assert ours.stdout is not None
        server = psutil.Process(int(ours.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        home = Path(server.cwd())
        ours.send_signal(number)
        try:
            ours.wait(PATIENCE_S)
        finally:
            ours.kill()
    assert len(family) == 2 and not psutil.wait_procs(family, timeout=PATIENCE_S)[1]
    assert comes_true(lambda: not home.exists())


def test_the_commands_of_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = Launch(
        name="bot", home=tmp_path, folder=tmp_path / "w", host="127.0.0.1", port=81, dtype="float32", attention="eager", device="cpu",
        remote_code=True, arguments=("--more",),
    )  # fmt: skip
    command = TransformersServer().command(launch)
    assert command[1:4] == ["-m", "transformers.cli.transformers", "serve"] and command[-3:] == ["--more", "--", "bot"]
    for pair in (
        "--host 127.0.0.1",
        "--port 81",
        "--device cpu",
        "--dtype float32",
        "--attn-implementation eager",
        "--trust-remote-code",
    ):
        assert pair in " ".join(command)
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    assert VllmServer().missing() == "no command 'vllm' on the path"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(server_of("auto", "x"), VllmServer)
    assert VllmServer().command(launch)[:3] == [str(program), "serve", str(tmp_path / "w")]
    assert "--served-model-name bot --dtype float32" in " ".join(VllmServer().command(launch))


def test_a_device_that_the_server_cannot_be_told_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "server_of", lambda *_: VllmServer())
    with (
        pytest.raises(ConfigError, match="serve --device: vllm serve computes on the kind .* --server=transformers"),
        serving(promoted_model(tmp_path / "w"), Wanted(port=0, device="cpu")),
    ):
        pass


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="unknown server 'tgi'"):
        server_of("tgi", "serve --server")
    with pytest.raises(ConfigError, match="no server is installed .vllm: no command"):
        server_of("vllm", "serve --server")
    assert list(SERVERS) == ["vllm", "transformers"]


def test_what_a_server_of_transformers_lists_is_the_model_alone(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    folder = weights(tmp_path / "w")
    launch = Launch(name="bot", home=tmp_path, folder=folder, host="127.0.0.1", port=81)
    (repository,) = hub.scan_cache_dir(TransformersServer().environment(launch)["HF_HUB_CACHE"]).repos
    (revision,) = repository.revisions
    assert (repository.repo_id, set(revision.refs)) == ("bot", {"main"})
    assert {file.file_path.read_bytes() for file in revision.files} == {path.read_bytes() for path in folder.iterdir()}
    assert not TransformersServer().environment(replace(launch, remote_code=True))
    assert not TransformersServer().environment(replace(launch, name="a--b"))


def test_the_session_of_a_canary(play: ScriptedServer, tmp_path: Path) -> None:
    with serving(promoted_model(weights(tmp_path / "w")), Wanted(port=0)) as served:
        asked = canary.command(served, ["a.yaml"], tmp_path, ["--llmci-inconclusive=warn"])
    address = f"openai:http://127.0.0.1:{served.address.port}/v1#support-bot+prompt_cache=keep"
    assert f"--llm-models=bot={address}" in asked and "--llm-prompts=a.yaml" in asked
    assert asked.index("--llmci-inconclusive=fail") < asked.index("--llmci-inconclusive=warn")  # the last one counts


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_of_a_server_do_not_spin_unless_they_shall(given: dict[str, str], policy: str) -> None:
    assert server_environment(given)["OMP_WAIT_POLICY"] == policy


def test_a_server_inherits_no_key() -> None:
    found = server_environment({"PATH": "/bin", "OPENAI_API_KEY": "k", "LLMCI_SIGNING_KEY": "k", "HF_HUB_OFFLINE": "0"})
    assert (
        found["PATH"] == "/bin"
        and found["HF_HUB_OFFLINE"] == "1"
        and not {"OPENAI_API_KEY", "LLMCI_SIGNING_KEY"} & set(found)
    )
