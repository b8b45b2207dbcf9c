"""What the plugin costs a pytest session that does not use it.

    python -m benchmarks.idle_cost [--rounds 20] [--instructions] [--check]

Makes four virtual environments in a temporary folder (about 600 MB; pip fetches pytest, numpy, scipy, ...):

    pytest          pytest alone, the reference
    pytest again    the same once more: what the comparison shows where there is no difference (A/A control)
    dependencies    pytest and what the plugin depends on, without the plugin
    llmci           pytest and the plugin with its dependencies, installed as users do

In each it runs, in turn, `python -m pytest -p no:cacheprovider --collect-only -q` in an empty folder, and 1,000 trivial
parametrized tests. It also lists the modules that an unarmed session imports because of the plugin. Run it from the
root of the repository, on a Linux or macOS machine with little else to do. With --check the exit status is 1 when a
target is missed.

With --instructions it counts, by valgrind, the instructions of one session in each environment and holds them against
the same ratios: a count says less about memory and the kernel than CPU time does, but is the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
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
    table,
)

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "pytest"
PLUGIN = "llmci"
FORBIDDEN = ("matplotlib", "mlflow", "numpy", "pandas", "psutil", "scipy", "torch", "transformers")
LIST_MODULES = (
    "import json, sys, pytest\n"
    "pytest.main(sys.argv[1:])\n"
    "print('\\n' + json.dumps(sorted(name for name in sys.modules)))\n"
)
TRIVIAL_TESTS = """\
import pytest

@pytest.mark.parametrize("number", range(1000))
def test_nothing(number):
    pass
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A kind of session that is measured in each environment."""

    name: str
    arguments: tuple[str, ...]
    tests: str
    """The text of its one test file; empty for none."""
    expected: str
    ratio_limit: float
    added_ms_limit: float | None = None
    added_mb_limit: float | None = None


SESSIONS = (
    Session(
        name="empty folder",
        arguments=("-p", "no:cacheprovider", "--collect-only", "-q"),
        tests="",
        expected="no tests collected",
        ratio_limit=1.03,
        added_ms_limit=7.0,
        added_mb_limit=1.5,
    ),
    Session(
        name="1,000 trivial tests",
        arguments=("-p", "no:cacheprovider", "-q"),
        tests=TRIVIAL_TESTS,
        expected="1000 passed",
        ratio_limit=1.02,
    ),
)


def pip_install(python: Path, *requirements: str) -> None:
    """Install into an environment.

    :raises subprocess.CalledProcessError: if pip fails; its own message is on the screen.
    """
    constraints = ROOT / "constraints" / ("py311.txt" if sys.version_info < (3, 12) else "py312.txt")
    common = ["-qq", "--disable-pip-version-check", "--constraint", str(constraints)]
    subprocess.run([str(python), "-m", "pip", "install", *common, *requirements], check=True, stdin=subprocess.DEVNULL)


def make_environment(folder: Path, *requirements: str) -> Path:
    """A new virtual environment with these packages; its Python."""
    print(f"making the environment '{folder.name}' ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip_install(python, *requirements)
    return python


def make_environments(folder: Path) -> dict[str, Path]:
    """The four environments by name; the last two differ by the plugin alone."""
    pythons = {
        name: make_environment(folder / name.replace(" ", "-"), "pytest") for name in (REFERENCE, "pytest again")
    }
    for name in ("dependencies", PLUGIN):
        pythons[name] = make_environment(folder / name, str(ROOT))
    uninstall = [str(pythons["dependencies"]), "-m", "pip", "uninstall", "--quiet", "--yes"]
    subprocess.run([*uninstall, "pytest-llmci", "pytest-llmci-entry"], check=True)
    return pythons


def make_folder(folder: Path, session: Session) -> Path:
    """The folder that a session runs in."""
    folder.mkdir()
    if session.tests:
        (folder / "test_trivial.py").write_text(session.tests, encoding="utf-8")
    return folder


def imported_modules(python: Path, session: Session, cwd: Path) -> set[str]:
    """The names in ``sys.modules`` at the end of a session."""
    done = subprocess.run(
        [str(python), "-c", LIST_MODULES, *session.arguments],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def report_modules(session: Session, pythons: Mapping[str, Path], cwd: Path) -> bool:
    """Print what the plugin makes a session import; whether nothing heavy is among it.

    :raises RunFailedError: if the plugin was not loaded, so that nothing was measured.
    """
    loaded = imported_modules(pythons[PLUGIN], session, cwd)
    if "pytest_llmci.plugin" not in loaded:
        raise RunFailedError("the plugin was not loaded in its own environment: the figures would say nothing.")
    added = loaded - imported_modules(pythons[REFERENCE], session, cwd)
    ours = sorted(name for name in added if name.partition(".")[0] == "pytest_llmci")
    others = sorted(added.difference(ours))
    heavy = sorted({name.partition(".")[0] for name in loaded}.intersection(FORBIDDEN))
    print(f"  imports because of the plugin: {len(ours)} modules of its own, {len(others)} others")
    print(f"    own:    {' '.join(ours) or 'none'}")
    print(f"    others: {' '.join(others) or 'none'}")
    print(f"  heavy packages in sys.modules: {', '.join(heavy) or 'none'}")
    return not heavy


def report_costs(session: Session, costs: Mapping[str, Sequence[Cost]]) -> bool:
    """Print the figures of a session beside its targets; whether all are met."""
    print("\n".join(f"  {line}" for line in table(costs, REFERENCE)))
    seen = compare(costs[PLUGIN], costs[REFERENCE])
    lines = [judged("CPU time over pytest alone", seen.ratio, session.ratio_limit, "x")]
    if session.added_ms_limit is not None:
        lines.append(judged("CPU time added, median of pairs", 1e3 * seen.difference_s, session.added_ms_limit, "ms"))
    if session.added_mb_limit is not None:
        lines.append(judged("peak memory added", seen.peak_difference_bytes / 1e6, session.added_mb_limit, "MB"))
    print("\n".join(line for line, _ in lines))
    return all(met for _, met in lines)


def count_instructions(side: Side) -> int:
    """The instructions that a command executes, kernel apart, by valgrind.

    :raises RunFailedError: if valgrind does not tell.
    """
    counting = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *side.command]
    done = subprocess.run(
        counting, cwd=side.cwd, env=dict(side.environment), capture_output=True, text=True, check=False
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None or side.expected not in done.stdout:
        raise RunFailedError(f"{side.name}: valgrind counted nothing: {done.stderr[-300:]}")
    return int(found[1])


def report_instructions(session: Session, sides: Sequence[Side]) -> bool:
    """Print how many instructions each side takes; whether the plugin keeps to the ratio of the session."""
    counts = {side.name: count_instructions(side) for side in sides}
    for name, number in counts.items():
        print(f"  {name:<20}{number / 1e6:>10,.1f} million instructions {number / counts[REFERENCE]:>9.4f}x")
    ratio = counts[PLUGIN] / counts[REFERENCE]
    line, met = judged("instructions over pytest alone", ratio, session.ratio_limit, "x")
    print(line)
    return met


def measure_session(
    session: Session, pythons: Mapping[str, Path], folder: Path, rounds: int, *, instructions: bool
) -> bool:
    """Measure one kind of session and print it; whether its targets are met."""
    cwd = make_folder(folder / session.name.replace(" ", "-").replace(",", ""), session)
    sides = [
        Side(
            name=name,
            command=[str(python), "-m", "pytest", *session.arguments],
            cwd=cwd,
            environment=clean_environment(),
            expected=session.expected,
        )
        for name, python in pythons.items()
    ]
    costs = measure_in_turn(sides, rounds, folder / "output.txt")
    print(f"\n{session.name}, {rounds} rounds")
    met = [report_costs(session, costs), report_modules(session, pythons, cwd)]
    if instructions:
        met.append(report_instructions(session, sides))
    return all(met)


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds of each session (default: 20)")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too; needs valgrind")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    if arguments.instructions and shutil.which("valgrind") is None:
        parser.error("--instructions needs valgrind, which is not on the PATH; install it, or leave the option out")
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-idle-") as name:
            folder = Path(name)
            pythons = make_environments(folder)
            met = [
                measure_session(session, pythons, folder, arguments.rounds, instructions=arguments.instructions)
                for session in SESSIONS
            ]
    except (RunFailedError, subprocess.CalledProcessError) as error:
        print(f"idle_cost: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not all(met) else 0


if __name__ == "__main__":
    sys.exit(main())
