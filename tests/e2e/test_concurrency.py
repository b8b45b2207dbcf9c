"""Threads, streams and event loops that share a model get each their own answer, and Ctrl-C ends them all."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import Bench
from waiting import PATIENCE_S, comes_true

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")
ITS_OWN = "def is_own(text, word):\n    return text.startswith(f'You asked about {word} so here it is:')\n"


@pytest.fixture(autouse=True)
def own(bench: Bench) -> None:
    bench.write("own.py", ITS_OWN)


def test_threads_get_each_their_own_answer(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
from concurrent.futures import ThreadPoolExecutor
from own import is_own
def test_it(llm):
    words = [f"word{n}" for n in range(8)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(llm.generate, words))
    assert all(is_own(answer.text, word) for answer, word in zip(answers, words))
    assert all(answer.latency > 0.005 for answer in answers)
""",
    )
    bench.run("--llm-models=echo+ttft=5ms").assert_outcomes(passed=1)
    blocks = bench.records("rounds")
    assert {block["cell"]: block["outputs"][0].split()[3] for block in blocks} == {
        f"echo-word{n}": f"word{n}" for n in range(8)
    }
    assert len(bench.records("verdict")) == 8
    assert len(bench.records("worker")) == 1
    from pytest_llmci.cli.main import main

    assert main(["verify", str(bench.latest)]) == 0


@pytest.mark.parametrize("isolation", ["worker", "inline"])
def test_streams_that_are_read_in_turns_keep_apart(bench: Bench, isolation: str) -> None:
    bench.write(
        "test_it.py",
        """
from own import is_own
def test_two(llm):
    pairs = list(zip(llm.stream("aaa"), llm.stream("bbb")))
    first, second = ("".join(pieces) for pieces in zip(*pairs))
    assert is_own(first, "aaa") and is_own(second, "bbb")
def test_a_request_while_a_stream_is_open(llm):
    stream = llm.stream("ccc")
    first = next(stream)
    assert is_own(llm.generate("ddd").text, "ddd")
    assert llm.score("a", "b c").total < 0
    assert is_own(first + "".join(stream), "ccc")
def test_a_request_while_a_profile_is_open(llm):
    with llm.profile() as measured:
        assert is_own(llm.generate("eee").text, "eee")
        assert is_own("".join(llm.stream("fff")), "fff")
    assert measured.wall_time > 0
""",
    )
    bench.run("--llm-models=echo+itl=1ms", f"--llmci-isolation={isolation}", fresh=True).assert_outcomes(passed=3)
    assert len(bench.records("worker")) == 1


def test_threads_on_two_models(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
from concurrent.futures import ThreadPoolExecutor
from own import is_own
def test_it(llm, llm_open):
    other = llm_open("other=echo")
    with ThreadPoolExecutor(4) as threads:
        pairs = [(model, word) for word in ("aaa", "bbb") for model in (llm, other)]
        answers = list(threads.map(lambda pair: pair[0].generate(pair[1]), pairs))
    assert all(is_own(answer.text, word) for answer, (_, word) in zip(answers, pairs))
""",
    )
    bench.run("--llm-models=echo").assert_outcomes(passed=1)
    assert len(bench.records("worker")) == 2


def test_two_threads_on_two_models_with_room_for_one(bench: Bench) -> None:
    bench.write("conftest.py", "import pytest\n@pytest.fixture(scope='session')\ndef seen(): return []\n")
    bench.write(
        "test_it.py",
        """
from concurrent.futures import ThreadPoolExecutor
from own import is_own
def test_it(llm, seen):
    seen.append(llm)
    if len(seen) == 2:  # the second test asks both
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda model: model.generate("ccc"), seen * 2))
        assert all(is_own(answer.text, "ccc") for answer in answers)
        assert [answer._measurement.cell.id for answer in answers] == ["a-ccc", "b-ccc"] * 2
""",
    )
    bench.run("--llm-models=a=echo,b=echo").assert_outcomes(passed=2)
    assert [block["error"] for block in bench.records("rounds")] == [None] * 4


def test_profiles_of_two_threads_keep_apart(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import threading
from concurrent.futures import ThreadPoolExecutor
def test_it(llm):
    both = threading.Barrier(2, timeout=30)
    first_is_over = threading.Event()
    def first():
        with llm.profile() as measured:
            both.wait()
        first_is_over.set()
        return measured.wall_time
    def second():
        with llm.profile() as measured:
            both.wait()
            assert first_is_over.wait(30)
            llm.generate("x")
        return measured.wall_time
    with ThreadPoolExecutor(2) as threads:
        short, long = [work.result() for work in (threads.submit(first), threads.submit(second))]
    assert long > 0.3
    assert llm.generate("y").text
""",
    )
    bench.run("--llm-models=echo+ttft=300ms").assert_outcomes(passed=1)


def test_a_body_that_fails_in_a_profile_shows_its_own_failure(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
def test_fails(llm):
    with llm.profile():
        assert "mine" == "yours"
def test_goes_on(llm):
    with llm.profile() as measured:
        llm.generate("x")
    assert measured.wall_time > 0
""",
    )
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E *'mine' == 'yours'"])


def test_streams_that_are_left_early_are_no_deaths(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.mark.parametrize("n", range(3))
def test_stream(llm, n):
    for piece in llm.stream("hello", max_new_tokens=100): break
def test_generate(llm): assert llm.generate("x", max_new_tokens=2).text
""",
    )
    bench.run("--llm-models=echo+tokens=100+itl=200ms").assert_outcomes(passed=4)
    assert [worker["error"] for worker in bench.records("worker")] == [None] * 4
    assert _starts_and_deaths(bench) == ("4", "0")


def test_a_stream_inside_this_process_stops_at_its_next_piece(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import time
def test_it(llm):
    for piece in llm.stream("hello", max_new_tokens=500): break
    began = time.monotonic()
    assert llm.generate("x", max_new_tokens=1).text
    assert time.monotonic() - began < 20  # not the 100 s of the whole answer
""",
    )
    bench.run("--llm-models=echo+tokens=500+itl=200ms", "--llmci-isolation=inline").assert_outcomes(passed=1)


def test_tasks_get_each_their_own_answer(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import asyncio
from own import is_own
def test_it(llm):
    async def all_of_them():
        return await asyncio.gather(*(llm.agenerate(f"word{n}") for n in range(5)))
    answers = asyncio.run(all_of_them())
    assert all(is_own(answer.text, f"word{n}") for n, answer in enumerate(answers))
""",
    )
    bench.run("--llm-models=echo+ttft=2ms").assert_outcomes(passed=1)


def test_a_cancelled_task_leaves_no_half_answer(bench: Bench) -> None:
    bench.write(
        "slow.py",
        "import time\nfrom pathlib import Path\n"
        "def answer(prompt):\n"
        "    if prompt == 'long one':\n        Path('begun').touch()\n        time.sleep(600)\n    return 'to ' + prompt\n",
    )
    bench.write(
        "test_it.py",
        """
import asyncio, pytest
from pathlib import Path
def test_it(llm):
    llm.generate("warm")
    async def impatient():
        waiting = asyncio.create_task(llm.agenerate("long one"))
        while not Path("begun").exists():
            await asyncio.sleep(0.01)
        behind = asyncio.create_task(llm.agenerate("behind it"))
        await asyncio.sleep(0.3)
        behind.cancel()
        waiting.cancel()
        return await asyncio.gather(waiting, behind, return_exceptions=True)
    assert all(isinstance(found, asyncio.CancelledError) for found in asyncio.run(impatient()))
    assert llm.generate("next").text == "to next"
""",
    )
    bench.run("--llm-models=py:slow:answer").assert_outcomes(passed=1)
    kinds = [block["error"] and block["error"]["kind"] for block in bench.records("rounds")]
    assert kinds == [None, "interrupted", None]  # the one behind was never asked


def test_a_failure_in_a_task_is_the_tests(bench: Bench) -> None:
    bench.write("test_it.py", "import asyncio\ndef test_it(llm): asyncio.run(llm.agenerate('x'))\n")
    result = bench.run("--llm-models=echo+crash=exit:7")
    result.stdout.fnmatch_lines(["E *WorkerCrashed: echo ended by itself with exit status 7", "E *stderr *echo-1.log"])


def _starts_and_deaths(bench: Bench) -> tuple[str, str]:
    (row,) = csv.DictReader((bench.latest / "summary.csv").read_text().splitlines())
    return row["worker_starts"], row["worker_deaths"]


CRASHES = {
    "call": ("llm.call('crashing:crash')", "in llm.call", "llm.call('crashing:crash')"),
    "score": ("llm.score('a', 'b')", "in llm.score", "llm.score('a', 'b')"),
    "score_many": (
        "from pytest_llmci import ScoreRequest as R; llm.score_many([R(context='a', continuations=('b',), id='arc-7')])",
        "in llm.score_many, question 1 of 1 (arc-7)",
        "llm.score_many: 1 question",
    ),
    "stream": ("list(llm.stream('Hi'))", "in llm.stream, 0 tokens into the answer", "Hi"),
}


@pytest.mark.parametrize("how", CRASHES)
def test_a_crash_in_any_request_leaves_evidence_and_a_row(bench: Bench, how: str) -> None:
    request, when, shown = CRASHES[how]
    bench.write(
        "crashing.py",
        "import os\nfrom pytest_llmci.backends.echo import EchoBackend\n"
        "def crash(backend): os._exit(7)\n"
        "class Crashing(EchoBackend):\n"
        "    def score(self, context, continuation): os._exit(7)\n"
        "    def stream(self, prompt, settings, on_text): os._exit(7)\n",
    )
    bench.write(
        "conftest.py",
        "import pytest\n@pytest.hookimpl\ndef pytest_llmci_register(registry):\n"
        "    registry.add('backend', 'crashing', 'crashing:Crashing')\n",
    )
    bench.write("test_it.py", f"def test_it(llm): {request}\n")
    result = bench.run("--llm-models=a=crashing:", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *WorkerCrashed: a ended by itself with exit status 7",
            f"E *when *{when}",
            "E *stderr *workers/a-1.log",
            "E *next *any further cell of the model gets a new process",
        ]
    )
    result.stdout.no_fnmatch_line("*contextlib*")
    (worker,), (block,) = bench.records("worker"), bench.records("rounds")
    assert (block["origin"], block["n"], block["worker"], block["error"]["kind"]) == (
        "call",
        0,
        worker["uid"],
        "crashed",
    )
    assert block["prompt"] == shown
    rows = (bench.latest / "results.csv").read_text()
    assert "crashed: a ended by itself with exit status 7" in rows
    assert _starts_and_deaths(bench) == ("1", "1")


# ----------------------------------------------------------------------------------------------------------- the end


def _models_of(bench: Bench) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, place = (entry / "cmdline").read_bytes(), (entry / "cwd").resolve()
            except OSError:
                continue
            if place == bench.path and b"llmci_worker" in command:
                found.append(int(entry.name))
    return found


WAITING = {
    "agenerate": "    import asyncio\n    asyncio.run(llm.agenerate('x'))\n",
    "stream": "    list(llm.stream('x'))\n",
    "behind another thread": (
        "    import threading\n    threading.Thread(target=llm.generate, args=['x'], daemon=True).start()\n"
        "    import time\n    time.sleep(0.5)\n    llm.generate('y')\n"
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("how", WAITING)
def test_one_ctrl_c_ends_a_wait_for_a_model_that_hangs(bench: Bench, how: str) -> None:
    bench.write("test_it.py", f"def test_it(llm):\n    open('begun', 'w').close()\n{WAITING[how]}")
    with open(bench.path / "output.txt", "wb") as output:
        session = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--llm-models=echo+hang=gil"],
            cwd=bench.path, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # one system call
        )  # fmt: skip
    try:
        assert comes_true(lambda: (bench.path / "begun").exists() and _models_of(bench))
        time.sleep(1.0)
        os.killpg(session.pid, signal.SIGINT)
        assert session.wait(PATIENCE_S) == 2
        assert comes_true(lambda: not _models_of(bench))
    finally:
        session.kill()
        session.wait()
    text = (bench.path / "output.txt").read_text()
    assert "KeyboardInterrupt" in text
    assert "INTERNALERROR" not in text


def test_a_thread_that_a_test_left_behind_does_not_hold_the_session_up(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import threading, time\ndef test_it(llm):\n    llm.info\n"
        "    def ask():\n        try: llm.generate('x')\n        except Exception as error: open('told', 'w').write(str(error))\n"
        "    threading.Thread(target=ask, daemon=True).start()\n    time.sleep(0.3)\n",
    )
    began = time.monotonic()
    bench.run("--llm-models=echo+hang=sleep")
    assert time.monotonic() - began < 150  # the limit of an inference is 300 s
    assert comes_true(lambda: (bench.path / "told").exists() and (bench.path / "told").read_text())
    assert (bench.path / "told").read_text().startswith("the session has ended: no model can be asked any more")
    (block,) = bench.records("rounds")
    assert block["error"]["kind"] == "interrupted"
    (worker,) = bench.records("worker")
    with pytest.raises(ProcessLookupError):
        os.kill(worker["pid"], 0)
