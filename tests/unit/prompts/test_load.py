import json
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.prompts import READERS, known_sets, load_prompts
from pytest_llmci.records import Message

WHERE = "--llm-prompts"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


def fault(folder: Path, name: str, content: str | bytes) -> str:
    path = write(folder, name, content)
    with pytest.raises(ConfigError) as caught:
        load_prompts(str(path), WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: {path}"), "it names the option and the file"
    assert "\n" not in message
    return message.removeprefix(f"{WHERE}: {path}")


# ------------------------------------------------------------------------------------------------------------------ sets


def test_the_packaged_set() -> None:
    prompts = load_prompts("paper", WHERE)
    assert len(prompts) == 10
    by_id = {prompt.id: prompt for prompt in prompts}
    assert by_id["tcp-udp"].text == "What are the key differences between TCP and UDP protocols?"
    assert by_id["tcp-udp"].source == "paper, row 1"
    assert all(prompt.text and len(prompt.text) < 120 and len(prompt.id) <= 20 for prompt in prompts)


def test_an_unknown_set_lists_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"--llm-prompts: unknown prompt set 'papre'. Did you mean 'paper'\?"
    ) as caught:
        load_prompts("papre", WHERE)
    assert ".jsonl" in str(caught.value), "and says how a file is named"
    assert known_sets() == ["paper"]


def test_a_packaged_set_is_not_shadowed_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "paper", "mine")
    assert len(load_prompts("paper", WHERE)) == 10


# --------------------------------------------------------------------------------------------------------------- formats

FULL = {
    "id": "tea",
    "prompt": "How long does tea take?",
    "reference": "three minutes",
    "tags": ["kitchen", "short"],
    "checks": ["contains:minutes", "max_words:20"],
    "max_new_tokens": 30,
}


def assert_full(path: Path) -> None:
    first, second = load_prompts(str(path), WHERE)
    assert (first.id, first.text, first.reference) == ("tea", "How long does tea take?", "three minutes")
    assert (first.tags, first.checks) == (("kitchen", "short"), ("contains:minutes", "max_words:20"))
    assert first.max_new_tokens == 30
    assert (second.id, second.text, second.reference, second.tags) == ("Hello", "Hello!", None, ())
    assert second.source.startswith(f"{path}, row 2")


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "p.json", "P.JSON"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_yaml_and_json(tmp_path: Path, name: str, wrapped: bool) -> None:
    rows = [FULL, "Hello!"]
    assert_full(write(tmp_path, name, json.dumps({"prompts": rows} if wrapped else rows)))


def test_jsonl(tmp_path: Path) -> None:
    assert_full(write(tmp_path, "p.jsonl", json.dumps(FULL) + '\r\n\n"Hello!"\n'))


def test_csv(tmp_path: Path) -> None:
    cells = 'tea,How long does tea take?,three minutes,"[""kitchen"", ""short""]"'
    content = (
        "id,prompt,reference,tags,checks,max_new_tokens\r\n"
        f'{cells},"[""contains:minutes"", ""max_words:20""]",30\r\n\r\n,Hello!,,,,\r\n'
    )
    assert_full(write(tmp_path, "p.csv", content))


def test_csv_cells_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path, "p.csv", 'prompt,checks\n"two\nlines, ""quoted""",regex:[a-z]\n')
    (prompt,) = load_prompts(str(path), WHERE)
    assert prompt.text == 'two\nlines, "quoted"'
    assert prompt.checks == ("regex:[a-z]",)
    chat = write(tmp_path, "chat.csv", 'id,messages\na,"[{""role"": ""user"", ""content"": ""Hi""}]"\n')
    assert load_prompts(str(chat), WHERE)[0].messages == (Message(role="user", content="Hi"),)


def test_txt_is_one_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "p.txt", " First one \r\n\n\t\nSecond\u2028one\x0cgoes on\x85here")
    prompts = load_prompts(str(path), WHERE)
    assert [prompt.text for prompt in prompts] == [" First one ", "Second\u2028one\x0cgoes on\x85here"]
    assert [prompt.source for prompt in prompts] == [f"{path}, row 1 (line 1)", f"{path}, row 2 (line 4)"]


def test_messages(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    path = write(tmp_path, "p.json", json.dumps([{"messages": turns}]))
    (prompt,) = load_prompts(str(path), WHERE)
    assert prompt.text is None
    assert prompt.messages == (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))
    assert prompt.shown == "system: Be brief.\nuser: Hi"


def test_ids(tmp_path: Path) -> None:
    path = write(tmp_path, "p.json", json.dumps([{"id": 7, "prompt": "x"}, "What is it?", "你好，世界", "word " * 20]))
    assert [p.id for p in load_prompts(str(path), WHERE)] == [
        "7",
        "What-is-it",
        "46932f1e",
        "word-word-word-word-word-word-28c51cf7",
    ]


def test_nothing_given_is_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path, "p.yaml", "- {prompt: Hi, id: null, messages: null, reference: ~, tags:, checks:, max_new_tokens:}"
    )
    (prompt,) = load_prompts(str(path), WHERE)
    assert (prompt.id, prompt.reference, prompt.tags, prompt.checks, prompt.max_new_tokens) == (
        "Hi",
        None,
        (),
        (),
        None,
    )


def test_a_single_tag_or_check_needs_no_list(tmp_path: Path) -> None:
    path = write(tmp_path, "p.yaml", "- {prompt: Hi, tags: short, checks: json}")
    (prompt,) = load_prompts(str(path), WHERE)
    assert (prompt.tags, prompt.checks) == (("short",), ("json",))


@pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.jsonl", "p.csv", "p.txt"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    content = {"p.yaml": "- Hi", "p.json": '["Hi"]', "p.jsonl": '"Hi"', "p.csv": "prompt\nHi", "p.txt": "Hi"}[name]
    path = write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
    assert [prompt.text for prompt in load_prompts(str(path), WHERE)] == ["Hi"]


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "p.txt", "Hi")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_prompts("p.txt", WHERE, tmp_path / "sub")[0].source == "p.txt, row 1 (line 1)"
    assert load_prompts(str(path), WHERE, Path("/nowhere"))
    assert load_prompts("~/sub/p.txt", WHERE, Path("/nowhere"))
    monkeypatch.chdir(tmp_path)
    assert load_prompts("sub/p.txt", WHERE)


WILD = "quote \" and ' and, comma; ünï 你好 🎉 \u200d \u202e tab\t" + "long " * 20_000 + "end"


def test_anything_survives(tmp_path: Path) -> None:
    controls = "a\nb\r\nc \x00\x07\x1b[31m\x7f\x85\u2028\ufeff"
    import csv
    import io

    import yaml

    table = io.StringIO(newline="")
    csv.writer(table).writerows([["id", "prompt"], ["a", WILD], ["b", controls]])
    rows = [{"id": "a", "prompt": WILD}, {"id": "b", "prompt": controls}]
    contents = {
        "p.json": json.dumps(rows, ensure_ascii=False),
        "e.json": json.dumps(rows),
        "p.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "p.yaml": yaml.safe_dump(rows),
        "p.csv": table.getvalue(),
    }
    for name, content in contents.items():
        found = load_prompts(str(write(tmp_path, name, content)), WHERE)
        assert [prompt.text for prompt in found] == [WILD, controls], name
    huge = load_prompts(str(write(tmp_path, "huge.csv", f"prompt\n{'x' * 300_000}\n")), WHERE)
    assert len(huge[0].text or "") == 300_000, "the csv module's own limit is 131,072"
    (line,) = load_prompts(str(write(tmp_path, "p.txt", WILD + "\n")), WHERE)
    assert line.text == WILD and len(line.id) <= 40


# ---------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": 5}, "key 'prompt': expected text; put it in quotes, found the number 5."),
        ({"prompt": True}, "key 'prompt': expected text; put it in quotes, found the truth value true."),
        ({"prompt": ["x"]}, "key 'prompt': expected text, found a list."),
        ({"prompt": ""}, "key 'prompt' is empty"),
        (" \n", "key 'prompt' is empty"),
        ({"promt": "x"}, "unknown key 'promt'. Did you mean 'prompt'?"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "both 'prompt' and 'messages' are given"),
        ({"id": "x"}, "neither 'prompt' nor 'messages' is given"),
        ({}, "neither 'prompt' nor 'messages' is given"),
        (None, "expected a text or a mapping with the key 'prompt', found nothing."),
        (3.5, "found the number 3.5."),
        (
            {"messages": "x"},
            "key 'messages': expected a list of messages, each with 'role' and 'content', found a text.",
        ),
        ({"messages": []}, "key 'messages' is empty"),
        ({"messages": ["x"]}, "message 1: expected a mapping with 'role' and 'content', found a text."),
        ({"messages": [{"role": "user"}]}, "message 1: key 'content' is missing."),
        ({"messages": [{"role": "user", "content": " "}]}, "message 1: key 'content' is empty"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "unknown role 'usr'. Did you mean 'user'?"),
        ({"messages": [{"rol": "user", "content": "x"}]}, "unknown key 'rol'. Did you mean 'role'?"),
        ({"prompt": "x", "reference": 1}, "key 'reference': expected text; put it in quotes, found the number 1."),
        (
            {"prompt": "x", "tags": [1]},
            "key 'tags': expected a text or a list of texts, none of them empty, found the number 1.",
        ),
        (
            {"prompt": "x", "checks": [""]},
            "key 'checks': the check is empty; write 'name', 'name:argument' or one name with its argument",
        ),
        ({"prompt": "x", "max_new_tokens": "5"}, "key 'max_new_tokens': expected a whole number, found a text."),
        (
            {"prompt": "x", "max_new_tokens": True},
            "key 'max_new_tokens': expected a whole number, found the truth value true.",
        ),
        (
            {"prompt": "x", "max_new_tokens": 1.5},
            "key 'max_new_tokens': expected a whole number, found the number 1.5.",
        ),
        ({"prompt": "x", "max_new_tokens": 0}, "key 'max_new_tokens': 0 is too small"),
        ({"prompt": "x", "id": 1.5}, "key 'id': expected text, found the number 1.5."),
        ({"prompt": "\ud800x"}, "key 'prompt' holds half of a surrogate pair (U+D800) at character 1"),
        (
            {"messages": [{"role": "user", "content": "a\udc00"}]},
            "message 1: key 'content' holds half of a surrogate pair",
        ),
        ({"prompt": "x", "reference": "\udc00"}, "key 'reference' holds half of a surrogate pair (U+DC00)"),
    ],
)
def test_faults_of_a_row(tmp_path: Path, row: object, expected: str) -> None:
    for name, content, position in (
        ("p.json", json.dumps(["fine", row]), ", row 2"),
        ("p.yaml", json.dumps(["fine", row]), ", row 2"),
        ("p.jsonl", '"fine"\n\n' + json.dumps(row), ", row 2 (line 3)"),
    ):
        message = fault(tmp_path, name, content)
        assert message.startswith(position), message
        assert expected in message


@pytest.mark.parametrize(
    "given", ["a::b", "a[b", "a]b", "a@b", "a=b", "a/b", "a b", "a\nb", "é", "", "a\x00", "\ud800"]
)
def test_ids_that_cannot_be_part_of_a_test_name(tmp_path: Path, given: str) -> None:
    message = fault(tmp_path, "p.json", json.dumps([{"id": given, "prompt": "x"}]))
    assert message.startswith(", row 1: key 'id': ")
    assert "cannot be part of a test's name; use ASCII letters" in message
    assert message.isprintable()


def test_duplicate_ids_name_both_rows(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "x"}, "y", {"id": "a", "prompt": "z"}]
    assert fault(tmp_path, "p.json", json.dumps(rows)).startswith(": row 1 and row 3 have the same id 'a'")
    assert fault(tmp_path, "p.txt", "Hi\n\nHi\n").startswith(
        ": row 1 (line 1) and row 2 (line 3) have the same id 'Hi'"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.yaml", ""),
        ("p.yaml", "# nothing\n"),
        ("p.json", "[]"),
        ("p.json", ""),
        ("p.json", '{"prompts": []}'),
        ("p.jsonl", "\n\n"),
        ("p.csv", "id,prompt\n"),
        ("p.csv", ""),
        ("p.txt", " \n"),
    ],
)
def test_empty_sets(tmp_path: Path, name: str, content: str) -> None:
    assert fault(tmp_path, name, content) == " holds no prompt; write at least one."


@pytest.mark.parametrize("suffix", READERS)
def test_not_utf8(tmp_path: Path, suffix: str) -> None:
    message = fault(tmp_path, "p" + suffix, b"fine\ncaf\xe9\n")
    assert message == ", line 2: not valid UTF-8 (byte 0xe9); save the file as UTF-8."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.yaml", "- a\n- [b", ": not valid YAML: "),
        ("p.yaml", "- prompt: x\n  prompt: y\n", "the key 'prompt' stands twice at line 2, column 3"),
        ("p.yaml", "- a\x07b", ": not valid YAML: unacceptable character"),
        ("p.yaml", "- !!python/object:os.system x", "could not determine a constructor"),
        ("p.yaml", "- 2024-13-45", ": not valid YAML: month must be in 1..12"),
        ("p.yaml", "- 2024-12-24", "found a date."),
        ("p.yaml", "a: b", "unknown key 'a'"),
        ("p.yaml", "- ? [a]\n  : b", ": not valid YAML: "),
        ("p.yaml", "just text", ": expected a list of prompts"),
        ("p.yaml", "[" * 5000, ": not valid YAML: "),
        ("p.json", '[{"prompt": "x"},\n]', ": not valid JSON: "),
        ("p.json", '[{"prompt": "x", "prompt": "y"}]', ": not valid JSON: the key 'prompt' stands twice."),
        ("p.json", '{"prompt": "x"}', "unknown key 'prompt'. Did you mean 'prompts'?"),
        ("p.json", '{"prompts": {"a": 1}}', ": expected a list of prompts"),
        ("p.json", "[" * 200_000, ": not valid JSON: nested too deeply."),
        ("p.json", "[" + "9" * 5000 + "]", ": not valid JSON: Exceeds"),
        ("p.jsonl", '"fine"\n{"prompt": x}\n', ", row 2 (line 2): not valid JSON: Expecting value at column 12."),
        ("p.csv", 'id,prompt\na,"x\n', ", line 2: not valid CSV: unexpected end of data."),
        ("p.csv", 'id,prompt\na,"x"y\n', ", line 2: not valid CSV: "),
        ("p.csv", "id,prompt\na,b,c\n", ", row 1 (line 2): 3 cells, but the header has 2"),
        ("p.csv", "id,prompt\na\n", ", row 1 (line 2): 1 cells, but the header has 2"),
        ("p.csv", "id;prompt\na;b\n", ", line 1: the header names no column 'prompt'"),
        ("p.csv", "prompt,prompt\na,b\n", ", line 1: the column 'prompt' stands twice"),
        ("p.csv", "prompt,reference,refrence\na,b,c\n", "unknown key 'refrence'. Did you mean 'reference'?"),
        ("p.csv", "id,prompt\na,\n", ", row 1 (line 2): key 'prompt' is empty"),
        ("p.csv", 'id,prompt\n"a","x\ny"\nb," "\n', ", row 2 (line 4): key 'prompt' is empty"),
        ("p.csv", "prompt,max_new_tokens\na,many\n", "key 'max_new_tokens': expected a whole number, found a text."),
        ("p.csv", 'prompt,tags\na,"[1"\n', ", row 1 (line 2), key 'tags': not valid JSON: "),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str, expected: str) -> None:
    message = fault(tmp_path, name, content)
    assert expected in message, message
    assert len(message) < 400


def test_a_missing_file_brings_those_nearby(tmp_path: Path) -> None:
    write(tmp_path, "prompts.jsonl", "")
    write(tmp_path, "other.bin", "")
    with pytest.raises(ConfigError, match=r"there is no prompt file 'promts.jsonl'. Did you mean prompts.jsonl\?"):
        load_prompts("promts.jsonl", WHERE, tmp_path)
    with pytest.raises(ConfigError, match=r"Prompt files there: prompts.jsonl\."):
        load_prompts("zzz.csv", WHERE, tmp_path)
    with pytest.raises(ConfigError, match="There is no folder"):
        load_prompts("no/such/p.csv", WHERE, tmp_path)


def test_other_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("folder.txt", "a\x00b.txt", "~nobody-of-that-name/p.txt"):
        with pytest.raises(ConfigError, match=r"\A--llm-prompts: [^\n]+\Z"):
            load_prompts(name, WHERE, tmp_path)
    with pytest.raises(ConfigError, match=r"'p.xml' must be a .yaml, .yml, .json, .jsonl, .csv or .txt file"):
        load_prompts("p.xml", WHERE, tmp_path)
