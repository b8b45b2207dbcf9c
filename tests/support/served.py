"""A server of OpenAI's protocol that plays a part, models that are promoted for it, and the hub's cache of one."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmci.backends.cache import folder_sha256
from pytest_llmci.backends.tiny import Sizes, build_model, build_tokenizer
from pytest_llmci.promotion.champion import Promoted
from pytest_llmci.promotion.pointer import ModelPointer
from pytest_llmci.promotion.versions import Version
from pytest_llmci.records import ModelSpec
from pytest_llmci.serving.base import Launch

SCRIPT = """
import http.server, json, pathlib, subprocess, sys, time
host, port, name, part = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if part == "dies": sys.exit("no room for the weights")
if part == "frames":
    sys.stderr.buffer.write("╭─ Error ─╮\\n│ No such option: --x │\\n╰────╯\\n\\n".encode())
    sys.exit(2)
if part == "hints":
    print("Error: No such option '--x'.\\n\\nAvailable options:\\n  --host TEXT  The address.\\n\\nRun 'serve --help' for full details.")
    sys.exit(2)
if part == "argues": sys.exit("serve: error: unrecognized arguments: --x\\nTry --help")
if part == "raises": sys.exit("Error: of before\\nTraceback (most recent call last):\\nValueError: no such dtype")
if part == "sleeps": time.sleep(600)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(body)
        if part == "changes": (pathlib.Path(name) / "model.safetensors").write_bytes(b"other")
        if part == "quits": import os; os._exit(3)
        status, answer = 200, {"choices": [{"message": {"content": "x"}}], "model": body["model"]}
        if part == "loads" and len(asked) < 3: status = 503
        if part == "plain" and "messages" in body: status = 400
        if part == "fails": status, answer = 500, {"error": "no template"}
        if part == "nonsense": answer = {"hello": 1}
        if body["model"] != name or body["max_tokens"] != 1: status = 404
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
http.server.HTTPServer((host, port), Handler).serve_forever()
"""


@dataclass
class ScriptedServer:
    """Takes the part that it is told; see the script."""

    part: str = "answers"
    name: str = "scripted 1.0"
    takes_device: bool = True

    def missing(self) -> str:
        return ""

    def command(self, launch: Launch) -> list[str]:
        return [sys.executable, "-c", SCRIPT, launch.host, str(launch.port), launch.name, self.part]

    def environment(self, _launch: Launch) -> Mapping[str, str]:
        return {}


def weights(folder: Path) -> Path:
    """What may be weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", "utf-8")
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    return folder


def promoted_model(folder: Path, **changes: Any) -> Promoted:
    """A version whose model is in that folder, as it is now."""
    spec = ModelSpec(alias="bot", backend="hf", target=str(folder), text=f"bot=hf:{folder}")
    facts: dict[str, Any] = {
        "model": "bot", "spec": spec, "sha256": folder_sha256(folder, folder / ".none") if folder.is_dir() else "", "sha256_of": "folder",
        "run_id": "20260101T000000Z-000001", "log_digest": "d",
    }  # fmt: skip
    version = Version(name="support-bot", number=3, source="", mlflow_run="r", tags={})
    return Promoted(version=version, pointer=ModelPointer(**{**facts, **changes}))


def saved_model(folder: Path) -> Path:
    """A small random llama as ``save_pretrained`` leaves it; needs torch and transformers."""
    import torch
    import transformers

    tokenizer = build_tokenizer(transformers)
    build_model(torch, transformers, tokenizer, Sizes(layers=2, hidden=32, seed=0)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def hub_snapshot(cache: Path, repository: str, source: Path) -> Path:
    """A folder's files as the hub's client keeps those of a repository's newest commit: large ones under their sha256, others under
    git's name.
    """
    commit = hashlib.sha1(repository.encode(), usedforsecurity=False).hexdigest()
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    for folder in (place / "blobs", place / "refs", snapshot):
        folder.mkdir(parents=True)
    (place / "refs" / "main").write_text(commit, "ascii")
    for path in source.iterdir():
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
        blob = place / "blobs" / (hashlib.sha256(content).hexdigest() if path.suffix == ".safetensors" else git)
        blob.write_bytes(content)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", blob.name))
    return snapshot
