"""Models from a hub: a small HTTP server plays it, in the words of the real one.

``huggingface_hub`` reads the address and the offline switch when it is imported, so that each case is a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_llmci.backends.tiny import Sizes, build_model, build_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHILD = """
import json, sys
from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.transformers import TransformersBackend
from pytest_llmci.errors import LLMCIError
from pytest_llmci.records import GenerationSettings, ModelSpec, Prompt
results = {}
for name, target, revision, options in json.loads(sys.argv[1]):
    spec = ModelSpec(alias="m", backend="hf", target=target, revision=revision, options=options, text=f"hf:{target}")
    backend = TransformersBackend(spec)
    try:
        TransformersBackend.preflight(spec)
        info = backend.load(LoadContext(threads=1, cache_dir=sys.argv[2], say=print)).info
        done = backend.complete(backend.generate(Prompt(id="p", text="x"), GenerationSettings(max_new_tokens=3), lambda: None))
        results[name] = {"revision": info["revision"], "tokens": done.output_tokens}
    except LLMCIError as error:
        results[name] = {"kind": getattr(error, "kind", ""), "text": str(error)}
import threading
results["threads"] = {"converting": [thread.name for thread in threading.enumerate() if "conver" in thread.name]}
print(json.dumps(results))
"""
Case = tuple[str, str, str, dict[str, str]]
Results = dict[str, dict[str, object]]


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories, and refuses others as the real hub does."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.asked.append(path)
        if path.startswith("api/models/"):
            self.describe(path.removeprefix("api/models/"))
            return
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.serve(repository, revision, name)

    def describe(self, path: str) -> None:
        parts = path.split("/")
        repository, rest = "/".join(parts[:2]), parts[2:]
        folder = self.server.repositories.get(repository)
        if folder is None or (len(rest) > 1 and rest[0] in ("revision", "tree") and rest[1] not in ("main", COMMIT)):
            self.refuse(repository, "nowhere" if folder else "main")
            return
        if rest[:1] == ["tree"]:
            files = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in folder.iterdir()
            ]
            self.reply(200, json.dumps(files).encode())
            return
        files = [{"rfilename": p.name} for p in folder.iterdir()]
        self.reply(200, json.dumps({"id": repository, "sha": COMMIT, "siblings": files}).encode())

    def serve(self, repository: str, revision: str, name: str) -> None:
        folder = self.server.repositories.get(repository)
        if folder is None or revision not in ("main", COMMIT):
            self.refuse(repository, revision if folder else "main")
            return
        if not (folder / name).is_file():
            self.reply(404, b"Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = (folder / name).read_bytes()
        self.reply(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def refuse(self, repository: str, revision: str) -> None:
        if repository.startswith("gated/"):
            self.reply(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"})
        elif repository.startswith("broken/"):
            self.reply(500, b"")
        elif revision != "main":
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        else:
            self.reply(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    base = tmp_path_factory.mktemp("hub")
    tokenizer = build_tokenizer(transformers)
    model = build_model(torch, transformers, tokenizer, Sizes(layers=1, hidden=16, seed=0))
    repositories = {f"org/{name}": base / name for name in ("good", "pickled", "empty", "code", "no-config", "corrupt")}
    for folder in repositories.values():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    torch.save(model.state_dict(), base / "pickled" / "pytorch_model.bin")
    for name in ("pickled", "empty", "no-config"):
        (base / name / "model.safetensors").unlink()
    (base / "no-config" / "config.json").unlink()
    cut = (base / "corrupt" / "model.safetensors").read_bytes()[:-8]
    (base / "corrupt" / "model.safetensors").write_bytes(cut)
    config = json.loads((base / "code" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (base / "code" / "config.json").write_text(json.dumps(config))
    server = Hub(repositories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run_cases(cases: list[Case], tmp_path: Path, **environ: str) -> Results:
    dropped = (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_TOKEN",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    )
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    environment = {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **environ,
    }
    for key in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(key, None)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(cases), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.slow
def test_a_hub(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    cases: list[Case] = [
        ("good", "org/good", "", {}),
        ("pinned", "org/good", COMMIT, {}),
        ("pickled", "org/pickled", "", {}),
        ("pickle ok", "org/pickled", "", {"pickle": "ok"}),
        ("empty", "org/empty", "", {}),
        ("empty pickle ok", "org/empty", "", {"pickle": "ok"}),
        ("code", "org/code", "", {}),
        ("no config", "org/no-config", "", {}),
        ("corrupt", "org/corrupt", "", {}),
        ("unknown", "org/unknown", "", {}),
        ("revision", "org/good", "v9", {}),
        ("gated", "gated/model", "", {}),
        ("name", "not a/valid/name", "", {}),
    ]
    results = run_cases(cases, tmp_path, HF_ENDPOINT=address)
    for name in ("good", "pinned", "pickle ok"):
        assert results[name] == {"revision": COMMIT, "tokens": 3}, results[name]
    kinds = {name: result["kind"] for name, result in results.items() if "kind" in result}
    assert kinds == {
        "pickled": "pickle",
        "empty": "no_weights",
        "empty pickle ok": "no_weights",
        "code": "custom_code",
        "no config": "no_config",
        "corrupt": "corrupt",
        "unknown": "not_found",
        "revision": "revision",
        "gated": "gated",
        "name": "not_found",
    }, results
    texts = {name: str(result.get("text", "")) for name, result in results.items() if name != "threads"}
    assert not any("\n" in text for text in texts.values())
    assert "model.safetensors' is damaged or cut off" in texts["corrupt"]
    assert "HF_TOKEN" in texts["gated"]
    assert f"{address}/gated/model" in texts["gated"]
    assert "'v9'" in texts["revision"]
    assert results["threads"] == {"converting": []}  # nobody asks a service on the hub to convert pickled weights
    assert not any(path.endswith("pytorch_model.bin") and "resolve" in path and "good" in path for path in hub.asked)

    cached = run_cases([cases[0], ("other", "org/other", "", {}), cases[10]], tmp_path, HF_HUB_OFFLINE="1")
    assert cached["good"] == {"revision": COMMIT, "tokens": 3}
    assert (cached["other"]["kind"], cached["revision"]["kind"]) == ("offline", "offline")
    assert str(tmp_path / "hf" / "hub") in str(cached["other"]["text"])


@pytest.mark.slow
def test_an_unreachable_hub(tmp_path: Path) -> None:
    results = run_cases([("any", "org/any", "", {})], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert results["any"]["kind"] == "unreachable"
    assert "http://127.0.0.1:9 cannot be reached" in str(results["any"]["text"])
