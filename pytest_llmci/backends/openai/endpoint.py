"""Where a server is and how it is to be asked: ``openai:http://127.0.0.1:8000/v1#name+key_env=KEY``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from ...errors import ModelLoadError
from ...records import ModelSpec

Api: TypeAlias = Literal["auto", "chat", "completions"]
Unit: TypeAlias = Literal["auto", "round", "block"]
PromptCache: TypeAlias = Literal["prefix", "salt", "keep"]
OPTIONS: Final[Mapping[str, str]] = {
    "key_env": "environment variable that holds the bearer key",
    "api": "auto: texts go to /completions, messages to /chat/completions; chat, completions: all go there",
    "prompt_cache": "prefix: a unique line before each prompt; salt: vLLM's cache_salt; keep: prompts as they are",
    "ignore_eos": "yes: ask for answers of exactly the wanted length (vLLM, SGLang, llama.cpp); no; auto: where the server knows it",
    "served_as": "name under which the server answers, where it is another than the one that is asked for",
    "unit": "one value of a comparison: block (of rounds, for autoscaling), round; auto: block where the server limits rates",
    "retries": "attempts after one that failed before its first token; 2 where it is not given",
    "timeout": "seconds without a byte after which a request has failed; 240 where it is not given",
}
DEFAULT_RETRIES: Final = 2
DEFAULT_TIMEOUT_S: Final = 240.0
CONNECT_TIMEOUT_S: Final = 10.0
LONGEST_WAIT_S: Final = 60.0
"""A server that asks to be left alone for longer has failed."""
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?")
_LEAST_KEY: Final = 16
"""Characters that keys have at least."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOCAL_NET: Final = re.compile(r"127(?:\.[0-9]{1,3}){3}")
_LOOPBACK: Final = frozenset({"localhost", "::1"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One server and one model on it. The key is in no representation of it."""

    base_url: str
    """Without a slash at its end, such as ``http://127.0.0.1:8000/v1``."""
    model: str = ""
    """Empty: the only one that the server lists."""
    key: str = field(default="", repr=False)
    key_env: str = ""
    api: Api = "auto"
    prompt_cache: PromptCache = "prefix"
    ignore_eos: bool | None = None
    """None: where the server is known to take it."""
    served_as: str = ""
    unit: Unit = "auto"
    """Read by the comparison, not by the client."""
    retries: int = DEFAULT_RETRIES
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine by its address: no proxy is asked for it."""
        host = urlsplit(self.base_url).hostname or ""
        return host in _LOOPBACK or _LOCAL_NET.fullmatch(host) is not None

    @property
    def server(self) -> str:
        """Scheme, host and port, the port spelt out: two models with the same are behind one address."""
        parts = urlsplit(self.base_url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    def proxy_name(self) -> str:
        """Variable that names the proxy on the way; empty where requests go to the server itself."""
        return self.proxy()[0]

    def proxy(self) -> tuple[str, str]:
        """That variable and what it holds; both empty where requests go to the server itself."""
        from urllib.request import getproxies, proxy_bypass

        parts, proxies = urlsplit(self.base_url), getproxies()
        if self.is_loopback or proxy_bypass(parts.netloc):
            return "", ""
        name = next((each for each in (parts.scheme, "all") if proxies.get(each)), "")
        return (f"{name.upper()}_PROXY", proxies[name]) if name else ("", "")

    def headers(self) -> dict[str, str]:
        """What every request carries; the key with it."""
        found = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        found["User-Agent"] = "pytest-llmci"
        found["Accept-Encoding"] = "identity"  # pieces are timed as they come, and nothing is unpacked
        if self.key:
            found["Authorization"] = f"Bearer {self.key}"
        return found


def read_endpoint(spec: ModelSpec, environ: Mapping[str, str] | None = None) -> Endpoint:
    """The endpoint that a spec names.

    :param environ: to take the key from; without it the key stays empty.
    :raises ModelLoadError: of kind ``option``, in one line, if the spec cannot be right or the variable is not set.
    """
    address, mark, name = spec.target.partition("#")
    base_url = _base_url(address.strip(), spec)
    if mark and not name.strip():
        raise _wrong(spec, "'#' is followed by no name of a model; write http://host:port/v1#name, or leave '#' out")
    options = spec.options
    key_env = options.get("key_env", "")
    if key_env and not _VARIABLE.fullmatch(key_env):
        raise _wrong(
            spec, "+key_env= takes the name of an environment variable, such as OPENAI_API_KEY, never the key itself"
        )
    return Endpoint(
        base_url=base_url,
        model=name.strip(),
        key="" if environ is None or not key_env else _key(spec, key_env, environ),
        key_env=key_env,
        api=cast(Api, _choice(spec, "api", ("auto", "chat", "completions"))),
        prompt_cache=cast(PromptCache, _choice(spec, "prompt_cache", ("prefix", "salt", "keep"))),
        ignore_eos={"auto": None, "yes": True, "no": False}[_choice(spec, "ignore_eos", ("auto", "yes", "no"))],
        served_as=options.get("served_as", ""),
        unit=cast(Unit, _choice(spec, "unit", ("auto", "round", "block"))),
        retries=round(_number(spec, "retries", DEFAULT_RETRIES, least=0, most=20, whole=True)),
        timeout_s=_number(spec, "timeout", DEFAULT_TIMEOUT_S, least=0.001, most=86_400),
    )


def _base_url(address: str, spec: ModelSpec) -> str:
    example = "expected an address such as openai:http://127.0.0.1:8000/v1#name"
    if not address:
        raise _wrong(spec, f"no address is given; {example}")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise _wrong(spec, f"'{address}' is no address ({error}); {example}") from error
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _wrong(
            spec, "an address must hold no user and no password; put the key into a variable and name it: +key_env=NAME"
        )
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.netloc):
        raise _wrong(spec, f"'{address}' is no address of a server; {example}")
    try:
        has_port = parts.port != 0
    except ValueError as error:
        raise _wrong(spec, f"'{address}': {error}; {example}") from error
    if not has_port:
        raise _wrong(spec, f"'{address}': no server listens at port 0; {example}")
    if parts.query:
        raise _wrong(spec, f"'{parts.scheme}://{parts.netloc}{parts.path}?...' has a query; {example}")
    path = parts.path.rstrip("/")
    for ending in ("/chat/completions", "/completions", "/models"):
        if path.endswith(ending):
            raise _wrong(
                spec, f"'{address}' is one of the API's own paths; give its base, which ends before '{ending}'"
            )
    return f"{parts.scheme}://{parts.netloc}{path}"


def _key(spec: ModelSpec, name: str, environ: Mapping[str, str]) -> str:
    key = environ.get(name, "").strip()
    if not key:
        named = f"variable {name}" if _may_be_shown(name) else "variable that +key_env= names"
        raise _wrong(spec, f"the environment {named} is not set or empty; export it, or leave +key_env= out")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _wrong(spec, f"the environment variable {name} holds what no header can carry; put the key alone into it")
    return key


def _choice(spec: ModelSpec, name: str, known: tuple[str, ...]) -> str:
    given = spec.options.get(name, known[0])
    if given not in known:
        raise _wrong(spec, f"+{name}={given} is not known; expected {', '.join(known[:-1])} or {known[-1]}")
    return given


def _number(
    spec: ModelSpec, name: str, default: float, *, least: float, most: float, whole: bool = False
) -> float:  # fmt: skip
    given = spec.options.get(name)
    if given is None:
        return default
    try:
        number = int(given) if whole else float(given)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        kind = "a whole number" if whole else "a number of seconds"
        raise _wrong(spec, f"+{name}={given}: expected {kind} from {least:g} to {most:g}")
    return number


def shown(spec: ModelSpec) -> str:
    """The spec for people: without a password in its address, and without a key that somebody wrote in place of its variable."""
    from ...secrets import without_credentials

    text, name = without_credentials(spec.text), spec.options.get("key_env", "")
    return text if _may_be_shown(name) else text.replace(name, "***")


def _may_be_shown(name: str) -> bool:
    """Whether it is the name of a variable by its look; long ones with digits among small letters, or without letters first, are keys."""
    is_name = _VARIABLE.fullmatch(name) is not None or not name
    return is_name and (len(name) < _LEAST_KEY or name == name.upper() or not any(map(str.isdigit, name)))


def _wrong(spec: ModelSpec, words: str) -> ModelLoadError:
    return ModelLoadError(f"{shown(spec)}: {words}.", kind="option")
