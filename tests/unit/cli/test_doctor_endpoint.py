from __future__ import annotations

import json

import pytest
from stub_server import StubServer

from pytest_llmci.cli.main import main

pytest.importorskip("httptools")


def test_a_server_is_examined_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    with StubServer() as server:
        assert main(["doctor", f"openai:{server.url}"]) == 0
        lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"openai:{server.url}"
    assert "  ok     streaming     8 pieces, one after the other" in lines
    assert any(line.startswith("  lacks  scores ") for line in lines)
    assert max(map(len, lines)) <= 80


def test_one_of_several_that_failed_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with StubServer() as server:
        specs = [f"openai:{server.url}#say", f"b=openai:{server.url}#broken"]
        assert main(["doctor", "--json", *specs]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found) == specs
    assert [row["state"] for row in found[specs[0]] if row["name"] == "chat"] == ["ok"]
    assert [row["state"] for row in found[specs[1]] if row["name"] == "chat"] == ["failed"]


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_key_that_the_server_repeats_is_not_told(
    json_too: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_HOUSE", "4f7a1c88e0b2")
    with StubServer() as server:
        assert main(["doctor", *json_too, f"openai:{server.url}#unauthorized+key_env=OF_THE_HOUSE"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "Incorrect API key provided: [secret OF_THE_HOUSE]" in told and "4f7a1c88" not in told


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("echo", "doctor: 'echo' runs on this machine, which llmci doctor alone examines"),
        (
            "openai:http://127.0.0.1:9/v1#m+key_env=NOT_SET_ANYWHERE",
            "the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("openai:", "no address is given"),
        ("opnai:x", "unknown backend 'opnai'"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], spec: str, says: str) -> None:
    assert main(["doctor", spec]) == 4
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1
