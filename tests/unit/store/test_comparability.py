from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sample_run import rounds, worker

from pytest_llmci.records import GenerationSettings
from pytest_llmci.store.comparability import Part, environment_part, protocol_part, subject_part

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
