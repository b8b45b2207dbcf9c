"""What must be equal before two numbers may be compared, and what may differ and is then shown.

``environment``
    The machine. Times against stored numbers are compared only where it agrees.
``protocol``
    What was asked and how it was measured. It must agree always: another prompt or another method of measuring gives
    another quantity.
``subject``
    What is on trial: the weights, their precision, the libraries, the commit. It may differ; that is what a comparison is for.

A model behind a server has both of the latter from there: the software, its version and the model that it names are on trial; the
machine is the server's (:func:`place_part`) beside the client's, so that times of one server are not compared with stored ones of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlsplit

from ..records import GenerationSettings, Json, Prompt, RoundsRecord, WorkerRecord, to_json

ENVIRONMENT_FACTS: Final = ("machine", "cpu_model", "cpu_flags_sha256", "cores_allowed", "cpu_quota_cores")
"""Of :func:`~pytest_llmci.store.environment.environment`; the kernel's major version and the accelerator are added."""
SUBJECT_FACTS: Final = (
    "revision", "manifest_sha256", "file_sha256", "quantization", "dtype", "attention", "architecture", "parameters",
    "chat_template_sha256", "torch", "transformers",
)  # fmt: skip
"""Of what a backend says of its model."""

SERVER_FACTS: Final = ("server_software", "server_version", "model_name", "served_model", "system_fingerprint")
"""Of what a server says of itself and its model, as far as it does."""
ENDPOINT: Final = "endpoint"
"""The ``source`` of a model behind a server."""
THIS_MACHINE: Final = "this machine"
"""A server under a loopback address, whose port changes from start to start."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the three parts: facts, and a short name for all of them together."""

    facts: Mapping[str, Json]

    @property
    def digest(self) -> str:
        """16 hex digits; equal facts have equal ones, in whatever order they stand."""
        text = json.dumps(self.facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return sha256(text.encode("ascii")).hexdigest()[:16]

    def differences(self, other: Part) -> tuple[Difference, ...]:
        """Where the other one says something else, in the order of the names.

        >>> [str(each) for each in Part({"threads": 1}).differences(Part({"threads": 2}))]
        ['threads: 1 -> 2']
        """
        names = sorted(self.facts.keys() | other.facts.keys())
        return tuple(
            Difference(name, self.facts.get(name), other.facts.get(name))
            for name in names
            if self.facts.get(name) != other.facts.get(name)
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not the same on both sides."""

    name: str
    before: Json
    after: Json

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.before)} -> {_shown(self.after)}"


def _shown(value: Json) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def environment_part(facts: Mapping[str, Json], info: Mapping[str, Json] | None = None) -> Part:
    """The machine that a number was measured on.

    :param facts: of :func:`~pytest_llmci.store.environment.environment`, as the header of a log holds them.
    :param info: what the backend said of its model; names the accelerator, where it runs on one.
    """
    return Part({**machine_part(facts).facts, "accelerator": (info or {}).get("device_name")})


def place_part(environment: Part, subject: Part) -> Part:
    """Where a model computed: the machine, and the server where there is one."""
    server = subject.facts.get("server")
    return environment if server is None else Part({**environment.facts, "server": server})


def server_place(address: str) -> str:
    """A server's address as one place: all on this machine are one, whatever their port.

    :param address: scheme, host and port.

    >>> server_place("http://127.0.0.1:40123"), server_place("https://llm.example.com:443")
    ('this machine', 'https://llm.example.com:443')
    """
    host = urlsplit(address).hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    return THIS_MACHINE if is_here else address


def machine_part(facts: Mapping[str, Json]) -> Part:
    """:func:`environment_part` before any model is loaded: nothing is said of the accelerator."""
    found: dict[str, Json] = {name: facts.get(name) for name in ENVIRONMENT_FACTS}
    found["kernel_major"] = str(facts.get("kernel") or "").partition(".")[0] or None
    return Part(found)


def protocol_part(block: RoundsRecord, worker: WorkerRecord) -> Part:
    """What was asked of a cell and how its rounds were measured."""
    if block.provenance == "imported":
        asked = worker.info.get("asked")
        return Part(
            {
                "provenance": "imported",
                "prompt_sha256": block.prompt_sha256,
                **(asked if isinstance(asked, dict) else {}),
            }
        )
    generation = block.generation
    load: dict[str, Json] = {"load": block.load} if block.load else {}
    return Part(
        {
            **load,
            "prompt_sha256": block.prompt_sha256,
            "templated": block.templated,
            "max_new_tokens": generation.max_new_tokens,
            "fixed_length": generation.fixed_length,
            "temperature": generation.temperature,
            "seed": generation.seed,
            "batch": 1,
            "threads": worker.info.get("threads"),
            "cpus": worker.info.get("cpus"),
            "isolation": worker.isolation,
            "memory_method": block.memory_method,
            "token_source": block.token_source,
            **({"anchor": block.anchor} if block.anchor else {}),
            **({"prompt_cache": worker.info.get("prompt_prefix")} if _is_endpoint(worker) else {}),
        }
    )


def planned_protocol(
    prompt: Prompt, generation: GenerationSettings, *, isolation: Literal["worker", "inline"], threads: int = 0
) -> Part:
    """What can be said of :func:`protocol_part` before the cell is measured.

    :param threads: CPU threads of the model's process; 0 where the framework chooses.
    """
    known = {} if prompt.is_open else {"prompt_sha256": prompt_sha256(prompt)}
    found: dict[str, Json] = {
        **known,
        "max_new_tokens": generation.max_new_tokens,
        "fixed_length": generation.fixed_length,
        "temperature": generation.temperature,
        "seed": generation.seed,
        "batch": 1,
        "isolation": isolation,
    }
    return Part({**found, "threads": threads} if threads else found)


def prompt_sha256(prompt: Prompt) -> str:
    """sha256 of what people see of a prompt, as every block of rounds holds it."""
    return prompt.sha256 or sha256(prompt.shown.encode("utf-8", "surrogatepass")).hexdigest()


def subject_part(worker: WorkerRecord, facts: Mapping[str, Json]) -> Part:
    """What was on trial.

    :param facts: of the environment, which names the commit of the checkout.
    """
    git = facts.get("git")
    found: dict[str, Json] = {
        "backend": worker.spec.backend,
        "target": worker.spec.target,
        "options": dict(worker.spec.options),
        "python": worker.python,
        "commit": git.get("commit") if isinstance(git, dict) else None,
        "dirty": git.get("dirty") if isinstance(git, dict) else None,
    }
    if worker.price is not None:
        amounts = {
            name: value
            for name, value in to_json(worker.price).items()
            if name.startswith("usd_") and value is not None
        }
        found["price"] = {"name": worker.price.name, **amounts}
    found.update({name: worker.info[name] for name in SUBJECT_FACTS if name in worker.info})
    if _is_endpoint(worker):
        found["server"] = server_place(str(worker.info.get("server") or ""))
        found.update({name: worker.info[name] for name in SERVER_FACTS if worker.info.get(name)})
    return Part(found)


def _is_endpoint(worker: WorkerRecord) -> bool:
    return worker.info.get("source") == ENDPOINT
