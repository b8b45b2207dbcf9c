from __future__ import annotations

import pytest

from pytest_llmci.engine.machine.advice import Cost, advise, visible
from pytest_llmci.stats.noise import Noise, Part

CHEAP = Cost(round_s=1.0, pair_s=0.1)
DEAR = Cost(round_s=1.0, pair_s=100.0)


def noise(ratio: float = 0.02, process: float = 0.005, session: float | None = 0.02) -> Noise:
    return Noise(
        round=Part(sd=ratio), ratio=Part(sd=ratio), process=Part(sd=process), session=Part(sd=session),
    )  # fmt: skip


def test_every_mode_is_told_for_every_gated_metric() -> None:
    found = visible({"cpu_time": noise(), "net_time": noise()}, 2)
    assert [(row.mode, row.rounds, row.pairs, row.sessions) for row in found if row.metric == "net_time"] == [
        ("interleaved", 5, 1, 0), ("interleaved", 10, 2, 0), ("interleaved", 20, 4, 0), ("interleaved", 40, 8, 0),
        ("saved", 20, 0, 1), ("history", 20, 0, 5),
    ]  # fmt: skip
    sizes = [row.cell or 0 for row in found[:4]]
    assert sizes == sorted(sizes, reverse=True)
    assert all((row.model or 1) < (row.cell or 0) for row in found)


def test_the_noise_that_was_measured_is_what_counts() -> None:
    def size(mode: str, **parts: float) -> float:
        rows = [row for row in visible({"cpu_time": noise(**parts)}, 2) if row.mode == mode]
        return rows[-1].cell or 0

    assert size("interleaved", ratio=0.1) > 2 * size("interleaved")
    assert size("interleaved", process=0.05) > size("interleaved")
    assert size("history", session=0.2) > 2 * size("history")
    assert size("saved", session=0.2) == size("saved"), "the gate cannot know it from one session"


def test_ratios_are_told_of_where_they_were_measured() -> None:
    found = visible({"cpu_time": noise(), "net_time": noise()}, 2, {"cpu_time": noise(ratio=0.03)})
    assert [row.metric for row in found if row.mode == "anchored"] == ["cpu_time"]
    saved, anchored = (next(row for row in found if row.mode == mode) for mode in ("saved", "anchored"))
    assert (anchored.cell or 1) < (saved.cell or 0)
    louder = visible({"cpu_time": noise(), "net_time": noise()}, 2, {"cpu_time": noise(ratio=0.1)})
    assert (next(row.cell for row in louder if row.mode == "anchored") or 0) > (anchored.cell or 1)


def test_two_metrics_share_the_false_alarms() -> None:
    alone, shared = visible({"cpu_time": noise()}, 2), visible({"cpu_time": noise(), "net_time": noise()}, 2)
    assert (alone[1].cell or 0) < (shared[1].cell or 0)


def test_what_was_not_measured_is_not_told() -> None:
    few = Part(sd=None, reason="a single round")
    nothing = Noise(round=few, ratio=few, process=few, session=few)
    assert visible({"cpu_time": nothing}, 2) == []
    assert advise({"cpu_time": nothing}, 2, CHEAP) is None


def test_a_quiet_machine_needs_few_rounds_and_a_noisy_one_more() -> None:
    quiet, usual = advise({"cpu_time": noise(0.002, 0.0)}, 4, CHEAP), advise({"cpu_time": noise(0.02)}, 4, CHEAP)
    assert quiet is not None and usual is not None
    assert quiet.detect == usual.detect == 0.05
    assert quiet.max_rounds < usual.max_rounds <= 40
    assert usual.rounds == usual.block and usual.max_rounds % usual.block == 0


def test_where_loading_is_dear_there_are_fewer_pairs() -> None:
    cheap, dear = (advise({"cpu_time": noise(0.02)}, 4, cost) for cost in (CHEAP, DEAR))
    assert cheap is not None and dear is not None
    assert dear.max_rounds // dear.block < cheap.max_rounds // cheap.block
    assert dear.seconds == pytest.approx(dear.max_rounds + dear.max_rounds // dear.block * 100)


def test_too_noisy_for_five_per_cent_asks_for_what_can_be_seen() -> None:
    noisy = advise({"cpu_time": noise(0.1), "net_time": noise(0.01)}, 2, CHEAP)
    assert noisy is not None and noisy.detect > 0.05 and "it sees" in noisy.reason
    hopeless = advise({"cpu_time": noise(2.0)}, 2, CHEAP)
    assert hopeless is not None and hopeless.reason.startswith("too noisy: even 40 rounds")


def test_the_lines_are_settings_that_can_be_read() -> None:
    import tomllib

    from pytest_llmci.given import Given, resolve_settings

    found = advise({"cpu_time": noise(0.06)}, 2, CHEAP)
    assert found is not None
    table = tomllib.loads("\n".join(found.lines))["tool"]["llmci"]
    raw = {name: Given(tuple(value) if isinstance(value, list) else str(value), name) for name, value in table.items()}
    settings = resolve_settings(raw, [])
    assert (settings.rounds, settings.max_rounds, settings.block) == (found.rounds, found.max_rounds, found.block)
    assert settings.detect[""] == pytest.approx(found.detect)
