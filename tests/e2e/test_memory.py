"""What memory says of planted truths."""

from __future__ import annotations

import sys

import pytest
from bench import Bench

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
MIB = 1 << 20


def test_the_mean_growth_is_the_slope_of_a_leak(bench: Bench) -> None:
    models = "tight=echo,leaky=echo+leak=8MiB"
    bench.suite(models, "--llmci-rounds=4", "--llmci-budget=leaky: rss_growth.mean <= 4MiB")
    growth = {model["alias"]: model["metrics"]["rss_growth"] for model in bench.results()["models"]}
    assert growth["leaky"]["mean"] == pytest.approx(8 * MIB, rel=0.02)
    assert abs(growth["tight"]["mean"]) < MIB
    assert {line["model"]: line["verdict"] for line in bench.records("verdict")} == {"tight": "pass", "leaky": "failed"}


def test_the_first_inference_of_a_process_has_no_growth(bench: Bench) -> None:
    bench.suite("echo", "--llmci-rounds=1", "--llmci-warmup=0")
    first, second = bench.results()["cells"]
    assert "first inference of its process" in first["metrics"]["rss_growth"]["reason"]
    assert second["metrics"]["rss_growth"]["n"] == 1
