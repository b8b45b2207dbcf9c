"""What 14,720 cells cost beside as many plain test functions.

    python -m benchmarks.scale [--rounds 3] [--models 1472] [--parallel] [--check]

The cells are 1,472 models of the `echo` kind x the ten packaged prompts, measured in this process with one round each
and written to a run folder; once as items of the suite `inference`, once as test functions with the fixture
`llm_result`. Beside them as many parametrized test functions that do nothing, without the plugin, twice (A/A control), and once with
three fixtures that do nothing.
Compared are the collecting alone (`--collect-only -q`) and the whole run, with the code of this checkout; other pytest
plugins are left out on every side. With --parallel also the items, the functions that do nothing, and as many items that do
nothing and send one report, under `-p xdist -n2`: the CPU time of all three processes. Run it from the root of the repository,
with the dependencies installed, on a Linux or macOS machine with little else to do; it takes some minutes. With --check the exit
status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pairs import judged
from benchmarks.process_cost import (
    Cost,
    RunFailedError,
    Side,
    clean_environment,
    compare,
    measure_in_turn,
    median_peak_bytes,
    table,
)

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = 10
"""As many as the packaged set `paper` holds."""
PLAIN, PLAIN_AGAIN, ITEMS, FUNCTIONS = "plain functions", "plain again", "suite items", "test functions"
FIXTURES = "plain with fixtures"
PARALLEL, PLAIN_PARALLEL, EMPTY_PARALLEL = "suite items -n2", "plain functions -n2", "empty items -n2"
IN_PARALLEL = {PARALLEL, PLAIN_PARALLEL, EMPTY_PARALLEL}
WITHOUT_PLUGIN = {PLAIN, PLAIN_AGAIN, FIXTURES, PLAIN_PARALLEL, EMPTY_PARALLEL}
PARALLEL_TARGET = 1.2
"""CPU time of the items under ``-n2`` over that without."""
PEAK_LIMIT_MB = 300.0
PLAIN_TESTS = """\
import pytest

@pytest.mark.parametrize("prompt", [f"p{{number:02}}" for number in range({prompts})])
@pytest.mark.parametrize("model", [f"m{{number:04}}" for number in range({models})])
def test_cell(model, prompt):
    pass
"""
FIXTURE_TESTS = """\
import pytest

@pytest.fixture(params=[f"m{{number:04}}" for number in range({models})])
def model(request):
    return request.param

@pytest.fixture(params=[f"p{{number:02}}" for number in range({prompts})])
def prompt(request):
    return request.param

@pytest.fixture
def result(model, prompt):
    return None

def test_cell(result):
    pass
"""
"""What pytest takes for as many functions with three fixtures that do nothing, without the plugin."""
CELL_TESTS = """\
def test_cell(llm_result):
    pass
"""
EMPTY_ITEMS = """\
import time

import pytest


class Suite(pytest.Collector):
    def collect(self):
        for model in range({models}):
            for prompt in range({prompts}):
                yield Empty.from_parent(self, name=f"m{{model:04}}-p{{prompt:02}}")


class Empty(pytest.Item):
    def runtest(self):
        pass


def pytest_collection_modifyitems(session, items):
    items += Suite.from_parent(session, name="inference", nodeid="inference").collect()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    now = time.time()
    report = pytest.TestReport(
        nodeid=item.nodeid, location=("inference", None, item.nodeid), keywords={{}}, outcome="passed", longrepr=None,
        when="call", duration=0.0, start=now, stop=now,
    )
    item.config.hook.pytest_runtest_logreport(report=report)
    return True
"""
"""Tests that do nothing and send one report: what pytest-xdist takes for as many of the cheapest kind, without the plugin."""
COMMON = ("-p", "no:cacheprovider", "-q")
MEASURE = (
    "--llmci-isolation=inline",
    "--llmci-rounds=1",
    "--llmci-warmup=0",
    "--llmci-max-new-tokens=4",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The largest CPU time that a side may take, as a multiple of that of plain functions."""

    side: str
    ratio: float


COLLECT_TARGETS = (Target(side=ITEMS, ratio=0.70),)
RUN_TARGETS = (Target(side=ITEMS, ratio=0.70), Target(side=FUNCTIONS, ratio=1.5))


def write_folders(folder: Path, models: int) -> None:
    """Lay out one folder for each side; none of them has a configuration file."""
    tests = {
        PLAIN: PLAIN_TESTS.format(models=models, prompts=PROMPTS),
        PLAIN_AGAIN: PLAIN_TESTS.format(models=models, prompts=PROMPTS),
        FIXTURES: FIXTURE_TESTS.format(models=models, prompts=PROMPTS),
        ITEMS: "",
        FUNCTIONS: CELL_TESTS,
        EMPTY_PARALLEL: "",
    }
    for name, text in tests.items():
        path = folder / folder_of(name)
        path.mkdir()
        if text:
            (path / "test_cells.py").write_text(text, encoding="utf-8")
    conftest = EMPTY_ITEMS.format(models=models, prompts=PROMPTS)
    (folder / folder_of(EMPTY_PARALLEL) / "conftest.py").write_text(conftest, encoding="utf-8")
    specs = "".join(f"  - m{number:04}=echo\n" for number in range(models))
    (folder / "models.yaml").write_text(f"models:\n{specs}", encoding="utf-8")


def folder_of(name: str) -> str:
    """Where a side runs."""
    return name.removesuffix(" -n2").replace(" ", "-")


def plugin_arguments(folder: Path, name: str) -> list[str]:
    """The command line of a side with the plugin."""
    kind = ["--llmci-suite=inference"] if name in {ITEMS, PARALLEL} else ["--llm-prompts=paper"]
    models = f"--llm-models=@{folder / 'models.yaml'}"
    return ["-p", "pytest_llmci.plugin", models, *kind, *MEASURE, f"--llmci-output={output_folder(folder, name)}"]


def output_folder(folder: Path, name: str) -> Path:
    """Where a side writes its run folders."""
    return folder / f"results-{name.replace(' ', '-')}"


def sides(folder: Path, names: Sequence[str], *, collect_only: bool, expected: str) -> list[Side]:
    """The commands to compare."""
    mode = ["--collect-only"] if collect_only else []
    return [
        Side(
            name=name,
            command=[
                *(sys.executable, "-m", "pytest", *COMMON, *mode),
                *(["-p", "xdist", "-n2"] if name in IN_PARALLEL else []),
                *([] if name in WITHOUT_PLUGIN else plugin_arguments(folder, name)),
            ],
            cwd=folder / folder_of(name),
            environment=clean_environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONPATH=str(ROOT)),
            expected=expected,
        )
        for name in names
    ]


def check_results(folder: Path, name: str, cells: int) -> None:
    """Make sure that each cell left its row, as a run that writes nothing is cheap.

    :raises RunFailedError: if results.csv has another number of rows.
    """
    path = output_folder(folder, name) / "latest" / "results.csv"
    if not path.is_file():
        raise RunFailedError(f"{name}: the run left no {path}.")
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = sum(1 for _ in csv.DictReader(stream))
    if rows != cells:
        raise RunFailedError(f"{name}: {path} has {rows} rows; expected {cells}.")


def report(title: str, costs: Mapping[str, Sequence[Cost]], targets: Sequence[Target]) -> bool:
    """Print a comparison beside its targets; whether all are met."""
    print(f"\n{title}")
    print("\n".join(f"  {line}" for line in table(costs, PLAIN)))
    verdicts = [
        judged(
            f"{target.side}: CPU time over plain", compare(costs[target.side], costs[PLAIN]).ratio, target.ratio, "x"
        )
        for target in targets
        if target.side in costs
    ]
    if FIXTURES in costs:
        print(f"  {FIXTURES}: CPU time over plain: {compare(costs[FIXTURES], costs[PLAIN]).ratio:.2f}x")
    verdicts += [
        judged(f"{name}: peak memory", median_peak_bytes(costs[name]) / 1e6, PEAK_LIMIT_MB, "MB")
        for name in (ITEMS, FUNCTIONS)
        if name in costs
    ]
    if PARALLEL in costs:
        ratio = compare(costs[PARALLEL], costs[ITEMS]).ratio
        verdicts.append(judged(f"{PARALLEL}: CPU time over {ITEMS}", ratio, PARALLEL_TARGET, "x"))
        for name, reference in ((PLAIN_PARALLEL, PLAIN), (EMPTY_PARALLEL, ITEMS)):
            print(f"  {name}: CPU time over {reference}: {compare(costs[name], costs[reference]).ratio:.2f}x")
    for line, _ in verdicts:
        print(line)
    return all(met for _, met in verdicts)


def measure(folder: Path, models: int, rounds: int, names: Sequence[str]) -> bool:
    """Measure collecting and running; whether all targets are met.

    :raises RunFailedError: if a side did not collect, run or record every cell.
    """
    cells = models * PROMPTS
    output = folder / "output.txt"
    alone = [name for name in names if name not in IN_PARALLEL]
    collecting = sides(folder, alone, collect_only=True, expected=f"{cells} tests collected")
    met = report(
        f"collecting {cells:,} tests, {rounds} rounds", measure_in_turn(collecting, rounds, output), COLLECT_TARGETS
    )
    running = sides(folder, names, collect_only=False, expected=f"{cells} passed")
    costs = measure_in_turn(running, rounds, output)
    for name in set(names).intersection({ITEMS, FUNCTIONS, PARALLEL}):
        check_results(folder, name, cells)
    return report(f"running {cells:,} tests, {rounds} rounds", costs, RUN_TARGETS) and met


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each side (default: 3)")
    parser.add_argument("--models", type=int, default=1472, help="models, with ten cells each (default: 1472)")
    parser.add_argument("--plain-only", action="store_true", help="only the sides without the plugin: the noise")
    parser.add_argument("--parallel", action="store_true", help="also under pytest-xdist with two workers")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    names = [PLAIN, PLAIN_AGAIN] if arguments.plain_only else [PLAIN, ITEMS, FUNCTIONS, FIXTURES, PLAIN_AGAIN]
    if arguments.parallel:
        names += [PLAIN_PARALLEL, *([] if arguments.plain_only else [EMPTY_PARALLEL, PARALLEL])]
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-scale-") as name:
            folder = Path(name)
            write_folders(folder, arguments.models)
            met = measure(folder, arguments.models, arguments.rounds, names)
    except RunFailedError as error:
        print(f"scale: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
