"""What the terminal shows: right in 80 columns, without colour, silent under -qq."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from bench import Bench, unwrapped
from waiting import comes_true

from pytest_llmci.clock import SystemClock
from pytest_llmci.engine.exclusive import MachineLock


@contextmanager
def machine_taken(bench: Bench, *, told: bool = True) -> Iterator[None]:
    """Another session times something until one has told that it waits for it; or, where none is to tell, has waited for two seconds."""
    import fcntl

    lock = MachineLock(bench.path / "timing.lock", SystemClock())
    over = threading.Event()

    def is_told() -> bool:
        output = bench.path / "stdout"
        return over.is_set() or (output.exists() and b"waiting for timed work" in output.read_bytes())

    def is_waited_for() -> bool:
        with (bench.path / "timing.lock.next").open("r+b") as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(turn, fcntl.LOCK_UN)
        return over.is_set()

    def give_back_in_time() -> None:
        if told:
            comes_true(is_told)
        elif comes_true(is_waited_for):
            over.wait(2)
        held.close()

    with ExitStack() as held:
        held.enter_context(lock.held(lambda: None, lambda text: None))
        waiter = threading.Thread(target=give_back_in_time)
        waiter.start()
        try:
            yield
        finally:
            over.set()
            waiter.join()
            lock.close()


def test_header_progress_table_hints_and_place(bench: Bench) -> None:
    result = bench.suite("fast=echo+ttft=1ms,slow=echo+ttft=9ms")
    result.stdout.fnmatch_lines(
        [
            "llmci: 2 models x 2 prompts x 2 rounds, 50 tokens, 1 thread*",
            "collected 4 items",
            "inference::fast (loaded in *) ..*[[] 50%[]]",
            "inference::slow (loaded in *) ..*[[]100%[]]",
            "*= llmci: 2 models =*",
            "model *latency *slowest *1st token *tokens/s *peak RAM *load *valid",
            "fast *[*]* ms *2/2",
            "slow * ms *2/2",
            "latency: median of 4 rounds a model.*[*] best",
            "Nothing was gated: no budget and nothing to compare with. To make a build fail:",
            "  add  --llmci-max-latency=2s *",
            "Saved in llmci-results/latest (*",
        ]
    )
    start = next(number for number, line in enumerate(result.outlines) if "= llmci: 2 models =" in line)
    assert all(len(line) <= 80 for line in result.outlines[start:])


def test_the_header_predicts_from_the_last_run(bench: Bench) -> None:
    bench.write("llmci-results/latest/metrics.json", '{"echo": {"latency": 10.0, "load_time": 5.0}}')
    bench.suite("echo", "--collect-only").stdout.fnmatch_lines(["llmci: 1 model x 2 prompts x 2 rounds*; about 65 s"])


def test_a_gate_has_a_line_of_its_own(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-max-latency=other*:2s")
    result.stdout.re_match_lines([r"inference::echo \(loaded in .*\) \.\. +\[100%\]$", "llmci F$"], consecutive=True)
    result = bench.suite("echo+repeat=la ", "-x")
    result.stdout.re_match_lines([r"inference::echo \(loaded in .*\) F +\[ 50%\]$", "llmci s$"], consecutive=True)


@pytest.mark.parametrize("args", [("-rA",), ("-v",), ("-vv", "-n2")], ids=" ".join)
def test_ids_of_cells_and_gates_are_no_paths_in_a_subdirectory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    if "-n2" in args:
        pytest.importorskip("xdist")
    bench.write("pytest.ini", "[pytest]\n")
    bench.write("below/prompts.yaml", "- {id: first, prompt: Name a colour.}\n")
    bench.write("test_above.py", "def test_above(): pass\n")
    monkeypatch.chdir(bench.path / "below")
    result = bench.suite("echo", "--llmci-max-latency=other*:2s", "../test_above.py", *args)
    result.assert_outcomes(passed=2, failed=1)
    text = result.stdout.str()
    for expected in ("inference::echo-first", "llmci::gate[coverage]", "../test_above.py"):
        assert expected in text
    assert "../inference" not in text
    assert "../llmci" not in text


def test_nothing_under_double_quiet(bench: Bench) -> None:
    text = bench.suite("echo", "-qq").stdout.str()
    assert "llmci" not in text
    assert "Saved" not in text
    assert (bench.latest / "results.csv").exists()


def test_quiet_keeps_the_table_and_drops_the_hints(bench: Bench) -> None:
    text = bench.suite("echo", "-q").stdout.str()
    assert "latency" in text
    assert "Nothing was gated" not in text


def test_verbose_names_each_cell(bench: Bench) -> None:
    bench.suite("echo", "-v").stdout.fnmatch_lines(["inference::echo-first PASSED*", "inference::echo-second PASSED*"])


def test_no_hint_where_something_is_gated(bench: Bench) -> None:
    assert "Nothing was gated" not in bench.suite("echo", "--llmci-max-latency=10s").stdout.str()


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
@pytest.mark.parametrize("own", [True, False], ids=["own test", "suite"])
def test_the_wait_for_the_machine_is_told_within_the_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bench.write("test_it.py", "def test_cell(llm_result): pass")
    with machine_taken(bench):
        args = ("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=1", "-k", "first")
        result = bench.run(*args, *([] if own else ["--llmci-suite=inference"]), fresh=True)
    result.assert_outcomes(passed=1)
    line = next(line for line in result.outlines if "waiting for timed work" in line)
    assert line.startswith("test_it.py waiting" if own else "inference::echo waiting") and len(line) <= 80
    assert line.endswith("[100%]")


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
@pytest.mark.parametrize(
    ("args", "before", "words", "behind"),
    [
        (("-q",), "", "waiting for timed work ... . *[[]100%[]]", ""),
        (
            ("-v",),
            "inference::echo-first *",
            "llmci: waiting for timed work",
            "inference::echo-first PASSED *[[]100%[]]",
        ),
        (("-n1",), "1 worker *", "waiting for timed work ... . *[[]100%[]]", ""),
        (("-n2", "-v"), "", "llmci: waiting for timed work", "[[]gw?[]] [[]100%[]] PASSED inference::echo-first*"),
        (("-qq",), "", "", ""),
    ],
    ids=["-q", "-v", "-n1", "-n2 -v", "-qq"],
)
def test_the_wait_for_the_machine_is_told_once_whatever_the_tests_lines(
    bench: Bench, args: tuple[str, ...], before: str, words: str, behind: str
) -> None:
    if args[0].startswith("-n"):
        pytest.importorskip("xdist")
    with machine_taken(bench, told=bool(words)):
        result = bench.suite("echo", "--llmci-rounds=1", "-k", "first", *args, fresh=True)
    assert result.ret == 0
    result.stdout.fnmatch_lines([text for text in (before, words, behind) if text])
    assert str(result.stdout).count("waiting") == bool(words)


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
def test_parallel_workers_do_not_tell_that_they_wait_for_each_other(bench: Bench) -> None:
    pytest.importorskip("xdist")
    result = bench.suite("a=echo+ttft=1500ms,b=echo+ttft=1500ms", "--llmci-rounds=1", "-k", "first", "-n2", fresh=True)
    result.assert_outcomes(passed=2)
    assert "waiting" not in str(result.stdout)


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
def test_what_is_said_at_the_end_of_a_line_begins_a_new_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ", ".join(f"'{number}'" for number in range(60))
    bench.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.parametrize('n', [{names}])\ndef test_a(n): pass\n"
        "def test_b(llm): llm.generate('x')\n",
    )
    with machine_taken(bench):
        result = bench.run("--llm-models=echo", "test_it.py", fresh=True)
    result.assert_outcomes(passed=61)
    result.stdout.re_match_lines([r"test_it.py \.+ +\[ 98%\]$", r"waiting for timed work \.\.\. \. +\[100%\]$"])


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
def test_a_terminal_shows_the_wait_for_the_machine_and_then_the_load(bench: Bench) -> None:
    bench.write(
        "late.py",
        "import time\nfrom pathlib import Path\nwhile not Path('seen').exists(): time.sleep(0.01)\ndef answer(prompt): return 'x'",
    )
    lock = MachineLock(bench.path / "timing.lock", SystemClock())
    screen, end = os.openpty()
    with ExitStack() as held, open(screen, "rb", buffering=0) as terminal:
        held.enter_context(lock.held(lambda: None, lambda text: None))
        arguments = ("--llm-models=py:late:answer", "--llmci-suite=inference", "--llm-prompts=prompts.yaml")
        command = [sys.executable, "-m", "pytest", *arguments, "--llmci-rounds=1", "-k", "first", "--color=yes"]
        with subprocess.Popen(command, cwd=bench.path, stdin=subprocess.DEVNULL, stdout=end, stderr=end):
            os.close(end)
            with suppress(OSError):  # what Linux says at the end
                seen = b""
                while piece := terminal.read(4096):
                    seen += piece
                    if b"waiting " in seen:
                        held.close()
                    if b"loading " in seen:
                        (bench.path / "seen").touch()
    lock.close()
    told = re.findall(r"(waiting|loading) [a-z ]+, (\d+) s", seen.decode())
    kinds, seconds = [kind for kind, _ in told], [int(number) for _, number in told]
    assert kinds == sorted(kinds, reverse=True) and len(set(kinds)) == 2
    assert max(seconds) < 60


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_no_hint_where_a_marker_gates(bench: Bench, parallel: tuple[str, ...]) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(budgets=['peak_rss <= 9GiB'])\ndef test_it(llm_result): pass\n",
    )
    result = bench.run(
        "--llm-models=echo",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=1",
        "test_it.py",
        *parallel,
        fresh=bool(parallel),
    )
    result.assert_outcomes(passed=2)
    assert "Nothing was gated" not in result.stdout.str()


def test_long_names_are_cut_to_fit(bench: Bench) -> None:
    result = bench.suite("a-very-long-name-for-a-model-that-nobody-would-want-to-read-twice=echo")
    line = next(line for line in result.outlines if line.startswith("a-ver") and "/2" in line)
    assert len(line) <= 80


def test_estimate_after_the_first_round(bench: Bench) -> None:
    result = bench.suite("echo+ttft=700ms", "--llmci-rounds=5", "--llmci-warmup=0", "-k", "first")
    result.stdout.fnmatch_lines(["inference::echo (loaded in *) .*"])
    result = bench.run(
        "--llm-models=echo+ttft=300ms", "--llmci-suite=inference", "--llmci-rounds=2", "--llmci-warmup=0"
    )
    result.stdout.fnmatch_lines(["inference::echo (loaded in *, about * s) .*"])


@pytest.mark.parametrize("mode", ["-n0", "-q", "-v"])
def test_a_gate_has_a_line_of_its_own_and_counts_as_a_test(bench: Bench, mode: str) -> None:
    result = bench.suite("echo", "--llmci-max-latency=other*:1s", "-k", "first", mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = result.outlines
    begin = next(number for number, line in enumerate(lines) if line.startswith(("llmci F", "F", "llmci::gate")))
    assert lines[begin - 1].endswith("[100%]")
    shares = {int(share) for line in lines for share in re.findall(r"\[ *(\d+)%\]", line)}
    assert shares == {100}


def test_a_models_line_fits_whatever_its_name(bench: Bench) -> None:
    name = "a-very-long-name-for-a-model-that-nobody-would-want-to-read-twice-and-then-some"
    result = bench.run(
        f"--llm-models={name}=echo+ttft=300ms", "--llmci-suite=inference", "--llmci-rounds=2", "--llmci-warmup=0"
    )
    line = next(line for line in result.outlines if line.startswith("inference::a-very"))
    assert ".." in line and "(loaded in " in line
    assert all(len(line) <= 80 for line in result.outlines if line.startswith(("inference::", "....")))


def test_a_terminal_without_micro_keeps_its_columns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    bench.write("prompts.yaml", "- {id: first, prompt: 你好}\n")
    result = bench.suite("echo:你好", "--llmci-max-latency=1ns", fresh=True)
    result.stdout.fnmatch_lines(
        [
            "inference::echo (loaded in *) F*",
            "BudgetExceeded: latency * is over 1 ns *",
            "  latency    median of * rounds: *",
            r'  prompt     "\u4f60\u597d"',
        ]
    )
    table = [line for line in result.outlines if line.startswith(("model ", "echo "))]
    assert len({len(line) for line in table}) == 1
    assert " us" in result.stdout.str()
    assert "\\xb5" not in result.stdout.str() and "\\n" not in result.stdout.str()


@pytest.mark.parametrize(
    "name", ["--llm-models", "--llm-prompts", "--llmci-rounds", "--llmci-budget", "--llmci-plan", "llmci_models"]
)
def test_help_names_every_option(bench: Bench, name: str) -> None:
    assert name in bench.run("--help").stdout.str()


def test_the_header_tells_threads_of_the_models_and_what_is_pinned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cpu = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    result = bench.suite(f"a=echo:x+threads=2+cpus={cpu},b=echo:x", "--llmci-plan")
    threads = "50 tokens, 1 to 2 threads, 1 of 2 models pinned, OMP_WAIT_POLICY=ACTIVE"
    assert threads in unwrapped(result)
    assert max(len(line) for line in result.outlines if line.startswith("llmci: ")) <= 80
    monkeypatch.delenv("OMP_WAIT_POLICY")
    bench.suite("a=echo:x+threads=auto", "--llmci-plan").stdout.fnmatch_lines(["llmci: *, 50 tokens, auto threads"])


def test_the_header_names_gates_of_the_settings_that_do_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_budget = latency <= 1s\nllmci_check = json\nllmci_max_latency = 2s\n")
    monkeypatch.setenv("LLMCI_CHECK", "max_words:5")
    result = bench.suite("echo", "--llmci-plan", "--llmci-budget=ttft <= 1s", "--llmci-max-latency=2s")
    assert [line for line in result.outlines if "takes the place" in line] == [
        "llmci: --llmci-budget takes the place of pytest.ini: llmci_budget",
        "llmci: LLMCI_CHECK takes the place of pytest.ini: llmci_check",
    ]


def test_a_second_load_stands_apart_and_within_the_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bench.write("many.txt", "\n".join(f"prompt {number}" for number in range(10)))
    result = bench.run(
        "--llm-models=echo+crash=SIGKILL+at=3", "--llmci-suite=inference", "--llm-prompts=many.txt", "--llmci-rounds=2",
        "-p", "no:xdist",
    )  # fmt: skip
    result.assert_outcomes(passed=5, failed=5)
    result.stdout.re_match_lines([r"inference::echo \(loaded in [^)]*\) \.F \(loaded in [^)]*\) \.F.*"])
    progress = [line for line in result.outlines if line.startswith("inference::echo (")]
    assert progress and all(len(line) <= 80 for line in progress), progress


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "xdist"])
def test_failures_fit_a_narrow_terminal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, parallel: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    result = bench.suite(
        "echo+ttft=9ms",
        "--llmci-max-latency=echo:1ms",
        "--llmci-budget=nosuch*: latency.p95 <= 2s",
        *parallel,
    )
    lines = result.outlines[next(n for n, line in enumerate(result.outlines) if "= FAILURES =" in line) :]
    assert any("BudgetExceeded: latency" in line for line in lines)
    assert any("no cell matches the budget nosuch*" in line for line in lines)
    assert [line for line in lines if len(line) > 60 and not line.startswith("[gw")] == []
