"""The model's process: reads requests from one pipe and answers on another.

Started by :mod:`.worker` through a small script in a private directory, as a fresh exec of some Python. Everything that is
imported before the backend needs the standard library alone, so another interpreter or an old environment will do.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BackendError, ConfigError, LLMCIError, MissingExtraError, StoreError
from ..records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    ModelSpec,
    Prompt,
    RunRequest,
    ScoreRequest,
    from_json,
    to_json,
)
from ..registry import Registry
from . import wire
from .host import ModelHost
from .import_path import ImportPath, merged
from .placement import pin
from .progress import ProgressPage

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the pipe closes."""
    requests, answers = _claim_pipes()
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is pytest's to handle; it ends this process itself
    _volunteer_for_the_oom_killer()
    Server(requests, answers).serve()


def _claim_pipes() -> tuple[int, int]:
    """Keep the pipes to ourselves and send what libraries print to the log file that stderr is."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, answers


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone (Linux; elsewhere the closing pipe ends it)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _volunteer_for_the_oom_killer() -> None:
    """If memory runs out, the model is to die and not pytest."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("900")
    except OSError:
        pass  # not Linux, or not allowed: the kernel chooses


class Server:
    """Answers one request at a time."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = wire.MessageReader(requests)
        self._answers = answers
        self._host: ModelHost | None = None

    def send(self, message: wire.Message) -> None:
        """Send one message to pytest's process; if that is gone, so are we."""
        try:
            wire.write_message(self._answers, message)
        except OSError:
            os._exit(0)

    def serve(self) -> None:
        """Handle requests until ``stop`` or the end of the pipe."""
        while True:
            message = self._requests.next()
            if message is None or message["type"] == "stop":
                break
            self._answer(message)
        if self._host is not None:
            self._host.close()

    def _answer(self, message: wire.Message) -> None:
        handler: Callable[[wire.Message], wire.Message] | None = getattr(self, "on_" + message["type"], None)
        try:
            if handler is None:
                raise LLMCIError(f"the model's process does not know the request '{message['type']}'")
            self.send({"type": "done", **handler(message)})
        except MemoryError:
            self.send(_error("memory", "MemoryError", "the process could not get more memory"))
        except BackendError as error:
            self.send(_error(error.kind, type(error).__name__, str(error)))
        except MissingExtraError as error:
            self.send(_error("missing_extra", "MissingExtraError", str(error)))
        except ConfigError as error:
            self.send(_error("config", "ConfigError", str(error)))
        except StoreError as error:  # a request whose fields make no sense
            self.send(_error("request", "GenerationError", str(error)))
        except LLMCIError as error:
            self.send(_error("protocol", "WorkerProtocolError", str(error)))
        except TypeError as error:
            self.send(_error("call", "GenerationError", str(error)))

    def host(self) -> ModelHost:
        """The host, once ``init`` has come."""
        if self._host is None:
            raise LLMCIError("the model's process got a request before 'init'")
        return self._host

    def on_init(self, message: wire.Message) -> wire.Message:
        """Settings of this process; answers who we are."""
        if message["die_with_parent"]:
            die_with_parent(message["parent"])
        if message["cpus"] is not None:
            pin(message["cpus"])  # before anything is imported that starts threads: they stay where they are started
        given = ImportPath(before=tuple(message["path_before"]), behind=tuple(message["path_behind"]))
        sys.path[:] = merged(given, sys.path)
        self._host = ModelHost(
            Registry.from_json(message["registry"]),
            threads=message["threads"],
            cache_dir=message["cache_dir"],
            progress=ProgressPage(message["progress"]),
            isolated=True,
            role=message["role"],
            anchor=message["anchor"],
        )
        import pytest_llmci

        return {
            "protocol": wire.PROTOCOL,
            "package": os.path.realpath(os.path.dirname(pytest_llmci.__file__)),
            "executable": sys.executable,
        }

    def on_load(self, message: wire.Message) -> wire.Message:
        """Load the model."""
        loaded = self.host().load(
            from_json(ModelSpec, message["spec"]), lambda text: self.send({"type": "say", "text": text})
        )
        return to_json(loaded)

    def on_run(self, message: wire.Message) -> wire.Message:
        """A block of rounds, each sent as it ends."""
        request = from_json(RunRequest, message["request"])
        self.host().run(request, lambda record: self.send({"type": "round", "round": to_json(record)}))
        return {}

    def on_stream(self, message: wire.Message) -> wire.Message:
        """One inference, its text sent as it comes."""
        prompt = from_json(Prompt, message["prompt"])
        settings = from_json(GenerationSettings, message["generation"])
        completion = self.host().stream(prompt, settings, lambda text: self.send({"type": "text", "text": text}))
        return {"completion": to_json(completion)}

    def on_score(self, message: wire.Message) -> wire.Message:
        """Log-probabilities."""
        return {"logprobs": self.host().score(message["context"], message["continuation"])}

    def on_score_many(self, message: wire.Message) -> wire.Message:
        """Log-probabilities of many continuations, those of each question sent as they come."""
        requests = [from_json(ScoreRequest, each) for each in message["requests"]]

        def send(number: int, scores: Sequence[ContinuationScore]) -> None:
            self.send({"type": "scores", "number": number, "scores": [to_json(score) for score in scores]})

        self.host().score_many(requests, message["batch"], send)
        return {}

    def on_generate_many(self, message: wire.Message) -> wire.Message:
        """Answers to many prompts, each sent as it comes."""
        prompts = [from_json(Prompt, each) for each in message["prompts"]]
        settings = from_json(GenerationSettings, message["generation"])

        def send(number: int, completion: Completion) -> None:
            self.send({"type": "completion", "number": number, "completion": to_json(completion)})

        self.host().generate_many(prompts, settings, message["stop"], message["batch"], send)
        return {}

    def on_call(self, message: wire.Message) -> wire.Message:
        """A user's function next to the model."""
        arguments: Any = wire.unpack_value(message["arguments"])
        result: Any = wire.pack_value(self.host().call(message["target"], arguments))
        return {"result": result}

    def on_profile_start(self, message: wire.Message) -> wire.Message:
        """Start the instruments."""
        return {"number": self.host().profile_start()}

    def on_profile_stop(self, message: wire.Message) -> wire.Message:
        """Stop the instruments and answer what they say."""
        return {"measured": self.host().profile_stop(message["number"]).to_json()}


def _error(kind: str, name: str, text: str) -> wire.Message:
    return {"type": "error", "kind": kind, "class": name, "message": text}
