from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pytest_llmci.engine.merge import find_faults
from pytest_llmci.records import GateRecord, ShardRecord


def test_a_fault_of_a_shard_with_a_semicolon_is_one() -> None:
    reasons = ["results were lost: disk full; 3 lines are gone", "no test used the model 'b'"]
    gate = GateRecord(name="coverage", outcome="failed", message="; ".join(reasons), reasons=reasons)
    plan = ShardRecord(
        uid="s", index=1, of=1, plan="p", models=["a"], shards=[1], cells=[1], costs=[1.0], costs_from=""
    )
    part: Any = SimpleNamespace(index=1, shard=plan, ended=True, gates=[gate])
    assert find_faults([part]) == reasons
