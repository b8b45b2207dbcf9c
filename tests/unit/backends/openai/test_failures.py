"""Whose failure it is, and what is said of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pytest_llmci.backends.openai.failures import of_status, quote, retry_after_s, server_words

URL = "http://host:8000/v1/chat/completions"


@pytest.mark.parametrize(
    ("status", "body", "kind", "fault", "may_pass"),
    [
        (429, {"error": {"message": "slow down"}}, "server_busy", "server", True),
        (503, {"detail": "loading"}, "server_busy", "server", True),
        (500, {"error": "oom"}, "server_error", "server", True),
        (502, {}, "server_error", "server", True),
        (401, {}, "endpoint_key", "settings", False),
        (403, {}, "endpoint_key", "settings", False),
        (404, {"error": {"message": "The model `x` does not exist"}}, "endpoint_model", "settings", False),
        (404, {"detail": "Not Found"}, "server_protocol", "server", False),
        (405, {}, "server_protocol", "server", False),
        (400, {"message": "too long"}, "endpoint_request", "settings", False),
        (307, {}, "endpoint_redirect", "settings", False),
        (408, {}, "server_error", "server", True),
        (204, {}, "server_protocol", "server", False),
    ],
)
def test_each_status_has_one_meaning(status: int, body: object, kind: str, fault: str, may_pass: bool) -> None:
    failure = of_status(status, {}, json.dumps(body).encode(), URL)
    assert (failure.kind, failure.fault, failure.may_pass, failure.status) == (kind, fault, may_pass, status)
    assert str(status) in failure.message
    assert "\n" not in failure.message


def test_the_wait_that_a_server_asks_for() -> None:
    failure = of_status(429, {"retry-after": "2"}, b"", URL)
    assert failure.retry_after_s == 2
    assert "it asks to wait 2 s" in failure.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("nan", None),
        ("inf", None),
        ("99999999999", 99999999999),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("location", "place", "elsewhere"),
    [
        ("https://evil.example:81/v1/steal?key=abc", "https://evil.example:81", True),
        ("https://user:pw@evil.example/x", "https://evil.example;", True),
        ("https://host:8000/v1", "https://host:8000", True),
        ("/v2/chat/completions", "/v2/chat/completions", False),
        ("http://host:8000/v2", "/v2", False),
    ],
)
def test_a_redirect_says_where_to_and_keeps_its_secrets(location: str, place: str, elsewhere: bool) -> None:
    message = of_status(307, {"location": location}, b"", URL).message
    assert place in message
    assert ("nothing was sent there, the key neither" in message) is elsewhere
    assert "abc" not in message and "pw" not in message


def test_words_of_a_server_are_cut_and_made_printable() -> None:
    assert server_words(b"\x1b[31m<html>\n\tboom") == "<html> boom"
    assert server_words(b'{"error": {"message": "a\\u001b[2Jb"}}') == "ab"
    assert len(quote("x" * 1000)) == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no option\n 'top_k'", "type": "invalid_request_error"}}, "no option 'top_k'"),
        ({"detail": "not allowed"}, "not allowed"),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "not permitted"}, {"msg": "bad"}]},
            "body.top_k: not permitted; bad",
        ),
        ({"detail": ["odd"]}, "['odd']"),
    ],
)
def test_the_message_of_a_refusal_is_told(body: object, words: str) -> None:
    pretty = json.dumps(body, indent=1).encode()
    assert server_words(pretty) == words
    assert of_status(400, {}, pretty, URL).message == f"the server refuses the request, HTTP 400: {words}"


@pytest.mark.parametrize(
    ("status", "key_env", "words"),
    [
        (401, "MYKEY", "the server refuses the key in MYKEY; put one into that variable that is valid at this server (HTTP 401: no)"),
        (401, "", "the server wants a key; name the variable that holds it: +key_env=NAME (HTTP 401: no)"),
        (403, "MYKEY", "the server does not allow it with the key in MYKEY (HTTP 403: no)"),
        (403, "", "the server does not allow it without a key; name the variable that holds it: +key_env=NAME (HTTP 403: no)"),
    ],
)  # fmt: skip
def test_advice_on_a_key_heeds_whether_one_was_sent(status: int, key_env: str, words: str) -> None:
    assert of_status(status, {}, b"no", URL, key_env).message == words
