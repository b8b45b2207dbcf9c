from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sample_run import rounds, worker

from pytest_llmci.records import GenerationSettings
from pytest_llmci.store.comparability import Part, environment_part, place_part, protocol_part, subject_part

MACHINE: dict[str, Any] = {
    "machine": "x86_64",
    "cpu_model": "A processor",
    "cpu_flags_sha256": "0123456789abcdef",
    "cores_allowed": 2,
    "cpu_quota_cores": None,
    "kernel": "6.18.44",
    "load_average": [0.5, 0.5, 0.5],
    "git": {"commit": "c0ffee", "branch": "main", "dirty": False},
}


def test_equal_facts_have_one_digest_in_any_order() -> None:
    one, other = Part({"a": 1, "b": None}), Part({"b": None, "a": 1})
    assert one.digest == other.digest
    assert one.differences(other) == ()
    assert Part({"a": 2, "b": None}).digest != one.digest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpu_model": "Another"}, ["cpu_model: A processor -> Another"]),
        ({"cores_allowed": 4}, ["cores_allowed: 2 -> 4"]),
        ({"cpu_quota_cores": 1.5}, ["cpu_quota_cores: none -> 1.5"]),
        ({"kernel": "7.0.1"}, ["kernel_major: 6 -> 7"]),
        ({"kernel": "6.20.0"}, []),
        ({"load_average": [9.0, 9.0, 9.0]}, []),
        ({"speed_probe_ms": 9.0}, []),
        ({"git": None}, []),
    ],
)
def test_only_the_machine_makes_the_environment(change: dict[str, Any], told: list[str]) -> None:
    found = environment_part(MACHINE).differences(environment_part({**MACHINE, **change}))
    assert list(map(str, found)) == told


def test_the_accelerator_is_part_of_the_environment() -> None:
    found = environment_part(MACHINE).differences(environment_part(MACHINE, {"device_name": "A card"}))
    assert list(map(str, found)) == ["accelerator: none -> A card"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt_sha256": "1" * 64}, "prompt_sha256"),
        ({"generation": GenerationSettings(max_new_tokens=7)}, "max_new_tokens"),
        ({"templated": True}, "templated"),
        ({"memory_method": "sampler"}, "memory_method"),
    ],
)
def test_what_is_asked_and_how_makes_the_protocol(change: dict[str, Any], told: str) -> None:
    start, block = worker(), rounds(generation=GenerationSettings(), memory_method="hwm")
    one, other = protocol_part(block, start), protocol_part(replace(block, **change), start)
    assert told in [difference.name for difference in one.differences(other)]
    assert protocol_part(replace(block, values={}, outputs=[], uid="other"), start) == one


def test_threads_and_cpus_belong_to_the_protocol_and_weights_to_the_subject() -> None:
    one = worker(info={"threads": 1, "cpus": None, "dtype": "float32"})
    two = worker(info={"threads": 2, "cpus": [0, 1], "dtype": "bfloat16"})
    block = rounds()
    found = protocol_part(block, one).differences(protocol_part(block, two))
    assert list(map(str, found)) == ["cpus: none -> [0, 1]", "threads: 1 -> 2"]
    assert list(map(str, subject_part(one, MACHINE).differences(subject_part(two, MACHINE)))) == [
        "dtype: float32 -> bfloat16"
    ]


def test_the_commit_belongs_to_the_subject() -> None:
    later = {**MACHINE, "git": {"commit": "decaf", "branch": "main", "dirty": False}}
    found = subject_part(worker(), MACHINE).differences(subject_part(worker(), later))
    assert list(map(str, found)) == ["commit: c0ffee -> decaf"]


SERVER: dict[str, Any] = {
    "source": "endpoint",
    "server": "https://a.example:443",
    "server_software": "vllm",
    "server_version": "0.9.1",
    "model_name": "m",
    "served_model": "m",
    "system_fingerprint": "fp_1",
    "prompt_prefix": "a unique line before each prompt",
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"server": "https://b.example:443"}, ["server: https://a.example:443 -> https://b.example:443"]),
        ({"server_software": "sglang"}, ["server_software: vllm -> sglang"]),
        ({"server_version": "0.9.2"}, ["server_version: 0.9.1 -> 0.9.2"]),
        ({"served_model": "m-2"}, ["served_model: m -> m-2"]),
        ({"system_fingerprint": "fp_2"}, ["system_fingerprint: fp_1 -> fp_2"]),
        ({"system_fingerprint": ""}, ["system_fingerprint: fp_1 -> none"]),
        ({"prompt_prefix": "none"}, []),
    ],
)
def test_what_a_server_says_of_itself_is_on_trial(change: dict[str, Any], told: list[str]) -> None:
    one, other = worker(info=SERVER), worker(info={**SERVER, **change})
    assert list(map(str, subject_part(one, MACHINE).differences(subject_part(other, MACHINE)))) == told


def test_the_server_is_the_machine_of_its_model_beside_the_clients() -> None:
    def place(address: str, cpu: str = "A processor") -> Part:
        start = worker(info={**SERVER, "server": address})
        return place_part(environment_part({**MACHINE, "cpu_model": cpu}), subject_part(start, MACHINE))

    here = [place(address) for address in ("http://127.0.0.1:8000", "http://localhost:8001", "http://[::1]:80")]
    assert here[0] == here[1] == here[2]
    assert list(map(str, here[0].differences(place("http://b:8000")))) == ["server: this machine -> http://b:8000"]
    assert list(map(str, place("http://b:1").differences(place("http://b:1", "B")))) == ["cpu_model: A processor -> B"]
    local = environment_part(MACHINE)
    assert place_part(local, subject_part(worker(), MACHINE)) == local


def test_what_keeps_the_servers_cache_out_is_part_of_how_it_was_asked() -> None:
    kept = {**SERVER, "prompt_prefix": "none"}
    found = protocol_part(rounds(), worker(info=SERVER)).differences(protocol_part(rounds(), worker(info=kept)))
    assert list(map(str, found)) == ["prompt_cache: a unique line before each prompt -> none"]
    assert "prompt_cache" not in protocol_part(rounds(), worker()).facts
