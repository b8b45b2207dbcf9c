"""Reading ``openai:http://host:port/v1#name+key_env=KEY``."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci.backends.openai.endpoint import Endpoint, read_endpoint, shown
from pytest_llmci.errors import ModelLoadError
from pytest_llmci.specs import parse_spec

KEY = "sk-verysecretkey-0123456789"


def read(text: str, **environ: str) -> Endpoint:
    return read_endpoint(parse_spec(text, ["openai"], "x"), environ)


def test_all_parts() -> None:
    found = read(
        "big=openai:https://api.example:8443/v1/#org/name@x+key_env=K+api=chat+prompt_cache=keep+ignore_eos=yes+served_as=n+retries=0+timeout=2.5", K=KEY
    )  # fmt: skip
    assert found == Endpoint(
        base_url="https://api.example:8443/v1", model="org/name@x", key=KEY, key_env="K", api="chat", prompt_cache="keep",
        ignore_eos=True, served_as="n", retries=0, timeout_s=2.5,
    )  # fmt: skip


def test_defaults() -> None:
    found = read("openai:http://127.0.0.1:8000/v1")
    assert (found.model, found.key, found.api, found.prompt_cache, found.ignore_eos) == ("", "", "auto", "prefix", None)
    assert (found.retries, found.timeout_s) == (2, 240)


def test_the_key_is_in_no_representation() -> None:
    found = read("openai:http://h/v1#m+key_env=K", K=f" {KEY}\n")
    assert found.headers()["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(found) and KEY not in str(found)
    assert "Authorization" not in read("openai:http://h/v1#m").headers()


@pytest.mark.parametrize(
    "key",
    ["sk-abc", "sk-proj-abcdefGHIJ0123456789klmnop", "abcdefGHIJ0123456789klmnop", "0123456789abcdef0123456789abcdef"],
)
def test_a_key_in_place_of_its_variable_is_not_repeated(key: str) -> None:
    spec = parse_spec(f"m=openai:http://h/v1#m+key_env={key}", ["openai"], "x")
    with pytest.raises(ModelLoadError) as caught:
        read_endpoint(spec, {})
    assert key not in str(caught.value) and str(caught.value).startswith("m=openai:http://h/v1#m+key_env=***: ")
    assert key not in shown(spec)


@pytest.mark.parametrize("name", ["K", "MY_OPENAI_API_KEY_2", "together_ai_api_key", "K2"])
def test_a_variable_is_named(name: str) -> None:
    with pytest.raises(ModelLoadError, match=f"the environment variable {name} is not set"):
        read(f"openai:http://h/v1#m+key_env={name}")


@pytest.mark.parametrize(
    ("url", "variables", "name"),
    [
        ("http://h:8000/v1", {"HTTP_PROXY": "http://p:1"}, "HTTP_PROXY"),
        ("https://h/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://h/v1", {"HTTP_PROXY": "http://p:1", "all_proxy": "http://q:1"}, "ALL_PROXY"),
        ("http://h:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "h"}, ""),
        ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://h:8000/v1", {}, ""),
    ],
)
def test_the_proxy_on_the_way(url: str, variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("http", "https", "all", "no"):
        for variable in (f"{each}_proxy", f"{each}_PROXY".upper()):
            monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert read(f"openai:{url}#m").proxy_name() == name


@pytest.mark.parametrize(
    ("url", "server", "loopback"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", True),
        ("http://localhost/v1", "http://localhost:80", True),
        ("https://api.example/v1", "https://api.example:443", False),
        ("http://[::1]:90/v1", "http://[::1]:90", True),
        ("http://127.evil.example/v1", "http://127.evil.example:80", False),
    ],
)
def test_which_server_it_is(url: str, server: str, loopback: bool) -> None:
    found = read(f"openai:{url}")
    assert (found.server, found.is_loopback) == (server, loopback)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("openai:", "no address is given; expected an address such as openai:http://127.0.0.1:8000/v1#name"),
        ("openai:gpt-4", "'gpt-4' is no address of a server"),
        ("openai:ftp://h/v1", "'ftp://h/v1' is no address of a server"),
        ("openai:http:///v1", "is no address of a server"),
        ("openai:http://h:99999/v1", "Port out of range"),
        ("openai:http://h:0/v1", "no server listens at port 0"),
        ("openai:http://h/v1?key=abc", "has a query"),
        ("openai:http://h/v1/chat/completions#m", "give its base, which ends before '/chat/completions'"),
        ("openai:http://h/v1#", "'#' is followed by no name of a model"),
        ("openai:http://h/v1#m+api=grpc", "+api=grpc is not known; expected auto, chat or completions"),
        ("openai:http://h/v1#m+prompt_cache=off", "expected prefix, salt or keep"),
        ("openai:http://h/v1#m+retries=1.5", "+retries=1.5: expected a whole number from 0 to 20"),
        ("openai:http://h/v1#m+timeout=0", "+timeout=0: expected a number of seconds"),
        ("openai:http://h/v1#m+timeout=nan", "+timeout=nan: expected"),
        ("openai:http://h/v1#m+key_env=MISSING", "the environment variable MISSING is not set or empty"),
        ("openai:http://h/v1#m+key_env=sk-abc", "takes the name of an environment variable"),
        ("openai:http://h/v1#m+key_env=BAD", "holds what no header can carry; put the key alone into it."),
    ],
)
def test_what_cannot_be_right_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        read(text, BAD="two words")
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert caught.value.kind == "option"


@pytest.mark.parametrize("secret", ["hunter2hunter2", "x"])
def test_a_password_in_the_address_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ModelLoadError, match="must hold no user and no password") as caught:
        read(f"openai:http://ann:{secret}@h/v1#m")
    assert f":{secret}@" not in str(caught.value)


def test_the_key_is_read_only_where_it_is_needed() -> None:
    spec: Any = parse_spec("openai:http://h/v1#m+key_env=MISSING", ["openai"], "x")
    assert read_endpoint(spec).key == ""
