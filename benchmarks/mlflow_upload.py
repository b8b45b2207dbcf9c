"""What logging a session to MLflow adds at its end: to a SQLite store, and to a server on this machine.

    python -m benchmarks.mlflow_upload [--rounds 3] [--models 5] [--prompts 10] [--samples 5] [--server] [--wide] [--check]

A run is generated, as in `benchmarks.compare_runs`, and sent in the way in which a session does it: by a process of its own, timed from
its start to its end. In turn with it the usual import of MLflow alone is timed, of which it does a part. The store has its tables already:
MLflow takes two more CPU seconds once for a fresh file. Every round sends another run. --server starts `mlflow server` and
sends there; --wide sends 1,472 models x 10 prompts, once. Run it from the root of the repository, with the extra
`mlflow` installed, on a machine with little else to do. With --check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.compare_runs import records, write_run
from benchmarks.pairs import judged
from benchmarks.process_cost import RunFailedError
from pytest_llmci.sinks.apart import Patience, send_apart

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from mlflow_server import Server

LIMITS_S = {"local": 2.0, "server": 3.0, "wide": 60.0}
TOKENS = 12


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server of MLflow on this machine, as small as it can be made.

    :raises RunFailedError: if it does not start.
    """
    made = Server(folder)
    try:
        try:
            made.start()
        except RuntimeError as error:
            raise RunFailedError(f"mlflow server did not start; is the extra 'mlflow' installed? {error}") from error
        yield made.uri
    finally:
        made.kill()


def cost(work: Callable[[], None]) -> tuple[float, float]:
    """Wall time and CPU seconds of the processes that the work starts and waits for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def send(run: Path, uri: str) -> None:
    """Send a run.

    :raises RunFailedError: if it did not arrive.
    """
    sent = send_apart(run, f"mlflow:{uri}", patience=Patience(silence_s=600, limit_s=3600))
    if sent.warning or not sent.results or not sent.results[0].startswith("MLflow: logged"):
        raise RunFailedError(sent.warning or f"unexpected: {sent.results}")


def import_alone() -> None:
    """What a process that uses MLflow in the usual way pays."""
    subprocess.run([sys.executable, "-P", "-c", "from mlflow import MlflowClient"], check=True)


def measure(folder: Path, uri: str, arguments: argparse.Namespace, kind: str) -> bool:
    """Send as many runs as rounds are asked for; whether the target is met."""
    models, prompts = (1472, 10) if kind == "wide" else (arguments.models, arguments.prompts)
    rounds = 1 if kind == "wide" else arguments.rounds
    print(f"{kind}: {models:,} models x {prompts:,} prompts x {arguments.samples} rounds")
    found: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for number in range(-1, rounds):  # the first one makes the experiment and, in a fresh file, the tables
        size = (2, 2) if number < 0 else (models, prompts)
        run = folder / f"{kind}-{number}"
        write_run(run, records(*size, arguments.samples, TOKENS, seed=number, slower=""), f"2026-{kind}-{number}")
        bare.append(cost(import_alone))
        found.append(cost(lambda run=run: send(run, uri)))  # type: ignore[misc]  # of this turn
    walls, cpus = zip(*found[1:], strict=True)
    bare_walls, bare_cpus = zip(*bare[1:], strict=True)
    print(
        f"  CPU time {statistics.median(cpus):.2f} s; the usual import of mlflow alone {statistics.median(bare_cpus):.2f} s"
    )
    print(f"  the usual import alone {statistics.median(bare_walls):.2f} s of wall time; load {os.getloadavg()[0]:.1f}")
    line, met = judged("wall time", statistics.median(walls), LIMITS_S[kind], "s")
    print(line)
    return met


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    parser.add_argument("--models", type=int, default=5, help="models (default: 5)")
    parser.add_argument("--prompts", type=int, default=10, help="cells of each model (default: 10)")
    parser.add_argument("--samples", type=int, default=5, help="rounds of each cell (default: 5)")
    parser.add_argument("--server", action="store_true", help="to a server, too")
    parser.add_argument("--wide", action="store_true", help="1,472 models x 10 prompts to a SQLite store, too")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    met = True
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-mlflow-") as name, contextlib.chdir(name):
            folder = Path(name)
            met = measure(folder, f"sqlite:///{name}/local.db", arguments, "local")
            if arguments.server:
                with server(folder) as uri:
                    met = measure(folder, uri, arguments, "server") and met
            if arguments.wide:
                met = measure(folder, f"sqlite:///{name}/local.db", arguments, "wide") and met
    except RunFailedError as error:
        print(f"mlflow_upload: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
