"""``--llmci-sink plots`` and ``llmci report --plots``. Sessions that draw have a process of their own: matplotlib is imported once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import Bench

from pytest_llmci.cli.main import main
from pytest_llmci.plots import PLOTS

pytest.importorskip("matplotlib")
OF_LOAD = "load-over-rate"
"""Drawn where something was asked under load."""
FILES = sorted(f"{entry.name}.{kind}" for entry in PLOTS if entry.name != OF_LOAD for kind in ("png", "svg"))


def drawn(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_session_draws_into_its_run_folder_and_the_manifest_knows_the_files(bench: Bench) -> None:
    result = bench.suite("echo,slow=echo+ttft=2ms", "--llmci-sink=plots", fresh=True)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["Saved in llmci-results/latest (results.csv, summary.csv, log.jsonl, plots/ (20", "  files))"],
        consecutive=True,
    )
    assert drawn(bench.latest / "plots") == FILES
    listed = {entry["path"] for entry in json.loads((bench.latest / "manifest.json").read_text("utf-8"))["files"]}
    assert {f"plots/{name}" for name in FILES} <= listed
    assert main(["verify", str(bench.latest)]) == 0
    (bench.latest / "plots" / "latency.svg").write_text("<svg/>", "utf-8")
    assert main(["verify", str(bench.latest)]) == 1


def test_a_folder_of_ones_own(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-sink=plots:pictures/of it", fresh=True)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["Also written: pictures/of it/ (20 files)"])
    assert drawn(bench.path / "pictures" / "of it") == FILES
    assert not (bench.latest / "plots").exists()


def test_report_draws_later_the_same_and_the_run_still_verifies(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.suite("echo", "--llmci-sink=plots:first", fresh=True).assert_outcomes(passed=2)
    assert main(["report", "--plots"]) == 0
    out = capsys.readouterr().out
    assert f"plots{'/'}latency.svg" in out
    for name in FILES:
        assert (bench.latest / "plots" / name).read_bytes() == (bench.path / "first" / name).read_bytes()
    assert main(["verify"]) == 0
    assert main(["report", "--sink", "plots"]) == 0  # written again, hashed again
    assert main(["verify"]) == 0


def test_mlflow_and_dvc_find_the_figures_whatever_the_order_they_are_named_in(bench: Bench) -> None:
    pytest.importorskip("dvc")
    bench.suite("echo", "--llmci-sink=dvc:tracked", "--llmci-sink=plots", fresh=True).assert_outcomes(passed=2)
    held = list((bench.path / "tracked").rglob("latency.svg"))
    assert held and held[0].read_bytes() == (bench.latest / "plots" / "latency.svg").read_bytes()


def test_a_plot_of_the_users_own(bench: Bench) -> None:
    bench.write(
        "my_plots.py",
        """
from dataclasses import dataclass

@dataclass(frozen=True)
class Rounds:
    rounds: tuple
    name: str = "rounds"
    inches: tuple = (4, 3)

    @classmethod
    def of(cls, data):
        return cls(tuple(len(model) for model in data.models))

    def lacking(self):
        return ""

    def draw(self, figure):
        figure.add_subplot().bar(range(len(self.rounds)), self.rounds)

def broken(data):
    raise KeyError("nothing there")
""",
    )
    bench.write(
        "conftest.py",
        """
def pytest_llmci_register(registry):
    registry.add("plot", "my-rounds", "my_plots:Rounds.of")
    registry.add("plot", "my-broken", "my_plots:broken")
""",
    )
    result = bench.suite("echo", "--llmci-sink=plots", "-p", "no:cacheprovider", fresh=True)
    result.assert_outcomes(passed=2, warnings=0)
    assert drawn(bench.latest / "plots") == sorted(
        [*FILES, *(f"my-{name}.{kind}" for name in ("rounds", "broken") for kind in ("png", "svg"))]
    )
    assert "could not be made: KeyError: 'nothing there'" in (bench.latest / "plots" / "my-broken.svg").read_text(
        "utf-8"
    )
    result.stdout.fnmatch_lines(["*sink 'plots': *my-broken could not be made: KeyError: 'nothing there'*"])


def test_without_matplotlib_the_session_does_not_begin(bench: Bench) -> None:
    bench.write("conftest.py", "import pytest_llmci.plots.base as base\nbase.find_spec = lambda name: None\n")
    result = bench.suite("echo", "--llmci-sink=plots", fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if "matplotlib" in line]
    assert line == (
        "ERROR: sink 'plots' needs the package 'matplotlib', which is not installed: pip install 'pytest-llmci[report]'."
    )


def test_matplotlib_is_imported_only_where_it_is_asked_for(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "import sys\ndef pytest_unconfigure(config):\n    print('MATPLOTLIB', 'matplotlib' in sys.modules)\n",
    )
    result = bench.suite("echo", fresh=True)
    assert "MATPLOTLIB False" in result.stdout.str()
    result = bench.suite("echo", "--llmci-sink=plots", fresh=True)
    assert "MATPLOTLIB True" in result.stdout.str()
