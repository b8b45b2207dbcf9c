"""A model behind an OpenAI-compatible server: ``openai:http://127.0.0.1:8000/v1#name+key_env=KEY``.

The model's process is a client: its memory and CPU time are not the model's and are missing, with that reason. A unique line
stands before each prompt, so that no prefix cache is what is measured (``+prompt_cache=keep`` leaves it away). A request that
failed before its first token is repeated (``+retries=``), counted as ``retries``, and in no latency.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, NoReturn
from urllib.parse import urlsplit

from ...errors import GenerationError, ModelLoadError, TryAgain
from ...records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    Json,
    Message,
    ModelSpec,
    Prompt,
    ScoreRequest,
)
from ..base import LoadContext, LoadedModel, Note, OnBatch, OnCompletion, OnScores, Stamp, check_options
from ..packages import require_installed
from ..stopping import stopped
from .alignment import places_of
from .answer import Answer, Choice, TokenLogprob
from .client import PACKAGES, Client, Reply
from .endpoint import LONGEST_WAIT_S, OPTIONS, Endpoint, read_endpoint
from .failures import Failure, quote
from .line import EXTRA
from .request import RequestBuilder
from .stream import OnPiece

_ELSEWHERE: Final = "the model runs on a server: this process is its client, whose numbers are not the model's"
REMOTE: Final = (
    "peak_rss", "rss_before", "peak_rss_delta", "rss_growth", "children_peak_rss", "cpu_time", "cpu_cores_used", "cpu_percent", "net_time",
    "gpu_peak_allocated", "gpu_peak_reserved", "gpu_utilisation", "energy", "tokens_per_joule", "kv_cache_per_token",
    "import_time", "load_time", "first_inference_time", "cold_start_time", "start_time", "load_peak_rss", "model_footprint",
)  # fmt: skip
"""Metrics of the model's own process and machine."""
FIRST_WAIT_S: Final = 0.5
"""Before a second attempt, where the server does not say; doubled before each further one."""
TAKES_IGNORE_EOS: Final = ("vllm", "sglang", "llamacpp", "llama.cpp")
OTHER_LENGTH_NAME: Final = "max_completion_tokens"
MOST_STOPS: Final = 4
"""Stop strings that a server takes; OpenAI's refuses more."""
_PROBE: Final = GenerationSettings(max_new_tokens=1)


class OpenAIBackend:
    """One model on one server."""

    OPTIONS: ClassVar[Mapping[str, str]] = OPTIONS
    is_remote: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None
        self._builder: RequestBuilder | None = None
        self._failed = 0
        self._takes_several = True
        """Several prompts in one request, as far as is known."""

    @property
    def request_builder(self) -> RequestBuilder | None:
        """What makes its requests, once the server is known: for load, which sends many at once."""
        return self._builder

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        """Metric -> reason, for what cannot be seen from a client."""
        return dict.fromkeys(REMOTE, _ELSEWHERE)

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: Sequence[str] = ()) -> None:
        """Refuse a spec that cannot be right, a variable that is not set, a package that is missing.

        :raises ModelLoadError: of kind ``option``.
        :raises MissingExtraError: if a package of the extra is not installed.
        """
        check_options(spec, OPTIONS)
        read_endpoint(spec, os.environ)
        require_installed(PACKAGES, "backend 'openai'", EXTRA)

    def prepare(self) -> None:
        """Import what it needs and make the client."""
        check_options(self._spec, OPTIONS)
        self._endpoint = read_endpoint(self._spec, os.environ)
        self._client = Client(self._endpoint)

    def load(self, context: LoadContext) -> LoadedModel:
        """Find out which server it is, and have the model give one token.

        :raises ModelLoadError: if it does not; whose fault that is stands in its kind.
        """
        if self._client is None or self._endpoint is None:
            self.prepare()
        client, endpoint = self._ready_client()
        listed = client.look_up("/models")
        names, owners = listed_models(listed)
        model = endpoint.model or self._only(client, names, listed)
        version = client.look_up("//version")
        software = software_of(owners)
        builder = RequestBuilder(
            endpoint=endpoint, model=model, takes_ignore_eos=software in TAKES_IGNORE_EOS
        )  # fmt: skip
        self._builder = builder
        info: dict[str, Json] = {
            "source": "endpoint", "server": endpoint.server, "server_software": software or (quote(listed.server) if listed else ""),
            "server_version": version_of(version), "model_name": model, "models_listed": list[Json](names[:50]),
            "api": endpoint.api, "prompt_prefix": _PREFIX_WORDS[endpoint.prompt_cache], "ignore_eos": builder.keeps_length,
            "retries": endpoint.retries, "via_proxy": bool(endpoint.proxy_name()),
        }  # fmt: skip
        answer, put_off = self._first_answer(client, builder)
        info |= {"served_model": answer.model, "system_fingerprint": answer.system_fingerprint}
        info["limits_rate"] = answer.rate_limit or put_off
        info["server_software"] = info["server_software"] or answer.server
        return LoadedModel(info=info, footprint_bytes=None, footprint_reason=_ELSEWHERE)

    def _only(self, client: Client, names: Sequence[str], listed: Reply | None) -> str:
        if len(names) == 1:
            return names[0]
        named = self._spec.text.replace(self._spec.target, f"{self._spec.target}#NAME", 1)
        if len(names) > 1:
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise self._load_error(f"the server has {len(names)} models; name one: {named} ({shown})", "endpoint_model")
        if listed is not None and listed.status == 200 and lists_nothing(listed.document):
            raise self._load_error(f"the server lists no model; load one there, or name it: {named}", "endpoint_model")
        failure = client.why_no_document("/models")
        if failure is not None and failure.kind.startswith("endpoint_"):  # naming a model would not help
            raise self._load_error(failure.message, failure.kind)
        status = "" if listed is None else f"HTTP {listed.status}{', but no list' if listed.status < 300 else ''}"
        how = status or (failure.message if failure is not None else "nothing came")
        if listed is not None and listed.status == 404 and not urlsplit(self._address()).path:
            named = f"{named}, or give the API's base, which is often {self._address()}/v1"
        raise self._load_error(
            f"the server's list of models cannot be read ({how}: {self._address()}/models); name the model: {named}",
            "server_protocol",
        )

    def _first_answer(self, client: Client, builder: RequestBuilder) -> tuple[Answer, str]:
        """One token, through the interface that will be used; the list of models is no proof that one answers.

        :returns: it, and what the server said when it put the request off, if it did.
        """
        put_off = ""
        answer = self._first_by_any_name(client, builder)
        for attempt in range(builder.endpoint.retries):
            failure = answer.failure
            wait = 0.0 if failure is None else failure.retry_after_s
            wait = FIRST_WAIT_S * 2**attempt if wait is None else wait
            if failure is None or not failure.may_pass or wait > LONGEST_WAIT_S:
                break
            put_off = f"HTTP {failure.status} before the first answer" if failure.kind == "server_busy" else put_off
            time.sleep(wait)
            answer = self._probed(client, builder)
        failure = answer.failure or self._foreign(answer)
        if failure is not None:
            raise self._load_error(failure.message, failure.kind)
        return answer, put_off

    @staticmethod
    def _probed(client: Client, builder: RequestBuilder) -> Answer:
        probe = Prompt(id="ready", text="Hi")
        if builder.endpoint.api == "auto":
            answer = client.ask(builder.generation(probe, _PROBE))
            if answer.failure is not None and answer.failure.kind in (
                "server_protocol",
                "endpoint_request",
                "endpoint_model",
            ):
                chat = Prompt(id="ready", messages=(Message(role="user", content="Hi"),))
                other = client.ask(builder.generation(chat, _PROBE))
                answer = other if other.failure is None else answer
        else:
            answer = client.ask(builder.generation(probe, _PROBE))
        return answer

    def _first_by_any_name(self, client: Client, builder: RequestBuilder) -> Answer:
        """:meth:`_probed`, with the other name of the most tokens where the server asks for it."""
        answer = self._probed(client, builder)
        refused = answer.failure.message if answer.failure and answer.failure.kind == "endpoint_request" else ""
        if OTHER_LENGTH_NAME in refused and builder.length_name != OTHER_LENGTH_NAME:
            builder.length_name = OTHER_LENGTH_NAME
            answer = self._probed(client, builder)
        return answer

    # ------------------------------------------------------------------------------------------------------- answering

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Answer:
        """One request.

        :raises TryAgain: if it failed before its first token, at the server.
        :raises GenerationError: if it failed otherwise.
        """
        return self._answered(prompt, settings, lambda _text, _at: stamp(), live=True)

    def generate_timed(self, prompt: Prompt, settings: GenerationSettings, note: Note) -> Answer:
        """The same, with each token's time told later.

        :raises TryAgain: as :meth:`generate`.
        :raises GenerationError: as :meth:`generate`.
        """
        return self._answered(prompt, settings, lambda _text, at_ns: note(at_ns), live=False)

    def _answered(self, prompt: Prompt, settings: GenerationSettings, on_piece: OnPiece, *, live: bool) -> Answer:
        if self._client is None or self._builder is None:
            raise GenerationError(f"{self._spec.text}: the endpoint is not ready.", kind="unloaded")
        try:
            request = self._builder.generation(prompt, settings)
        except ValueError as error:
            raise GenerationError(f"{self._spec.text}: {error}; use +api=auto or +api=chat.", kind="prompt") from error
        answer = self._client.ask(request, on_piece, live=live)
        failure = answer.failure or self._foreign(answer)
        if failure is not None:
            self._refuse(failure)
        self._failed = 0
        return answer

    def _refuse(self, failure: Failure) -> NoReturn:
        message = f"{self._spec.text}: {failure.message}"
        retries = self._builder.endpoint.retries if self._builder else 0
        wait = failure.retry_after_s if failure.retry_after_s is not None else FIRST_WAIT_S * 2**self._failed
        if failure.may_pass and retries and wait <= LONGEST_WAIT_S:
            self._failed = 0 if self._failed >= retries else self._failed + 1
            raise TryAgain(message, kind=failure.kind, wait_s=wait, attempts=retries)
        self._failed = 0
        raise GenerationError(message, kind=failure.kind)

    def _foreign(self, answer: Answer) -> Failure | None:
        return None if self._builder is None else foreign(self._builder, answer)

    def complete(self, produced: Answer) -> Completion:
        """Texts and counts; where the server's counts cannot be right, there are none."""
        usage = produced.usage
        unobserved = {}
        if usage.output_tokens is None:
            for name in (
                "output_tokens",
                "tokens_per_s",
                "latency_per_token",
                "tpot",
                "decode_tokens_per_s",
                "tokens_per_piece",
                "reasoning_tokens",
            ):
                unobserved[name] = usage.why_not
        if usage.prompt_tokens is None:
            unobserved |= dict.fromkeys(("prompt_tokens", "prefill_tokens_per_s"), usage.why_not)
        if usage.cached_tokens is None:
            unobserved["cached_tokens"] = (
                "the server does not tell what its cache gave" if usage.source else usage.why_not
            )
        if produced.came_at_once:
            unobserved |= dict.fromkeys(
                (
                    "ttft",
                    "ttft_any",
                    "ttft_content",
                    "ttft_reasoning",
                    "itl",
                    "tpot",
                    "decode_tokens_per_s",
                    "return_tail",
                    "prefill_tokens_per_s",
                ),
                "the server sent its whole answer at once: no first token was seen to arrive",
            )
        return Completion(
            text=produced.text, finish_reason=produced.finish_reason or "unknown", prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens, token_source=usage.source, templated=self._templated, piece_kinds=produced.piece_kinds,
            cached_tokens=usage.cached_tokens, reasoning_tokens=usage.reasoning_tokens, retries=0, unobserved=unobserved,
        )  # fmt: skip

    @property
    def _templated(self) -> bool:
        return self._client is not None and self._client.last_was_chat

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One request whose text is shown as it comes."""
        answer = self._answered(prompt, settings, lambda text, _at: on_text(text) if text else None, live=True)
        if not answer.is_stream:
            on_text(answer.text)
        return self.complete(answer)

    def score(self, context: str, continuation: str) -> Sequence[float]:
        """Log-probabilities of the continuation's tokens, where the server echoes prompts with theirs.

        :raises GenerationError: of kind ``unsupported`` where it does not, or where a token lies across the border.
        """
        (answered,) = self._echoed([context + continuation])
        return [row.logprob or 0.0 for row in self._behind(context, continuation, answered)]

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:  # fmt: skip
        """The same for many, the continuations of ``batch`` questions in one request to the server, where it takes several.

        :raises GenerationError: as :meth:`score`, naming the question.
        """
        if any(request.rolling for request in requests):
            raise self._cannot(
                "whole documents cannot be scored behind a server: nothing stands before their first token"
            )
        for start in range(0, len(requests), batch):
            numbers = range(start, min(start + batch, len(requests)))
            on_batch(numbers)
            asked = [(number, text) for number in numbers for text in requests[number].continuations]
            answered = self._echoed([requests[number].context + text for number, text in asked])
            found: dict[int, list[ContinuationScore]] = {number: [] for number in numbers}
            for (number, text), choice in zip(asked, answered, strict=True):
                request = requests[number]
                try:
                    rows = self._behind(request.context, text, choice)
                except GenerationError as error:
                    raise GenerationError(f"{error} (question {request.id or number + 1})", kind=error.kind) from error
                found[number].append(_score_of(rows))
            for number, scores in found.items():
                on_scores(number, scores)

    def _echoed(self, texts: Sequence[str]) -> Sequence[Choice]:
        """Each text as the server echoes it, with its log-probabilities."""
        if not self._takes_several and len(texts) > 1:
            return [choice for text in texts for choice in self._echoed([text])]
        builder = self._ready_builder()
        answer = self._persist(lambda client: client.ask(builder.echo(*texts)))
        failure = answer.failure or self._foreign(answer)
        if failure is not None and failure.kind not in ("endpoint_request", "server_protocol"):
            raise GenerationError(f"{self._spec.text}: {failure.message}", kind=failure.kind)
        if len(texts) > 1 and (failure is not None or len(answer.choices) != len(texts)):
            self._takes_several = False
            return self._echoed(texts)
        if failure is None and len(answer.choices) == len(texts):
            whole = all(
                choice.text.startswith(text) and choice.logprobs
                for text, choice in zip(texts, answer.choices, strict=True)
            )
            if whole:
                return answer.choices
        why = failure.message if failure else "it does not echo a prompt with log-probabilities"
        raise self._cannot(f"this server cannot score: {why}; vLLM can (echo=true of /v1/completions)")

    def _behind(self, context: str, continuation: str, answered: Choice) -> Sequence[TokenLogprob]:
        """The tokens of the continuation, each with its log-probability."""
        rows = answered.logprobs
        places = places_of([row.text for row in rows], context + continuation)
        if places is None:
            raise self._cannot(
                "the server's tokens do not make up the text that it was sent: which of them are the continuation's is not known"
            )
        if len(context) not in places:
            raise self._cannot(
                "a token of the server lies across the border of context and continuation: neither has its"
                " log-probability; move a blank from one to the other"
            )
        end = len(context) + len(continuation)
        found = [
            row for row, place in zip(rows, places, strict=True) if place is not None and len(context) <= place < end
        ]
        if found and found[0] is rows[0] and found[0].logprob is None:
            raise self._cannot("the first token follows nothing and has no log-probability; give a context")
        if any(row.logprob is None for row in found):
            raise self._cannot("the server gives a token of the continuation no log-probability that is a number")
        return found

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, *,
        on_batch: OnBatch, on_completion: OnCompletion,
    ) -> None:  # fmt: skip
        """Answers that end before a stop string: the server ends them where it can, so that nobody waits for what is cut off."""
        del batch  # one after the other: how many at once a server bears is what load finds out
        told = stop if len(stop) <= MOST_STOPS else ()
        for number, prompt in enumerate(prompts):
            on_batch([number])
            on_completion(number, stopped(self.complete(self._asked_patiently(prompt, settings, told)), stop))

    def count_tokens(self, prompt: Prompt) -> tuple[int, bool]:
        """Tokens of a prompt as the server counts them for the model: its template and the unique line before it included.

        :raises GenerationError: of kind ``unsupported`` where it does not tell.
        """
        answer = self._asked_patiently(prompt, _PROBE, ())
        if answer.usage.prompt_tokens is None:
            raise self._cannot(
                f"this server does not say how many tokens a prompt has ({answer.usage.why_not}); ask for lengths in words instead"
            )
        return answer.usage.prompt_tokens, self._templated

    def _asked_patiently(self, prompt: Prompt, settings: GenerationSettings, stop: Sequence[str]) -> Answer:
        builder = self._ready_builder()
        try:
            request = builder.generation(prompt, settings, stop=stop)
        except ValueError as error:
            raise GenerationError(f"{self._spec.text}: {error}; use +api=auto or +api=chat.", kind="prompt") from error
        answer = self._persist(lambda client: client.ask(request))
        failure = answer.failure or self._foreign(answer)
        if failure is not None:
            raise GenerationError(f"{self._spec.text}: {failure.message}", kind=failure.kind)
        return answer

    def _persist(self, ask: Callable[[Client], Answer]) -> Answer:
        """Ask what is not measured, again where the server puts it off."""
        client, endpoint = self._ready_client()
        answer = ask(client)
        for attempt in range(endpoint.retries):
            failure = answer.failure
            if failure is None or not failure.may_pass:
                break
            wait = FIRST_WAIT_S * 2**attempt if failure.retry_after_s is None else failure.retry_after_s
            if wait > LONGEST_WAIT_S:
                break
            time.sleep(wait)
            answer = ask(client)
        return answer

    def _ready_builder(self) -> RequestBuilder:
        if self._builder is None:
            raise GenerationError(f"{self._spec.text}: the endpoint is not ready.", kind="unloaded")
        return self._builder

    def _cannot(self, words: str) -> GenerationError:
        return GenerationError(f"{self._spec.text}: {words}.", kind="unsupported")

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ready_client(self) -> tuple[Client, Endpoint]:
        if self._client is None or self._endpoint is None:
            raise ModelLoadError(f"{self._spec.text}: the endpoint is not ready.", kind="unloaded")
        return self._client, self._endpoint

    def _address(self) -> str:
        return self._endpoint.base_url if self._endpoint else ""

    def _load_error(self, message: str, kind: str) -> ModelLoadError:
        end = "" if message.endswith((".", "?")) else "."
        return ModelLoadError(f"{self._spec.text}: {message}{end}", kind=kind)


def _score_of(rows: Sequence[TokenLogprob]) -> ContinuationScore:
    values = [row.logprob or 0.0 for row in rows]
    best = [row.best for row in rows]
    greedy = None if None in best else all(value >= (top or 0.0) for value, top in zip(values, best, strict=True))
    return ContinuationScore(logprob=sum(values), tokens=len(values), is_greedy=greedy)


_VERSION: Final = re.compile(r"@.+|:(?:latest|free)|-latest|-\d{4}(?:-?\d{2}){0,2}|-\d{2}-\d{2,4}")
"""Behind a name: a revision, a tag that names no other weights, or a date."""
_PREFIX_WORDS: Final = {
    "prefix": "a unique line before each prompt",
    "salt": "none; cache_salt is unique for each request",
    "keep": "none; the server's prefix cache may answer",
}


def foreign(builder: RequestBuilder, answer: Answer) -> Failure | None:
    """Another model answered than the one that was asked."""
    asked, wanted, answered = builder.model, builder.endpoint.served_as, answer.model
    if not answered or answered == (wanted or asked) or (not wanted and is_same_name(asked, answered)):
        return None
    return Failure(
        kind="server_model",
        message=f"'{wanted or asked}' was asked, '{quote(answered)}' answered: the numbers would be another model's;"
        f" if it is the same one, say +served_as={quote(answered)}",
    )


def is_same_name(asked: str, answered: str) -> bool:
    """Whether a server may call a model so that was asked for: by its last part, with a date or a revision behind it.

    A size, a format or another word behind it is another model.

    >>> is_same_name("org/Name", "name"), is_same_name("gpt-4o", "gpt-4o-2024-08-06"), is_same_name("gpt-4o", "gpt-4o-mini")
    (True, True, False)
    >>> is_same_name("llama3", "llama3:latest"), is_same_name("llama3", "llama3:70b")
    (True, False)
    """
    one, other = (name.rstrip("/").rpartition("/")[2].casefold() for name in (asked, answered))
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and _VERSION.fullmatch(longer[len(shorter) :]) is not None


def listed_models(listed: Reply | None) -> tuple[list[str], list[str]]:
    """Names and owners of the models that a server lists."""
    document = listed.document if listed is not None and listed.status == 200 else None
    rows = document.get("data") if isinstance(document, dict) else None
    found = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)] if isinstance(rows, list) else []  # fmt: skip
    return [row["id"] for row in found], [str(row.get("owned_by", "")) for row in found]


def lists_nothing(document: object) -> bool:
    """Whether a list of models is one, and empty; some servers write null for that."""
    return isinstance(document, dict) and "data" in document and document["data"] in ([], None)


def software_of(owners: Sequence[str]) -> str:
    """What the server is by what it says: the owner of its models, in lower case."""
    return owners[0].lower() if owners and owners[0].lower() in (*TAKES_IGNORE_EOS, "ollama", "tgi") else ""


def version_of(version: Reply | None) -> str:
    """What the server answers at ``/version``; empty where that is none."""
    found = version.document if version is not None and version.status == 200 else None
    return quote(str(found.get("version", ""))) if isinstance(found, dict) else ""
