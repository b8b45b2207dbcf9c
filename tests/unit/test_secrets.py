from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.secrets import Secrets, is_secret_name, is_secret_value

VALUE = "s3cr3t-Value/with+odd=chars"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "HF_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "dbPassword", "MY_APIKEY", "DB_PASS", "GH_PAT", "api-key"]
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["", "HOME", "MONKEY_BUSINESS", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "AWS_WEB_IDENTITY_TOKEN_FILE", "key_env",
             "LLMCI_MAX_NEW_TOKENS", "PWD", "COMPASS"]
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value", ["", "1", "true", "test", "disabled", "production", "20260101", "2026-01-01", "12:30:45", "         "]
)
def test_ordinary_values_are_no_secrets(value: str) -> None:
    assert not is_secret_value(value)
    assert Secrets.of({"API_KEY": value}).hide(f"a {value} b") == f"a {value} b"


def test_a_path_that_exists_is_no_secret(tmp_path: Path) -> None:
    assert Secrets.of({"SIGNING_KEY": str(tmp_path)}).hide(f"in {tmp_path}") == f"in {tmp_path}"


@pytest.mark.parametrize(
    "text", [VALUE, f"x{VALUE}y", "s3cr3t-Value%2Fwith%2Bodd%3Dchars", f"--a={VALUE}"]
)  # fmt: skip
def test_a_known_value_is_hidden_wherever_it_stands(text: str) -> None:
    secrets = Secrets.of({"MY_TOKEN": VALUE})
    for hidden in (secrets.hide(text), secrets.hide_in_prose(text)):
        assert "[secret MY_TOKEN]" in hidden
        assert "s3cr3t" not in hidden
        assert secrets.hide(hidden) == hidden


def test_a_value_of_several_lines_is_hidden_line_by_line() -> None:
    secrets = Secrets.of({"SIGNING_KEY": "first-line-0123456789\nsecond-line-0123456789\nend"})
    assert secrets.hide("log: second-line-0123456789") == "log: [secret SIGNING_KEY]"


def test_the_longer_of_two_values_is_hidden_first() -> None:
    secrets = Secrets({"abcd1234": "SHORT", "abcd1234efgh": "LONG"})
    assert secrets.hide("abcd1234efgh abcd1234") == "[secret LONG] [secret SHORT]"


@pytest.mark.parametrize("cut", ["... s3cr3t-Va...", "'s3cr3t-Val'", "s3cr3t-V", 'found "s3cr3t-Value/wi ...'])
def test_the_beginning_of_a_value_that_was_cut_is_hidden(cut: str) -> None:
    assert "s3cr3t" not in Secrets.of({"MY_TOKEN": VALUE}).hide(cut)


def test_another_word_with_the_same_beginning_stays() -> None:
    assert Secrets.of({"MY_TOKEN": VALUE}).hide("s3cr3t-Valley is far") == "s3cr3t-Valley is far"


HIDDEN = {
    "https://me:pa55@host/x": "https://me:[secret]@host/x",
    "https://ghp_0123456789abcdefghijklmnopqrstuvwxyz@github.com/a/b": "https://[secret]@github.com/a/b",
    "GET https://s3/x?X-Amz-Signature=0a1b2c3d4e&X-Amz-Expires=60": "GET https://s3/x?X-Amz-Signature=[secret]&X-Amz-Expires=60",
    "Authorization: Bearer abcd1234efgh": "Authorization: Bearer [secret]",
    "{'Authorization': 'Basic dXNlcjpwYXNz'}": "{'Authorization': 'Basic [secret]'}",
    '{"x-api-key": "abcd1234"}': '{"x-api-key": "[secret]"}',
    "it is sk-0123456789abcdefghij.": "it is [secret].",
    "hf_abcdefghijklmnopqrstuv": "[secret]",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!": "[secret]!",
}


@pytest.mark.parametrize("text", HIDDEN)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert Secrets().hide_in_prose(text) == HIDDEN[text]
    assert Secrets().hide(HIDDEN[text]) == HIDDEN[text]


@pytest.mark.parametrize(
    "text", ["https://user@github.com/x", "git@github.com:a/b", "http://localhost:5000/?key=1", "Authorization: Bearer <token>",
             "a task-based desk-lamp", "sorted(rows, key=operator.itemgetter(1))", "x-api-key: KEY", "https://a.org/wiki/User:Me@home",
             "max_new_tokens=50", "The bearer of this letter", "token_source=tokenizer"]
)  # fmt: skip
def test_ordinary_texts_stay(text: str) -> None:
    assert Secrets().hide_in_prose(text) == text
    assert Secrets().hide(text) == text


@pytest.mark.parametrize(("text", "hidden"), [
    ("openai:gpt+api_key=pw+temperature=1", "openai:gpt+api_key=[secret]+temperature=1"),
    ("openai:gpt+key_env=MY_KEY", "openai:gpt+key_env=MY_KEY"),
    ("run --hub-token=abcd1234", "run --hub-token=[secret]"),
    ("OPENAI_API_KEY='abcd1234' pytest", "OPENAI_API_KEY='[secret]' pytest"),
])  # fmt: skip
def test_options_are_hidden_in_commands_and_specs(text: str, hidden: str) -> None:
    assert Secrets().hide(text) == hidden


def test_options_of_a_model_are_learnt() -> None:
    secrets = Secrets()
    secrets.learn_options({"api_key": "word", "key_env": "THEIRS", "dtype": "bfloat16"}, {"THEIRS": "otherword"})
    assert secrets.hide("a word, an otherword, bfloat16") == "a [secret +api_key], an [secret THEIRS], bfloat16"


def test_a_password_in_the_url_of_a_variable_is_a_secret_everywhere() -> None:
    secrets = Secrets.of({"DATABASE_URL": "postgres://me:p%40ssw0rd9@db/x"})
    assert secrets.hide("p@ssw0rd9 p%40ssw0rd9") == "[secret DATABASE_URL] [secret DATABASE_URL]"


def test_a_password_with_an_at_sign_is_masked_whole() -> None:
    assert Secrets().hide("https://me:p@ss@host/x") == "https://me:[secret]@host/x"
    assert Secrets().hide("https://host/x?mail=me@host") == "https://host/x?mail=me@host"


def test_a_text_that_was_clean_is_looked_at_again_once_more_is_known() -> None:
    secrets = Secrets()
    assert not secrets.may_be_in_any(["a plain text", "with correct-horse-battery-1 in it"])
    secrets.learn("correct-horse-battery-1", "PASS")
    assert secrets.may_be_in_any(["a plain text", "with correct-horse-battery-1 in it"])
    assert secrets.may_be_in_any(iter(["a plain text", "Authorization: Bearer abc"]))
    assert not secrets.may_be_in_any([])


def test_a_text_in_which_nothing_was_hidden_is_looked_at_again_when_more_is_known() -> None:
    secrets = Secrets()
    text = "the answer of Zq8-plough-7731"
    assert secrets.hide(text) == text == secrets.hide(text)
    assert not secrets.may_be_in_any([text])
    secrets.learn("Zq8-plough-7731", "TOKEN", certain=True)
    assert secrets.may_be_in_any([text])
    assert secrets.hide(text) == "the answer of [secret TOKEN]"


def test_a_secret_is_found_among_texts_of_which_more_were_looked_at_than_are_remembered() -> None:
    secrets = Secrets({"Zq8-plough-7731": "TOKEN"})
    for number in range(2100):
        assert not secrets.may_be_in_any(["always there", f"text {number}"])
    assert secrets.may_be_in_any(["always there", "text 2099", "text 1 and Zq8-plough-7731"])
    assert not secrets.may_be_in_any(["always there", "text 1"])
