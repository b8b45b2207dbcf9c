from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

from pytest_llmci.clock import FakeClock, SystemClock, outside_s, utc_text


def test_the_machines_clocks_move_and_know_their_zone() -> None:
    clock = SystemClock()
    before, wall = clock.now_ns(), clock.utc()
    clock.sleep(0.002)
    assert clock.now_ns() - before >= 2_000_000
    assert wall.tzinfo is UTC
    assert clock.utc() >= wall


def test_fake_time_moves_only_when_told_and_both_clocks_together() -> None:
    clock = FakeClock()
    assert clock.now_ns() == clock.now_ns() == 0
    begin = clock.utc()
    clock.sleep(1.5)
    clock.sleep(0.25)
    assert clock.now_ns() == 1_750_000_000
    assert clock.utc() - begin == timedelta(seconds=1.75)


def test_text_is_utc_with_milliseconds_cut_and_not_rounded() -> None:
    assert utc_text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
    there = timezone(timedelta(hours=2))
    assert utc_text(datetime(2026, 1, 1, 1, 2, 3, 999_999, tzinfo=there)) == "2025-12-31T23:02:03.999Z"


def test_the_outside_clock_moves_with_the_others_and_is_one_for_all_processes() -> None:
    begin, begin_ns = outside_s(), time.perf_counter_ns()
    script = "from pytest_llmci.clock import outside_s; print(repr(outside_s()))"
    child = float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    end, end_ns = outside_s(), time.perf_counter_ns()
    assert begin < child < end
    assert abs((end - begin) - (end_ns - begin_ns) / 1e9) < 0.1 * (end - begin)
