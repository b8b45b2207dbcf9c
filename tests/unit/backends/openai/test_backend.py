"""The backend in this process, driven by the timing loop, against the scripted server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from stub_server import Asked, Script, StubServer, document, say
from timing import on_real_time

from pytest_llmci.backends.base import LoadContext, LoadedModel
from pytest_llmci.backends.openai.backend import REMOTE, OpenAIBackend, is_same_name
from pytest_llmci.errors import GenerationError, ModelLoadError
from pytest_llmci.measure import register as register_instruments
from pytest_llmci.measure.profile import Probe
from pytest_llmci.records import Completion, GenerationSettings, Message, Prompt, RoundRecord, RunRequest, ScoreRequest
from pytest_llmci.registry import Registry
from pytest_llmci.runner.loop import MeasuringLoop, NoProgress
from pytest_llmci.specs import parse_spec

pytest.importorskip("httptools")
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Say hello."),))
TEXT = Prompt(id="t", text="Say hello.")
SETTINGS = GenerationSettings(max_new_tokens=16)


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


_MADE: list[OpenAIBackend] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _MADE:
        _MADE.pop().close()


def backend(server: StubServer, model: str, keys: str = "") -> tuple[OpenAIBackend, LoadedModel]:
    made = OpenAIBackend(parse_spec(f"openai:{server.url}#{model}{keys}", ["openai"], "x"))
    _MADE.append(made)
    made.prepare()
    return made, made.load(LoadContext(threads=1, cache_dir="", say=lambda text: None))


def measured(made: OpenAIBackend, prompt: Prompt = PROMPT, waits: list[float] | None = None) -> RoundRecord:
    registry = Registry()
    register_instruments(registry)
    loop = MeasuringLoop(
        made, Probe(registry), threads=1, progress=NoProgress(), isolated=False,
        unmeasurable=OpenAIBackend.unmeasurable(parse_spec("openai:http://h", ["openai"], "x")),
        sleep=(waits if waits is not None else []).append,
    )  # fmt: skip
    return loop.measure(prompt, SETTINGS)


def test_reasoning_and_answer_have_their_own_first_tokens(server: StubServer) -> None:
    made, _ = backend(server, "reasoning", "+api=chat")
    record = measured(made)
    values = record.values
    assert values["ttft"] == values["ttft_any"] == values["ttft_reasoning"] == record.token_ns[0]
    assert values["ttft_content"] == sum(record.token_ns[:9])
    assert sum(record.token_ns) == values["latency"]
    assert (values["output_tokens"], values["reasoning_tokens"], values["tokens_per_piece"], values["retries"]) == (
        16,
        8,
        1,
        0,
    )
    assert (record.completion.token_source, record.completion.templated) == ("server", True)
    made.close()


def test_numbers_of_the_client_are_not_the_models(server: StubServer) -> None:
    made, loaded = backend(server, "say-2-1-1")
    record = measured(made)
    assert not set(REMOTE) & set(record.values)
    for name in ("peak_rss", "cpu_time", "net_time", "energy"):
        assert "this process is its client" in record.reasons[name]
    assert loaded.footprint_bytes is None
    assert (loaded.info["server"], loaded.info["model_name"], loaded.info["system_fingerprint"]) == (
        server.url.removesuffix("/v1"), "say-2-1-1", "fp_stub",
    )  # fmt: skip


@pytest.mark.parametrize("model", ["whole", "at_once", "held_back"])
def test_an_answer_that_came_at_once_has_no_first_token(server: StubServer, model: str) -> None:
    record = measured(backend(server, model, "+api=chat")[0])
    assert record.values["latency"] > 0
    assert record.values["output_tokens"] == 16
    for name in ("ttft", "ttft_any", "ttft_content", "itl", "tpot", "prefill_tokens_per_s"):
        assert name not in record.values
        assert "its whole answer at once" in record.reasons[name]


def test_grouped_tokens_say_so(server: StubServer) -> None:
    assert measured(backend(server, "grouped")[0], TEXT).values["tokens_per_piece"] == 4


def test_counts_that_cannot_be_are_missing_and_times_are_kept(server: StubServer) -> None:
    record = measured(backend(server, "wrong_usage")[0], TEXT)
    assert record.values["ttft"] > 0
    for name in ("output_tokens", "tokens_per_s", "tpot", "prompt_tokens"):
        assert name not in record.values
        assert "the server's usage cannot be right" in record.reasons[name]


def test_a_prefix_keeps_the_cache_out_unless_it_is_to_be_kept(server: StubServer) -> None:
    kept, loaded = backend(server, "cached", "+prompt_cache=keep")
    assert measured(kept, TEXT).values["cached_tokens"] == 5
    assert str(loaded.info["prompt_prefix"]).startswith("none")
    made, loaded = backend(server, "cached")
    record = measured(made, TEXT)
    assert record.values["cached_tokens"] == 0
    assert loaded.info["prompt_prefix"] == "a unique line before each prompt"
    sent = server.log[-1].body["prompt"]
    assert sent != TEXT.text and sent.endswith("]\nSay hello.")


def test_failed_attempts_at_a_warm_up_come_with_the_first_round() -> None:
    registry, found = Registry(), list[RoundRecord]()
    register_instruments(registry)
    with StubServer(scripts={}) as own:
        made, _ = backend(own, "say-4-1-1")
        own._turns["busy"] = 0
        made._builder.model = "busy"  # type: ignore[union-attr]  # as above
        loop = MeasuringLoop(
            made, Probe(registry), threads=1, progress=NoProgress(), isolated=False, sleep=lambda _: None
        )
        loop.run(RunRequest(cell="c", prompt=TEXT, generation=SETTINGS, rounds=2, warmup=1), found.append)
    first, second = found
    assert [each.partition(" failed: ")[0] for each in first.warmup_failed] == ["attempt 1", "attempt 2"]
    assert all("HTTP 429" in each for each in first.warmup_failed)
    assert (first.values["retries"], second.values["retries"], second.warmup_failed) == (0, 0, ())


@on_real_time
def test_failed_attempts_are_told_and_in_no_latency() -> None:
    with StubServer(scripts={}) as own:
        made, _ = backend(own, "say-16-20-5")
        own._turns["busy"] = 0
        made._builder.model = "busy"  # type: ignore[union-attr]  # it is ready; only now the server becomes busy
        waits: list[float] = []
        record = measured(made, TEXT, waits)
    assert (record.values["retries"], waits) == (2, [0.05, 0.05])
    assert record.noisy.count("HTTP 429") == 2
    last = own.log[-1]
    assert record.values["latency"] / 1e6 < (last.chunks[-1].at_ns - last.received_ns) / 1e6 + 50


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("busy-16-99", "server_busy"),
        ("broken", "server_error"),
        ("busy_long", "server_busy"),
        ("dies", "server_died"),
        ("half_json", "server_stream"),
    ],
)
def test_what_does_not_pass_is_a_failure_of_the_server(server: StubServer, model: str, kind: str) -> None:
    made, _ = backend(server, "say-2-1-1")
    made._builder.model = model  # type: ignore[union-attr]  # as above
    waits: list[float] = []
    with pytest.raises(GenerationError) as caught:
        measured(made, TEXT, waits)
    assert caught.value.kind == kind
    assert len(waits) == (2 if model in ("busy-16-99", "broken") else 0)


@pytest.mark.parametrize(
    ("model", "keys", "kind", "says"),
    [
        ("unheard_of", "", "endpoint_model", "the server has no such model"),
        ("html", "", "server_protocol", "not as an OpenAI-compatible API"),
        ("redirect", "", "endpoint_redirect", "the key neither"),
        ("other_model", "", "server_model", "+served_as=somebody-else"),
        ("broken", "+retries=0", "server_error", "worker is gone"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused_when_it_loads(
    server: StubServer, model: str, keys: str, kind: str, says: str
) -> None:
    with pytest.raises(ModelLoadError) as caught:
        backend(server, model, keys)
    assert caught.value.kind == kind
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"X-RateLimit-Limit-Requests": "500"}, "x-ratelimit-limit-requests: 500"),
        ({"RateLimit-Policy": '"burst";q=100'}, 'ratelimit-policy: "burst";q=100'),
        ({"X-Request-Id": "4711"}, ""),
    ],
)
def test_a_server_that_tells_its_limit_is_known_to_have_one(headers: dict[str, str], told: str) -> None:
    def limited(asked: Asked) -> Script:
        return replace(say(asked), headers=headers)

    with StubServer(scripts={"limited": limited}) as own:
        made, loaded = backend(own, "limited")
        assert loaded.info["limits_rate"] == told
        made.close()


def test_a_server_that_puts_off_the_first_request_limits_rates() -> None:
    with StubServer() as own:
        made, loaded = backend(own, "busy")
        assert loaded.info["limits_rate"] == "HTTP 429 before the first answer"
        made.close()


def test_the_only_model_of_a_server_needs_no_name() -> None:
    for models, says in (
        (("say",), ""),
        (("say", "slow"), "2 models; name one: openai:http://127.0.0.1:"),
        (None, "list of models cannot be read (HTTP 500"),
    ):
        with StubServer(models=models) as own:
            spec: Any = parse_spec(f"openai:{own.url}", ["openai"], "x")
            made = OpenAIBackend(spec)
            if not says:
                assert made.load(LoadContext(threads=1, cache_dir="", say=print)).info["model_name"] == "say"
            else:
                with pytest.raises(ModelLoadError) as caught:
                    made.load(LoadContext(threads=1, cache_dir="", say=print))
                assert says in str(caught.value)
            made.close()


@contextmanager
def listing(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """The address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "says"),
    [
        (200, b"<html>", {}, "server_protocol", "cannot be read (HTTP 200, but no list: http://"),
        (200, b'{"data": []}', {}, "endpoint_model", "the server lists no model; load one there, or name it: m=openai:{url}#NAME"),
        (200, b'{"object": "list", "data": null}', {}, "endpoint_model", "the server lists no model"),
        (500, b"boom", {}, "server_protocol", "cannot be read (HTTP 500: http://"),
        (404, b"", {}, "server_protocol", "/v1/models); name the model: m=openai:{url}#NAME+key_env=LISTING_KEY"),
        (401, b"", {}, "endpoint_key", "HTTP 401"),
        (302, b"", {"Location": "http://other.example/v1"}, "endpoint_redirect", "to http://other.example; nothing was sent there, the key neither"),
    ],
)  # fmt: skip
def test_a_list_of_models_that_does_not_come(
    status: int, body: bytes, headers: dict[str, str], kind: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTING_KEY", "sk-secret-0123456789")
    with listing(status, body, **headers) as url:
        made = OpenAIBackend(parse_spec(f"m=openai:{url}+key_env=LISTING_KEY", ["openai"], "x"))
        _MADE.append(made)
        with pytest.raises(ModelLoadError) as caught:
            made.load(LoadContext(threads=1, cache_dir="", say=print))
    told = str(caught.value)
    assert caught.value.kind == kind and says.format(url=url) in told and "\n" not in told and "sk-secret" not in told


def test_an_address_that_lacks_the_base_of_the_api(server: StubServer) -> None:
    with listing(404, b"") as url:
        made = OpenAIBackend(parse_spec(f"m=openai:{url.removesuffix('/v1')}", ["openai"], "x"))
        _MADE.append(made)
        with pytest.raises(ModelLoadError, match=rf"or give the API's base, which is often {url}\.$"):
            made.load(LoadContext(threads=1, cache_dir="", say=print))


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = OpenAIBackend(parse_spec("m=openai:http://llm.example/v1+retries=0", ["openai"], "x"))
    _MADE.append(made)
    with pytest.raises(
        ModelLoadError, match=r"nothing answers at http://llm.example:80 \(through the proxy of HTTP_PROXY\)"
    ):
        made.load(LoadContext(threads=1, cache_dir="", say=print))


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("http://127.0.0.1:9/v1", "endpoint_unreachable", "nothing answers at http://127.0.0.1:9: "),
        ("{server}", "endpoint_tls", "is its address http://?"),
    ],
)
def test_a_server_that_cannot_be_asked_for_its_models(url: str, kind: str, says: str, server: StubServer) -> None:
    address = url.format(server=server.url.replace("http:", "https:"))
    made = OpenAIBackend(parse_spec(f"openai:{address}", ["openai"], "x"))
    _MADE.append(made)
    with pytest.raises(ModelLoadError) as caught:
        made.load(LoadContext(threads=1, cache_dir="", say=print))
    assert caught.value.kind == kind and says in str(caught.value) and "list of models" not in str(caught.value)


def test_scores_are_those_of_the_continuation(server: StubServer) -> None:
    made, _ = backend(server, "scores")
    assert made.score("a b ", "c d") == [-1 / 3, -1 / 4]
    with pytest.raises(GenerationError, match="across the border"):
        made.score("a b", " c d")
    with pytest.raises(GenerationError, match="give a context"):
        made.score("", "c d")


def test_a_server_that_takes_the_other_name_of_the_most_tokens() -> None:
    def newer(asked: Asked) -> Script:
        if "max_tokens" in asked.body:
            words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return document({"error": {"message": words}}, status=400)
        return say(asked)

    with StubServer(models=("newer",), scripts={"newer": newer}) as own:
        made, _ = backend(own, "newer", "+api=chat")
        assert measured(made).completion.text
        sent = own.log[-1].body
        made.close()
    assert sent["max_completion_tokens"] == SETTINGS.max_new_tokens and "max_tokens" not in sent


def shifted(asked: Asked) -> Script:
    """As vLLM answers for a model whose tokenizer begins each text with a token of its own: offsets count that token's letters."""
    text = str(asked.body.get("prompt", ""))
    words = re.findall(r" ?[^ ]+| $", text)
    tokens = ["<|begin|>", *words, "!"]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    values = [None, *(-1.0 * place for place in range(1, len(tokens)))]
    logprobs = {"tokens": tokens, "token_logprobs": values, "text_offset": offsets, "top_logprobs": None}
    choice = {"index": 0, "text": text + "!", "finish_reason": "length", "logprobs": logprobs}
    return document({"model": asked.model, "choices": [choice]}) if asked.body.get("echo") else say(asked)


def test_scores_are_not_those_of_a_shifted_border() -> None:
    """The offset at which the context ends is told of another token, four words before."""
    with StubServer(models=("shifted",), scripts={"shifted": shifted}) as own:
        made, _ = backend(own, "shifted")
        assert made.score("aa bb cc dd", " ee ff") == [-5.0, -6.0]
        assert made.score("", "aa bb") == [-1.0, -2.0]
        made.close()


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "-1" + "0" * 400, "null"])
def test_what_is_no_number_is_no_score(value: str) -> None:
    def odd(asked: Asked) -> Script:
        script = shifted(asked)
        if not asked.body.get("echo"):
            return script
        changed = script.steps[0].data.replace(b"-2.0", value.encode())
        return replace(script, steps=[replace(script.steps[0], data=changed)])

    with StubServer(models=("odd",), scripts={"odd": odd}) as own:
        made, _ = backend(own, "odd")
        with pytest.raises(GenerationError, match="no log-probability that is a number") as caught:
            made.score("aa", " bb cc")
        assert caught.value.kind == "unsupported"
        assert made.score("aa bb", " cc") == [-3.0]  # of the context none is needed
        made.close()


def test_tokens_that_do_not_make_up_the_text_are_no_scores() -> None:
    def foreign(asked: Asked) -> Script:
        script = shifted(asked)
        if not asked.body.get("echo"):
            return script
        changed = script.steps[0].data.replace(b'"aa"', b'"token_id:7"')
        return replace(script, steps=[replace(script.steps[0], data=changed)])

    with StubServer(models=("foreign",), scripts={"foreign": foreign}) as own:
        made, _ = backend(own, "foreign")
        with pytest.raises(GenerationError, match="do not make up the text that it was sent") as caught:
            made.score("aa bb", " cc")
        assert caught.value.kind == "unsupported"
        made.close()


def test_a_server_without_log_probabilities_says_so(server: StubServer) -> None:
    made, _ = backend(server, "whole")
    with pytest.raises(GenerationError, match="this server cannot score") as caught:
        made.score("a ", "b")
    assert caught.value.kind == "unsupported"


def test_streaming_shows_the_answer_as_it_comes(server: StubServer) -> None:
    made, _ = backend(server, "say-3-1-1")
    shown: list[str] = []
    assert made.stream(TEXT, SETTINGS, shown.append).text == "".join(shown)
    assert len(shown) == 3


def test_names_that_are_the_same() -> None:
    assert is_same_name("/models/smollm2", "/models/smollm2@main")
    assert is_same_name("llama3", "llama3:latest") and is_same_name("m:free", "m") and is_same_name("x-latest", "x")
    assert is_same_name("gpt-4o", "gpt-4o-2024-08-06") and is_same_name("gpt-4", "GPT-4-0613")


@pytest.mark.parametrize(
    "other", ["gpt-4-turbo", "gpt-4-mini", "gpt-4-awq", "gpt-4:70b", "gpt-4-32k", "gpt-3.5", "gpt-41"]
)
def test_a_name_with_another_word_behind_it_is_another_model(other: str) -> None:
    assert not is_same_name("gpt-4", other) and not is_same_name(other, "gpt-4")


def many(made: OpenAIBackend, requests: list[ScoreRequest], batch: int = 2) -> tuple[list[Any], list[list[int]]]:
    found: dict[int, Any] = {}
    begun: list[list[int]] = []
    made.score_many(requests, batch, on_batch=lambda numbers: begun.append(list(numbers)), on_scores=found.__setitem__)
    return [found[number] for number in range(len(requests))], begun


QUESTIONS = [
    ScoreRequest(context="a b ", continuations=("c", "c d"), id="first"),
    ScoreRequest(context="a ", continuations=("b",)),
    ScoreRequest(context="a b c ", continuations=("d e",)),
]


@pytest.mark.parametrize(("model", "requests"), [("scores", 2), ("scores_alone", 1 + 3 + 1)])
def test_questions_are_scored_many_at_once_where_the_server_takes_several(model: str, requests: int) -> None:
    with StubServer() as own:
        made, _ = backend(own, model)
        before = len(own.log)
        found, begun = many(made, QUESTIONS)
        assert len(own.log) - before == requests
        made.close()
    assert begun == [[0, 1], [2]]
    assert [[(round(each.logprob, 6), each.tokens, each.is_greedy) for each in scores] for scores in found] == [
        [(round(-1 / 3, 6), 1, False), (round(-1 / 3 - 1 / 4, 6), 2, False)],
        [(-0.5, 1, True)],
        [(round(-1 / 4 - 1 / 5, 6), 2, False)],
    ]


def test_what_cannot_be_scored_names_the_question(server: StubServer) -> None:
    made, _ = backend(server, "scores")
    with pytest.raises(GenerationError, match=r"across the border .* \(question odd\)"):
        many(made, [QUESTIONS[0], ScoreRequest(context="a b", continuations=(" c",), id="odd")])
    with pytest.raises(GenerationError, match="whole documents cannot be scored behind a server"):
        many(made, [ScoreRequest(context="", continuations=("a b",), rolling=True)])
    made, _ = backend(server, "say")
    with pytest.raises(GenerationError, match="this server cannot score: it does not echo") as caught:
        many(made, QUESTIONS)
    assert caught.value.kind == "unsupported"


def test_a_stop_string_ends_an_answer_at_the_server_and_here() -> None:
    found: dict[int, Completion] = {}
    with StubServer() as own:
        made, _ = backend(own, "counts")
        for stops in (["gamma"], ["zeta", "gamma", "x", "y", "z"], []):
            made.generate_many([TEXT], SETTINGS, stops, 4, on_batch=print, on_completion=found.__setitem__)
            assert own.log[-1].body.get("stop", []) == (stops if len(stops) < 5 else [])
            assert (found[0].text == "alpha beta ") == bool(stops)
            assert found[0].output_tokens == (2 if len(stops) == 1 else 16)  # those that were made
        made.close()


def test_tokens_of_a_prompt_are_those_that_the_server_counts(server: StubServer) -> None:
    made, _ = backend(server, "counts")
    kept, _ = backend(server, "counts", "+prompt_cache=keep")
    asked = Prompt(id="p", text="one two three")
    assert kept.count_tokens(asked) == (3, False)
    assert made.count_tokens(asked) == (6, False)  # the unique line is three words
    silent, _ = backend(server, "no_usage-1")
    with pytest.raises(
        GenerationError, match="does not say how many tokens a prompt has .the server sent no usage"
    ) as caught:
        silent.count_tokens(asked)
    assert caught.value.kind == "unsupported"


def test_what_is_not_measured_is_asked_again_where_the_server_puts_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with StubServer() as own:
        made, _ = backend(own, "say")
        made._builder.model = "busy"  # type: ignore[union-attr]  # as above
        assert made.count_tokens(TEXT) == (7, False)
        made._builder.model = "busy_long"  # type: ignore[union-attr]
        with pytest.raises(GenerationError, match="Quota reached"):
            made.count_tokens(TEXT)
        made.close()
    assert waits == [0.05, 0.05]
