"""What is timed has the machine alone; what is not runs beside other such work: in one parallel session, and in several sessions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from bench import Bench

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
MEETING = """
import os, time, pathlib
def answer(prompt):
    # says whether it met another answer in the middle of it
    here = pathlib.Path(__file__).parent / "met"
    here.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if len(list(here.iterdir())) > 1:
            return "met"
        time.sleep(0.01)
    return "alone"
"""
SPANS = """
import time
def answer(prompt):
    begin = time.monotonic()
    time.sleep(0.03)
    return f"answer {begin} {time.monotonic()}"
"""
COMMAND = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q"]


def started(bench: Bench, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=bench.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def outputs(bench: Bench, folder: str = "llmci-results") -> list[str]:
    """Of all blocks of a session, in the order of the log."""
    import json

    lines = (bench.path / folder / "latest" / "log.jsonl").read_text("utf-8").splitlines()
    return [text for row in map(json.loads, lines) if row["type"] == "rounds" for text in row["outputs"]]


REQUEST = "def test_it(llm):\n    assert llm.generate('Hi').text\n"
UNTIMED = """
import pytest
@pytest.mark.llmci(timed=False, prompts="prompts.yaml")
def test_it(llm_result):
    assert llm_result.output.text
"""


@pytest.mark.parametrize("test", [REQUEST, UNTIMED], ids=["llm", "timed=False"])
def test_parallel_workers_ask_untimed_at_once(bench: Bench, test: str) -> None:
    bench.write("meeting.py", MEETING.replace("LIMIT", "120"))
    bench.write("test_it.py", test)
    bench.run("--llm-models=a=py:meeting:answer,b=py:meeting:answer", "-n2", "--llmci-warmup=0", fresh=True)
    assert set(outputs(bench)) == {"met"}
    kept = [block["values"].keys() for block in bench.records("rounds") if block["origin"] == "measured"]
    assert not any(name in values for values in kept for name in ("latency", "cpu_time"))


def test_separate_sessions_ask_untimed_at_once(bench: Bench) -> None:
    bench.write("meeting.py", MEETING.replace("LIMIT", "120"))
    bench.write("test_it.py", REQUEST)
    sessions = [started(bench, "--llm-models=py:meeting:answer", f"--llmci-output={name}") for name in ("one", "two")]
    assert [session.wait() for session in sessions] == [0, 0]
    assert outputs(bench, "one") == outputs(bench, "two") == ["met"]


def test_timed_rounds_meet_nobody(bench: Bench) -> None:
    bench.write("spans.py", SPANS)
    bench.write(
        "conftest.py",
        """
import pathlib, time
def pytest_sessionfinish(session):
    if "timed" in str(session.config.getoption("--llmci-output")):
        pathlib.Path("over").touch()
def pytest_collection_finish(session):
    if "timed" in str(session.config.getoption("--llmci-output")):
        until = time.monotonic() + 120
        while not pathlib.Path("begun").exists() and time.monotonic() < until:
            time.sleep(0.01)
""",
    )
    bench.write(
        "test_it.py",
        """
import pathlib, time
def test_it(llm):
    until = time.monotonic() + 120
    while not pathlib.Path("over").exists() and time.monotonic() < until:
        llm.generate("Hi")
        pathlib.Path("begun").touch()
""",
    )
    asking = started(
        bench, "--llm-models=a=py:spans:answer,b=py:spans:answer", "-n2", "--llmci-output=asking", "test_it.py"
    )
    suite = ("--llmci-suite=inference", "--llm-prompts=prompts.yaml", "--llmci-rounds=5", "--llmci-warmup=0")
    timed = started(bench, "--llm-models=py:spans:answer", *suite, "--llmci-output=timed")
    assert (timed.wait(), asking.wait()) == (0, 0)
    spans = {
        name: [tuple(map(float, text.split()[1:])) for text in outputs(bench, name)] for name in ("timed", "asking")
    }
    assert len(spans["timed"]) == 10
    begin, end = min(spans["timed"])[0], max(spans["timed"])[1]
    assert any(one[0] < end and one[1] > begin - 5 for one in spans["asking"]), "they ran at the same time"
    assert not [
        (one, other) for one in spans["timed"] for other in spans["asking"] if one[0] < other[1] and other[0] < one[1]
    ]


LATE = """
import pathlib, time
begin = time.monotonic()
time.sleep(0.5)
pathlib.Path("loaded").write_text(f"{begin} {time.monotonic()}")
def answer(prompt):
    return "answer"
"""


UNTIL_LOADED = """
import pathlib, time
def answer(prompt):
    pathlib.Path("begun").touch()
    begin = time.monotonic()
    if not pathlib.Path("loaded").exists():  # as long as the other session takes to come
        time.sleep(0.05)
    return f"answer {begin} {time.monotonic()}"
"""


def test_a_model_is_not_loaded_beside_what_is_timed(bench: Bench) -> None:
    bench.write("late.py", LATE)
    bench.write(
        "conftest.py",
        """
import pathlib, time
def pytest_collection_finish(session):
    if "loading" in str(session.config.getoption("--llmci-output")):
        until = time.monotonic() + 120
        while not pathlib.Path("begun").exists() and time.monotonic() < until:
            time.sleep(0.01)
""",
    )
    bench.write("begins.py", UNTIL_LOADED)
    bench.write("prompts.yaml", "".join(f"- {{id: p{number}, prompt: Say {number}.}}\n" for number in range(100)))
    suite = ("--llmci-suite=inference", "--llm-prompts=prompts.yaml", "--llmci-warmup=0")
    timed = started(bench, "--llm-models=py:begins:answer", *suite, "--llmci-rounds=2", "--llmci-output=timed")
    loading = started(bench, "--llm-models=py:late:answer", *suite, "--llmci-rounds=1", "--llmci-output=loading")
    assert (timed.wait(), loading.wait()) == (0, 0)
    spans = [tuple(map(float, text.split()[1:])) for text in outputs(bench, "timed")]
    begin, end = map(float, (bench.path / "loaded").read_text("utf-8").split())
    assert begin < max(spans)[1], "they ran at the same time"
    assert not [one for one in spans if one[0] < end and begin < one[1]]
