"""``openai:`` in whole sessions against the scripted server: numbers, failures, and where the key does not go."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import Bench
from stub_server import Asked, Script, StubServer, document, ending, hangs, pieces, say
from timing import on_real_time

pytest.importorskip("httptools")
KEY = "sk-topsecret-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


def records(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = (folder / "llmci-results" / "latest" / "log.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["type"] == kind]


def test_an_endpoint_is_measured_and_the_key_is_nowhere(
    bench: Bench, pytester: pytest.Pytester, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYKEY", KEY)
    models = (
        f"good=openai:{server.url}#reasoning+api=chat+key_env=MYKEY,bad=openai:{server.url}#unauthorized+key_env=MYKEY"
    )
    done = pytester.runpytest_subprocess(
        f"--llm-models={models}",
        "--llmci-suite=inference",
        "--llmci-rounds=2",
        "--llm-prompts=prompts.yaml",
        "--llmci-sink=html",
        "-v",
    )
    assert done.ret == 1
    text = done.stdout.str() + done.stderr.str()
    assert "the server refuses the key in MYKEY" in text and "[secret MYKEY]" in text
    assert server.log[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in text
    holders = [path for path in pytester.path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holders == []
    blocks = {str(row["model"]): row for row in records(pytester.path, "rounds")}
    values, reasons = blocks["good"]["values"], blocks["good"]["reasons"]
    assert isinstance(values, dict) and isinstance(reasons, dict)
    assert values["ttft"] == values["ttft_any"] == values["ttft_reasoning"]
    assert all(content > first for content, first in zip(values["ttft_content"], values["ttft"], strict=True))
    assert "peak_rss" not in values and "cpu_time" not in values
    assert "its client" in reasons["peak_rss"]
    assert str(blocks["good"]["prompt"]).find("[") == -1  # the unique line is no part of the prompt
    worker = next(row for row in records(pytester.path, "worker") if row["model"] == "good")
    info = worker["info"]
    assert isinstance(info, dict)
    assert info["prompt_prefix"] == "a unique line before each prompt"


def test_a_variable_that_is_not_set_is_a_usage_error(pytester: pytest.Pytester, bench: Bench) -> None:
    done = pytester.runpytest_subprocess(
        "--llm-models=openai:http://127.0.0.1:9/v1#m+key_env=NOT_SET_ANYWHERE", "--llmci-suite=inference"
    )
    assert done.ret == 4
    assert "the environment variable NOT_SET_ANYWHERE is not set" in done.stdout.str() + done.stderr.str()


def test_a_server_that_hangs_is_given_up_with_what_had_come(bench: Bench) -> None:
    def once(asked: Asked) -> Script:
        return hangs(asked) if asked.turn else say(asked)

    with StubServer(scripts={"once": once}) as server:
        result = bench.suite(
            f"m=openai:{server.url}#once", "--llmci-timeout=2s", "--llmci-rounds=1", "--llmci-warmup=0", "-k", "first"
        )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "WorkerTimeout: m did not finish an inference within 2 s and was killed",
            "*when *round 1 of 1, 3 tokens into the answer",
        ]
    )


def test_a_server_that_dies_is_no_slow_model(bench: Bench, pytester: pytest.Pytester, server: StubServer) -> None:
    done = pytester.runpytest_subprocess(
        f"--llm-models=m=openai:{server.url}#dies",
        "--llmci-suite=inference",
        "--llmci-rounds=2",
        "--llm-prompts=prompts.yaml",
    )
    assert done.ret == 1
    done.stdout.fnmatch_lines(["*the server closed the connection in the middle of its answer*"])
    assert all(not row["values"] for row in records(pytester.path, "rounds"))


@on_real_time
def test_two_endpoints_are_compared_by_the_wall_clock(bench: Bench, server: StubServer) -> None:
    """The client's CPU time says nothing of them."""
    slow, usual = f"m=openai:{server.url}#slow", f"openai:{server.url}#say"
    result = bench.suite(slow, f"--llmci-versus={usual}", "--llmci-max-rounds=5", "-k", "first", fresh=True)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.re_match_lines([r"RegressionDetected: latency .* slower than.*"])
    place = server.url.removesuffix("/v1")
    result.stdout.fnmatch_lines([f"*shared *both sides are on one server, {place}:*"])
    [cell] = bench.results()["cells"]
    assert {found["shared"] for found in cell["comparisons"]} == {f"one server, {place}"}
    assert {found["metric"] for found in cell["comparisons"]} >= {"latency"}
    assert not {found["metric"] for found in cell["comparisons"]} & {"cpu_time", "net_time", "peak_rss"}


class RateLimited:
    """A model behind a rate limit: when its quota is used up it refuses one request, and is slower until the quota is renewed.

    :param slower: by how much each quota leaves it slower; a new client, which asks for one token first, begins the next.
    """

    def __init__(self, *slower: float) -> None:
        self._slower = slower
        self.clients = 0
        self._asked = 0

    def __call__(self, asked: Asked) -> Script:
        if asked.body.get("max_tokens") == 1:
            self.clients, self._asked = self.clients + 1, 0
        self._asked += 1
        slower = self._slower[(self.clients - 1) % len(self._slower)]
        if slower > 1 and self._asked == 2:
            return document({"error": {"message": "Rate limit"}}, status=429, headers={"Retry-After": "0.01"})
        steps = pieces(asked, 2, first_ms=55 * slower)
        return Script(steps=[*steps, *ending(asked, 2)])


@on_real_time
@pytest.mark.parametrize(("unit", "verdict"), [("", "inconclusive"), ("+unit=round", "regressed")])
def test_a_server_that_limits_rates_gives_no_false_alarm(bench: Bench, unit: str, verdict: str) -> None:
    """Twice the same model; one of them meets its limit more often. Counted by rounds that is proof, by blocks it is not."""
    scripts = {"one": RateLimited(1.5, 1.1, 1.7, 1.2), "other": RateLimited(1.0)}
    with StubServer(models=("one", "other"), scripts=scripts) as server:
        models = f"m=openai:{server.url}#one+api=chat{unit}"
        against = f"--llmci-versus=openai:{server.url}#other+api=chat"
        result = bench.suite(models, against, "--llmci-max-rounds=20", "-k", "first", fresh=True)
    found = {each["metric"]: each for each in bench.results()["cells"][0]["comparisons"]}["latency"]
    assert found["verdict"] == verdict
    if unit:
        assert found["by_block"] == ""
        return
    assert scripts["one"].clients == found["pairs"] == 4
    assert found["by_block"] == "4 requests were put off by the server (429, 5xx or no connection)"
    result.stdout.fnmatch_lines(["a block of rounds, not a round, counts as one value: 4 requests were put off*"])


class PutOff:
    """Answers, and refuses the requests of these numbers; the one for one token that each client begins with is not counted."""

    def __init__(self, *refused: int) -> None:
        self._refused = refused
        self._asked = 0

    def __call__(self, asked: Asked) -> Script:
        if asked.body.get("max_tokens") != 1:
            self._asked += 1
            if self._asked in self._refused:
                return document({"error": {"message": "Rate limit"}}, status=429, headers={"Retry-After": "0.01"})
        return Script(steps=[*pieces(asked, 2, first_ms=55), *ending(asked, 2)])


@on_real_time
def test_both_sides_and_their_warm_ups_are_told_apart_where_requests_were_put_off(bench: Bench) -> None:
    scripts = {"one": PutOff(1, 4), "other": PutOff(1, 2, 5, 7)}
    with StubServer(models=("one", "other"), scripts=scripts) as server:
        result = bench.suite(
            f"m=openai:{server.url}#one+api=chat", f"--llmci-versus=openai:{server.url}#other+api=chat", "--llmci-max-rounds=5",
            "--llmci-block=5", "-k", "first", "--llmci-sink=html", fresh=True,
        )  # fmt: skip
    told = " ".join(result.stdout.str().split())
    expected = (
        "1 of 5 answer came at a further attempt, after 1 that failed (1 x HTTP 429), and 2 of 5 of the reference after 2"
        " (2 x HTTP 429), and 2 at warm-ups after 3 (3 x HTTP 429)."
    )
    assert f"Retries: {expected}" in told
    assert expected in (bench.latest / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("own", "options", "said"),
    [
        ("+unit=block", ["--llmci-max-rounds=20"], r"a block of rounds is one value, and there are 4 at most: it will see changes of \S+ % or more .*"),
        ("+unit=block", ["--llmci-max-rounds=15"], r"a block .*, and there are 3 at most: fewer than 4 decide nothing: --llmci-max-rounds=20"),
        ("", ["--llmci-max-rounds=20"], r"it will see changes of .*; looks for 5 %; where the server limits rates, of \S+ % or more .*"),
        ("", ["--llmci-max-rounds=5"], r"it will see .*; where the server limits rates, 1 block: fewer than 4 decide nothing: .*=20"),
        ("+unit=round", ["--llmci-max-rounds=20"], r"it will see changes of [^;]*; looks for 5 %"),
    ],
)  # fmt: skip
def test_what_will_be_seen_is_told_for_blocks_before_anything_runs(
    own: str, options: list[str], said: str, bench: Bench
) -> None:
    model = f"openai:http://127.0.0.1:9/v1#m{own}"
    result = bench.suite(f"m={model}", f"--llmci-versus={model}", "--llmci-plan", "--llmci-detect=5%", *options)
    (line,) = re.findall(r"llmci: ((?:a block|it will).*?) llmci:", " ".join(result.stdout.str().split()) + " llmci:")
    assert re.fullmatch(said, line.partition(" collected")[0].partition(" ===")[0]), line


@on_real_time
def test_a_client_may_say_that_blocks_count(bench: Bench, server: StubServer) -> None:
    """Three blocks of a server whose difference is plain to see: not yet enough."""
    models = f"m=openai:{server.url}#say-2-110-2+unit=block"
    against = f"--llmci-versus=openai:{server.url}#say-2-55-2+served_as=say-2-55-2"
    result = bench.suite(models, against, "--llmci-max-rounds=3", "--llmci-block=1", "-k", "first", fresh=True)
    found = {each["metric"]: each for each in bench.results()["cells"][0]["comparisons"]}["latency"]
    assert (found["verdict"], found["by_block"]) == ("inconclusive", "+unit=block says so")
    assert "3 blocks: fewer than 4 decide nothing" in found["reason"]
    result.stdout.fnmatch_lines(["*fewer than 4 decide nothing*"])


def test_runs_of_two_servers_name_what_differs_and_never_the_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYKEY", KEY)
    said: list[str] = []
    for version in ("0.9.1", "0.9.2"):
        with StubServer(extra={"/version": {"version": version}}) as server:
            more = ("--llmci-save-baseline",) if not said else ("--llmci-baseline",)
            done = bench.suite(f"m=openai:{server.url}#say+key_env=MYKEY", "--llmci-rounds=3", *more, fresh=True)
            said.append(done.stdout.str() + done.stderr.str())
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "compare", "latest~1", "latest"]
    compared = subprocess.run(command, cwd=bench.path, capture_output=True, text=True, check=False)
    assert "server_version: 0.9.1 -> 0.9.2" in compared.stdout
    subjects = [model["subject"] for path in bench.path.glob("llmci-baselines/main/*.json")
                for session in json.loads(path.read_text("utf-8"))["sessions"] for model in session["models"]]  # fmt: skip
    assert [(each["server"], each["server_version"]) for each in subjects] == [("this machine", "0.9.1")]
    assert KEY not in "".join([*said, compared.stdout, compared.stderr])
    assert [path for path in bench.path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_a_failing_client_in_this_process_leaves_no_connection(bench: Bench) -> None:
    """Warnings are errors, and a socket that nobody closed is one."""
    with StubServer(models=("broken",)) as server:
        result = bench.suite(
            f"m=openai:{server.url}#broken+retries=0", "--llmci-isolation=inline", "-W", "error::ResourceWarning", fresh=True
        )  # fmt: skip
        clients = {played.client for played in (*server.log, *server.listed)}
    assert result.ret == 1 and clients
    result.stdout.fnmatch_lines(["*worker is gone*"])
    assert "ResourceWarning" not in result.stdout.str() + result.stderr.str()
