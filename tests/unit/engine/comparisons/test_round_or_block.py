from __future__ import annotations

from dataclasses import replace

import pytest
import sample_run
from loads import failed, run

from pytest_llmci.engine.comparisons.round_or_block import repeated_requests, why_by_block
from pytest_llmci.records import Completion, ModelSpec, RoundRecord

CANDIDATE = ModelSpec(alias="m", backend="echo", target="new", text="m=echo:new")


@pytest.mark.parametrize(
    ("candidate", "reference", "repeated", "why"),
    [
        ({}, {}, 0, ""),
        ({}, {}, 1, "1 request was put off by the server (429, 5xx or no connection)"),
        ({}, {}, 7, "7 requests were put off by the server (429, 5xx or no connection)"),
        ({"unit": "block"}, {}, 0, "+unit=block says so"),
        ({}, {"unit": "block"}, 0, "+unit=block says so"),
        ({"unit": "round"}, {"unit": "block"}, 0, "+unit=block says so"),
        ({"unit": "round"}, {}, 7, ""),
        ({"unit": "auto"}, {"told": "x-ratelimit-limit-requests: 5"}, 0, "the server limits rates (x-ratelimit-limit-requests: 5)"),
        ({"unit": "round"}, {"told": "x-ratelimit-limit-requests: 5"}, 0, ""),
    ],
)  # fmt: skip
def test_what_makes_a_block_the_unit(
    candidate: dict[str, str], reference: dict[str, str], repeated: int, why: str
) -> None:
    sides = []
    for given in (candidate, reference):
        told, options = given.get("told", ""), {key: value for key, value in given.items() if key != "told"}
        sides.append(sample_run.worker(spec=replace(CANDIDATE, options=options), info={"limits_rate": told}))
    assert why_by_block(sides, repeated) == why


def test_requests_that_were_refused_under_load_count() -> None:
    refused = run([failed(0, 5, "server_busy"), failed(10, 5, "server_error"), failed(20, 5, "server_busy")])
    completion = Completion(text="", finish_reason="stop", retries=2)
    record = RoundRecord(values={}, reasons={}, token_ns=(), completion=completion, runs=(refused,))
    assert repeated_requests(record) == 4
