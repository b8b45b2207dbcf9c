"""From a measurement to a server: measured, promoted, proven, served by ``transformers serve``, asked; refused once a bit was turned."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from mlflow_stores import fresh_store
from served import hub_snapshot, saved_model
from waiting import PATIENCE_S

for package in ("mlflow", "torch", "transformers", "fastapi", "uvicorn", "openai", "httptools"):
    pytest.importorskip(package)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="processes are looked at as POSIX has them"),
]
CANARY: Final = """
- id: hello
  messages: [{role: user, content: Say something.}]
  max_new_tokens: 8
  checks: ["max_chars:400"]
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder of its own with weights, runs and a store."""

    folder: Path
    environment: Mapping[str, str]

    def command(self, module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(module, *arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )  # fmt: skip

    def llmci(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("pytest_llmci.cli.main", *arguments)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Mapping[str, Any]]]:
        """The command from the moment at which it says that it is ready, and what it says."""
        command = self.command("pytest_llmci.cli.main", "serve", *arguments, "--port=0", "--json")
        log = self.folder / "said.txt"
        with log.open("w", encoding="utf-8") as errors, subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:  # fmt: skip
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                assert line, log.read_text("utf-8")
                yield process, json.loads(line)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder and a snapshot of the hub, measured in one session, and promoted."""
    folder = tmp_path_factory.mktemp("project")
    saved_model(folder / "weights")
    hub_snapshot(folder / "hub", "acme/tiny-bot", folder / "weights")
    (folder / "canary.yaml").write_text(CANARY, "utf-8")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLMCI", "PYTEST", "HF_", "MLFLOW"))
    }
    made = Project(
        folder=folder,
        environment={
            **inherited, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1",
            "LLMCI_CACHE_DIR": str(folder / "cache"), "LLMCI_LOCK_FILE": str(folder / "timing.lock"),
            "MLFLOW_TRACKING_URI": fresh_store(folder / "store"), "TMPDIR": str(folder),
        },
    )  # fmt: skip
    measured = made.run(
        "pytest", "-q", "-p", "no:cacheprovider", "--llm-models=bot=hf:./weights,hub=hf:acme/tiny-bot", "--llmci-suite=inference",
        "--llm-prompts=canary.yaml", "--llmci-rounds=2", "--llmci-warmup=0",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stdout + measured.stderr
    for model in ("bot", "hub"):
        promoted = made.llmci("promote", f"support-{model}", "--model", model)
        assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    return made


def ask(told: Mapping[str, Any], model: str, path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{told['url']}/{path}", json.dumps({"model": model, "max_tokens": 4, "temperature": 0, **body}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All that it started."""
    return psutil.Process(process.pid).children(recursive=True)


def test_a_promoted_folder_is_served_and_answers_until_it_is_ended(project: Project) -> None:
    with project.serving("support-bot@champion", "--canary=canary.yaml") as (process, told):
        assert (told["name"], told["version"], told["model"]) == ("support-bot", 1, "support-bot")
        assert 0 < told["second_request_s"] < 60 and 0 < told["first_request_s"] < 60 and told["started_s"] > 0
        assert told["canary"]["passed"] is True and told["canary"]["verdict"] == "1 cell passed"
        said = (project.folder / "said.txt").read_text("utf-8")
        assert re.search(r"sha256 of the folder [0-9a-f]{16}, as \S+ measured it\n", said)
        assert "llmci: first request, cold: " in said
        answer = ask(told, "support-bot", "chat/completions", messages=[{"role": "user", "content": "Hello"}])
        assert len(answer["choices"][0]["message"]["content"]) == 4  # one byte a token
        assert len(ask(told, "support-bot", "completions", prompt="Hello")["choices"][0]["text"]) == 4
        with urllib.request.urlopen(f"{told['url']}/models", timeout=PATIENCE_S) as listed:
            assert [each["id"] for each in json.load(listed)["data"]] == ["support-bot"]
        with pytest.raises(urllib.error.HTTPError):
            ask(told, "acme/tiny-bot", "completions", prompt="Hello")
        server = psutil.Process(told["pid"])
        home, started = Path(server.cwd()), family(process)
        assert server in started
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not psutil.wait_procs(started, timeout=PATIENCE_S)[1] and not home.exists()


def test_the_server_ends_with_a_command_that_is_killed(project: Project) -> None:
    with project.serving("support-hub@champion") as (process, told):
        server = psutil.Process(told["pid"])
        home, started = Path(server.cwd()), family(process)
        assert server in started and re.fullmatch(
            r"commit [0-9a-f]{12} of acme/tiny-bot, 6 files by the checksums that \S+ measured", told["proof"]
        )
        process.kill()
        process.wait(PATIENCE_S)
        assert not psutil.wait_procs(started, timeout=PATIENCE_S)[1]  # the guard, which removes the folder, among them
        assert not home.exists()


def test_a_canary_that_fails_refuses_the_model(project: Project) -> None:
    options = "--canary-options=--llmci-max-latency=1us"  # missed, or left open where the round was noisy
    done = project.llmci("serve", "support-hub@champion", "--port=0", "--check", "--canary=canary.yaml", options)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("llmci: refused: the canary failed: 1 of 1 cell ")


@pytest.mark.parametrize(
    ("model", "weights", "reason"),
    [
        ("bot", "weights", "refused: weights is not what was promoted: sha256 "),
        ("hub", "hub/models--acme--tiny-bot/snapshots/*", "model.safetensors is not what was promoted: checksum "),
    ],
)  # fmt: skip
def test_one_bit_that_was_turned_is_refused(model: str, weights: str, reason: str, project: Project) -> None:
    (file,) = project.folder.glob(f"{weights}/model.safetensors")
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        done = project.llmci("serve", f"support-{model}@champion", "--port=0", "--check")
    finally:
        file.write_bytes(before)
    assert done.returncode == 1 and done.stdout == ""
    assert "starting" not in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("llmci: error: refused: ") and reason in done.stderr


def test_a_link_that_was_turned_to_another_whole_file_is_refused(project: Project) -> None:
    """Each blob is what its name says, and one of them is not the one that was measured."""
    (file,) = project.folder.glob("hub/models--acme--tiny-bot/snapshots/*/model.safetensors")
    before = file.readlink()
    other = file.read_bytes()
    other = other[:-1] + bytes([other[-1] ^ 1])
    blob = file.resolve().with_name(hashlib.sha256(other).hexdigest())
    blob.write_bytes(other)
    file.unlink()
    file.symlink_to(before.with_name(blob.name))
    try:
        done = project.llmci("serve", "support-hub@champion", "--port=0", "--check")
    finally:
        file.unlink()
        file.symlink_to(before)
    assert done.returncode == 1 and done.stdout == "" and "starting" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search(
        rf"error: refused: \S+/model.safetensors is not what was promoted: checksum {blob.name[:16]} on this", last
    )
    served = project.llmci("serve", "support-hub@champion", "--port=0", "--check")
    assert served.returncode == 0 and served.stdout.startswith("READY: "), served.stderr
