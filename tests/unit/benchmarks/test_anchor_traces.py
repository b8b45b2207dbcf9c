"""The benchmark that judges recorded sessions with and without an anchor."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from types import ModuleType


def trace(path: Path, sessions: int) -> Path:
    """Sessions that differ by a factor which the anchor shares."""
    rng = random.Random(3)
    lines = ["session,arm,cell,round,wall_s,cpu_s,rqwait_s"]
    for session in range(sessions):
        factor = 1 + 0.3 * session
        for arm in "PQ":
            for cell, seconds in (("model", 1.0), ("anchor", 0.2)):
                for number in range(10):
                    cpu = factor * seconds * rng.gauss(1, 0.01)
                    lines.append(f"s{session},{arm},{cell},{number},{cpu + 0.5:.6f},{cpu:.6f},0.5")
    path.write_bytes(gzip.compress("\n".join(lines).encode("ascii")))
    return path


def test_an_anchor_takes_away_what_it_shares(tmp_path: Path, benchmark_module: ModuleType) -> None:
    sessions = benchmark_module.read(trace(tmp_path / "trace.csv.gz", 2))
    assert list(sessions) == ["s0", "s1"]
    cells = sessions["s0"]["P", "model"]
    assert (
        [round(wall - 0.5, 6) for wall in cells["wall_s"]]
        == [round(net, 6) for net in cells["net_s"]]
        == cells["cpu_s"]
    )
    first, second = sessions.values()
    seen = {}
    for mode in ("saved", "anchored"):
        failed, seen[mode] = benchmark_module.compare(
            first, second, ["model"], "anchor", mode=mode, net=False, rounds=10, slower=0.0
        )
        assert failed == (mode == "saved"), "the second session is 30 % slower as a whole"
    assert seen["anchored"] < seen["saved"]
    assert benchmark_module.compare(
        first, second, ["model"], "anchor", mode="anchored", net=True, rounds=10, slower=0.6
    )[0]
