from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmci.cli.main import main
from pytest_llmci.prompts import READERS, SOURCE_KEYS, known_sets

MINE = """
defaults: {tags: smoke}
prompts:
  - {id: greet, template: "Say hello to {{who}}.", variables: {who: [Ann, Bob]}, checks: [{max_words: 40}]}
  - {id: chat, messages: [{role: system, content: Be brief.}, {role: user, content: "Who are you?"}]}
generate:
  - {id: scale, template: "Sum up: {{filler}}", tokens: [8, 30]}
"""
BROKEN = """
- {id: a b, prompt: x}
- {prompt: x, tags: 5, max_new_tokens: many}
- fine
- {id: c, prompt: y, checks: ["max_words:x", "contians:x"]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    return tmp_path


def test_without_a_name_the_packaged_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts"]) == 0
    shown = capsys.readouterr().out
    for name in known_sets():
        assert f"{name}: " in shown
    assert "paper: 10 prompts, no fault\n  id " in shown
    assert "  tcp-udp           text     10  What are the key differences" in shown


def test_a_set_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "mine.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine.yaml: 5 prompts, no fault"
    assert [line.split() for line in lines[1:4]] == [
        ["id", "kind", "words", "tags", "checks", "begins"],
        ["greet-Ann", "text", "4", "smoke", "max_words:40", "Say", "hello", "to", "Ann."],
        ["greet-Bob", "text", "4", "smoke", "max_words:40", "Say", "hello", "to", "Bob."],
    ]
    assert lines[4].split()[:4] == ["chat", "chat", "5", "smoke"] and lines[4].endswith("Who are you?")
    assert lines[5].split()[:3] == ["scale-8t", "text", "8t"]
    assert all(len(line) <= 80 for line in lines)


def test_every_fault_is_told_and_the_status_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "broken.yaml", "none.yaml", "mine.yaml"]) == 4
    shown = capsys.readouterr()
    faults = [line for line in shown.err.splitlines() if line.startswith("fault: ")]
    for number, begin in enumerate(
        [
            "fault: broken.yaml, row 1: key 'id': 'a b'",
            "fault: broken.yaml, row 2: key 'tags'",
            "fault: broken.yaml, row 2: key 'max_new_tokens'",
            "fault: broken.yaml, row 4, key 'checks': check 'max_words:x'",
            "fault: there is no prompt file 'none.yaml'.",
        ]
    ):
        assert faults[number].startswith(begin)
    assert len(faults) == 5
    (warning,) = [line for line in shown.err.splitlines() if line.startswith("warning: ")]
    assert "unknown check 'contians'. Did you mean 'contains'?" in warning
    assert "broken.yaml: 2 prompts, 4 faults, 1 warning" in shown.out
    assert "mine.yaml: 5 prompts, no fault" in shown.out, "a broken file hides no other"


def test_two_sets_with_one_id(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "other.txt").write_text("chat\n")
    assert main(["prompts", "mine.yaml", "other.txt", "--validate"]) == 4
    assert (
        "fault: two prompts of 'mine.yaml, row 2' and 'other.txt, row 1 (line 1)' have the id 'chat'"
        in capsys.readouterr().err
    )


def test_validate_lists_no_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "mine.yaml", "paper+limit=2", "--validate"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mine.yaml: 5 prompts, no fault",
        "paper+limit=2: 2 prompts, no fault",
    ]


def test_files_of_other_projects_say_how_they_are_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mt.jsonl").write_text('{"question_id": 1, "category": "w", "turns": ["Why?", "How?"]}\n')
    assert main(["prompts", "mt.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "  read as MT-Bench questions: the first turn is the prompt" in shown
    assert "w, turn-1-of-2" in shown


def test_a_model_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "mine.yaml", "--model", "words=echo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine.yaml: 5 prompts, 4 to 30 tokens for words, 53 in all, no fault"
    assert [line.split()[2] for line in lines[1:]] == ["tokens", "4", "4", "7", "8", "30"]
    assert "(30 tokens" not in lines[-1], "its text has been worked out"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "mine.yaml", "broken.yaml", "--model=echo", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == {"alias": "echo", "context_length": None}
    mine, broken = found["sets"]
    first, *_, last = mine["prompts"]
    assert (first["id"], first["variables"], first["tokens"], first["words"], first["templated"]) == (
        "greet-Ann",
        {"who": "Ann"},
        4,
        4,
        False,
    )
    assert last["wanted_tokens"] == 30 and len(last["text"].split()) == 30
    assert len(broken["faults"]) == 4 and len(broken["warnings"]) == 1


def test_what_does_not_fit_into_the_context(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    (here / "long.yaml").write_text(
        f"- {{id: long, prompt: {'a' * 2000}}}\n- {{id: short, prompt: {'b' * 2000}, max_new_tokens: 48}}\n- {{id: chat, messages: [{{role: user, content: Hi}}]}}\n"
    )
    assert main(["prompts", "long.yaml", "--model=tiny", "--validate"]) == 1
    shown = capsys.readouterr()
    assert (
        "long.yaml: 3 prompts, 20 to 2,000 tokens for tiny, 4,020 in all, context 2,048, no fault, 1 warning"
        in shown.out
    )
    told = "'long' has 2,000 tokens, and with 256 new ones that is more than tiny's context of 2,048; shorten it, or ask for a shorter answer."
    assert shown.err.splitlines() == [f"warning: long.yaml, row 1: {told}"]
    assert main(["prompts", "long.yaml", "--model=tiny+template=off", "--max-new-tokens=48"]) == 0, (
        "listed, and not validated"
    )
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: long.yaml, row 3: tiny+template=off: prompt 'chat' holds messages")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model=nope:x"], "--model: unknown backend 'nope'"),
        (["--model=echo", "--max-new-tokens=0"], "--max-new-tokens: 0 must be a whole number of at least 1."),
        (["--model=py:os.path:basename"], "this model source does not count the tokens of a prompt"),
    ],
)
def test_what_cannot_be_counted_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompts", "paper", *arguments]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert expected in lines[-1] and lines[-1].startswith("llmci: error: ")


def test_the_help_names_formats_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(suffix in shown for suffix in READERS)
    assert "+limit=N" in shown and "limit" in SOURCE_KEYS
