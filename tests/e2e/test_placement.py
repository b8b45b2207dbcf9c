"""How many threads a model computes with, and on which CPUs."""

from __future__ import annotations

import os
import sys

import pytest
from bench import Bench
from installed import needs_models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
ASKS = """
def threads(backend):
    import os, torch
    inside = torch.__config__.parallel_info().splitlines()
    asked = next(line for line in inside if "omp_get_max_threads" in line)
    return [torch.get_num_threads(), asked.rpartition(":")[2].strip(), os.environ.get("OMP_NUM_THREADS"),
            os.environ.get("MKL_NUM_THREADS"), os.environ["OMP_WAIT_POLICY"]]

def worked(backend):
    import os, torch
    torch.mm(torch.ones(512, 512), torch.ones(512, 512))
    return [sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")]
"""


@needs_models
def test_the_threads_that_were_asked_for_reach_torch_and_openmp(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    cpu = min(os.sched_getaffinity(0))
    bench.write("asks.py", ASKS)
    bench.write(
        "test_it.py",
        "def test_it(llm):\n"
        "    found = {'one': [1, '1', '1', '1'], 'three': [3, '3', '3', '3'], 'auto': [1, '1', None, None]}\n"
        "    assert llm.call('asks:threads') == [*found[llm.name], 'PASSIVE']\n",
    )
    models = f"one=tiny,three=tiny+threads=3,auto=tiny+threads=auto+cpus={cpu}"
    bench.run(f"--llm-models={models}", "test_it.py").assert_outcomes(passed=3)
    more = bench.run("--llm-models=three=tiny", "--llmci-threads=3", "test_it.py")
    more.assert_outcomes(passed=1)


@needs_models
def test_every_thread_of_a_pinned_model_stays_on_its_cpus(bench: Bench) -> None:
    cpu = max(os.sched_getaffinity(0))
    bench.write("asks.py", ASKS)
    bench.write(
        "test_it.py",
        "def test_it(llm):\n"
        "    threads = llm.call('asks:worked')\n"
        f"    assert len(threads) >= 2 and all(cpus == [{cpu}] for cpus in threads)\n",
    )
    bench.run(f"--llm-models=tiny+threads=2+cpus={cpu}", "test_it.py").assert_outcomes(passed=1)
    (worker,) = bench.records("worker")
    assert (worker["info"]["threads"], worker["info"]["cpus"]) == (2, [cpu])


def test_a_comma_list_of_cpus_is_one_models(bench: Bench) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    models = f"a=echo+cpus={','.join(map(str, cpus))},b=echo"
    result = bench.suite(models)
    result.assert_outcomes(passed=4)
    assert [worker["info"]["cpus"] for worker in bench.records("worker")] == [cpus, None]


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        ("echo+cpus=all", [], "*model 'echo+cpus=all': '+cpus=all' must be CPU numbers and ranges*"),
        ("echo+cpus=0,70000", [], "*'+cpus=0,70000' names CPU 70000, which this process may not use; it may use *"),
        ("echo+cpus=CPU", ["--llmci-isolation=inline"], "*with --llmci-isolation=inline it has none*"),
    ],
)
def test_what_cannot_be_pinned_is_refused_before_anything_loads(
    bench: Bench, models: str, more: list[str], message: str
) -> None:
    result = bench.suite(models.replace("CPU", str(min(os.sched_getaffinity(0)))), *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not bench.latest.exists()
