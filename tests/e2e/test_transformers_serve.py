"""``openai:`` against a real server: ``transformers serve`` on a small model that is made here, offline."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from bench import Bench
from waiting import comes_true

from pytest_llmci.clock import SystemClock
from pytest_llmci.serving.base import Address, Launch
from pytest_llmci.serving.process import ServerProcess, free_port
from pytest_llmci.serving.request import NotYet, ask
from pytest_llmci.serving.transformers_serve import TransformersServer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
_LACKING = [name for name in ("httptools", "fastapi", "uvicorn", "openai", "psutil") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the server is ended with its group"),
    pytest.mark.skipif(bool(_LACKING), reason=f"transformers serve needs {', '.join(_LACKING)}"),
]
NAME = "small"
READY_S = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base of the API of a server that has answered; it ends with this process, however that ends."""
    from pytest_llmci.backends.tiny import Sizes, build_model, build_tokenizer

    home = tmp_path_factory.mktemp("served")
    tokenizer = build_tokenizer(transformers)
    model = build_model(torch, transformers, tokenizer, Sizes(layers=2, hidden=32, seed=0))
    for part in (model, tokenizer):
        part.save_pretrained(home / NAME)
    clock, port = SystemClock(), free_port("127.0.0.1", 0, "test")
    launch = Launch(
        name=NAME, home=home, folder=home / NAME, host="127.0.0.1", port=port, dtype="float32", attention="eager", device="cpu",
        remote_code=False, arguments=(),
    )  # fmt: skip
    process = ServerProcess(TransformersServer().command(launch), {}, home=home, log=home / "server.log", clock=clock)
    try:
        until = clock.now_ns() + READY_S * 10**9
        process.wait_until_listening(port, until)
        while True:
            with contextlib.suppress(NotYet):
                ask(Address(host="127.0.0.1", port=port), NAME, clock, 60.0)
                break
            process.check_alive()
            process.check_time(until, "does not answer")
            clock.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stop()
    assert comes_true(lambda: not _is_alive(process.pid))


def _is_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def records(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = (folder / "llmci-results" / "latest" / "log.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["type"] == kind]


def test_its_answers_are_timed_piece_by_piece_and_counted(bench: Bench, server: str) -> None:
    result = bench.suite(
        f"m=openai:{server}#{NAME}+api=chat", "--llmci-rounds=3", "--llmci-max-new-tokens=48", "-k", "first", fresh=True
    )
    result.assert_outcomes(passed=1, deselected=1)
    (block,) = bench.records("rounds")
    values = block["values"]
    assert values["output_tokens"] == [48, 48, 48] and block["token_source"] == "server"
    assert all(0 < first <= whole for first, whole in zip(values["ttft"], values["latency"], strict=True))
    assert all(sum(gaps) <= whole for gaps, whole in zip(block["token_ns"], values["latency"], strict=True))
    assert min(map(len, block["token_ns"])) > 1
    assert values["retries"] == [0, 0, 0]
    assert "peak_rss" not in values
    (start,) = bench.records("worker")
    assert start["info"]["served_model"] and start["info"]["server"] == server.removesuffix("/v1")


def test_it_is_asked_under_load(bench: Bench, server: str) -> None:
    result = bench.suite(
        f"m=openai:{server}#{NAME}+api=chat", "--llmci-suite=load", "--llmci-load=concurrency=2 requests=6",
        "--llmci-max-new-tokens=8", "--llmci-rounds=1", fresh=True,
    )  # fmt: skip
    assert result.ret == 0
    (record,) = bench.records("load")
    assert record["run"]["failures"] == [""] * 6
    assert record["run"]["tokens"] == [8] * 6


def test_two_sides_on_it_are_compared_and_say_where_they_are(bench: Bench, server: str) -> None:
    model = f"openai:{server}#{NAME}+api=chat"
    bench.suite(
        f"m={model}",
        f"--llmci-versus={model}",
        "--llmci-max-new-tokens=8",
        "--llmci-max-rounds=5",
        "-k",
        "first",
        fresh=True,
    )
    found = {each["metric"]: each for each in bench.results()["cells"][0]["comparisons"]}
    assert found["output_tokens"]["verdict"] == "pass"
    assert found["latency"]["verdict"] in ("pass", "inconclusive")
    assert found["latency"]["shared"] == f"one server, {server.removesuffix('/v1')}"


def test_prompts_have_the_lengths_that_it_counts(bench: Bench, server: str) -> None:
    """The byte-level tokenizer gives the unique line before a prompt the same length each time."""
    bench.write("long.yaml", "generate: [{id: long, tokens: [60, 90], template: 'Go on: {{filler}}'}]\n")
    bench.run(
        f"--llm-models=m=openai:{server}#{NAME}+api=chat", "--llmci-suite=inference", "--llm-prompts=long.yaml", "--llmci-rounds=1",
        "--llmci-max-new-tokens=4", fresh=True,
    ).assert_outcomes(passed=2)  # fmt: skip
    assert sorted(block["values"]["prompt_tokens"][0] for block in bench.records("rounds")) == [60, 90]


def test_what_it_lacks_is_said_in_one_line(bench: Bench, server: str) -> None:
    bench.write("test_it.py", "def test_it(llm):\n    llm.score('a ', 'b')\n")
    result = bench.run(f"--llm-models=m=openai:{server}#{NAME}", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*this server cannot score: *vLLM can*"])
