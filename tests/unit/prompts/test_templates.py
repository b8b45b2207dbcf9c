import json
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.prompts import load_prompts, read_prompts
from pytest_llmci.prompts.base import Row
from pytest_llmci.prompts.rows import to_prompt
from pytest_llmci.prompts.template import parse_template
from pytest_llmci.records import Message, Prompt
from pytest_llmci.redaction import hashed_id


def load(folder: Path, content: object, name: str = "p.json") -> tuple[Prompt, ...]:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_prompts(str(path), "x")


def faults(folder: Path, content: object, name: str = "p.json") -> list[str]:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    found = [str(fault) for fault in read_prompts(str(path), "x").faults]
    assert all(fault.startswith(str(path)) and "\n" not in fault for fault in found)
    return [fault.removeprefix(f"{path}, ") for fault in found]


# ------------------------------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{a}}{{ b }}{{\ta\n}}", "121"),
        ('{"x": {"y": "{{a}}"}}', '{"x": {"y": "1"}}'),
        ("{{ '{{' }}a}}", "{{a}}"),
        ('{{ "{% if" }}', "{% if"),
        ("{a} {% 5 %}", "{a} {% 5 %}"),
    ],
)
def test_placeholders(text: str, expected: str) -> None:
    assert parse_template(text, "x").filled({"a": "1", "b": "2"}) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ a | upper }}", "'{{ a | upper }}' is no placeholder"),
        ("{{a", "'{{a' is no placeholder"),
        ("{{1a}}", "'{{1a}}' is no placeholder"),
        ("{{}}", "'{{}}' is no placeholder"),
        ("{{- a -}}", "'{{- a -}}' is no placeholder"),
        ("{% for x in y %}", "'{% for x in y %}': a template has placeholders"),
        ("{%- if x %}", "no statements"),
    ],
)
def test_what_other_languages_could_do(text: str, shown: str) -> None:
    with pytest.raises(ConfigError, match="row 1") as caught:
        parse_template(text, "row 1")
    assert shown in str(caught.value)


def test_a_value_is_not_looked_at_again(tmp_path: Path) -> None:
    (prompt,) = load(tmp_path, [{"template": "Say {{a}}", "variables": {"a": "{{b}}"}}])
    assert prompt.text == "Say {{b}}"


def test_every_combination_in_order_with_stable_ids(tmp_path: Path) -> None:
    row = {
        "id": "tr",
        "template": "{{text}} in {{language}}",
        "variables": {"text": ["hi", "bye"], "language": ["French", "German"]},
    }
    found = load(tmp_path, [row])
    assert [prompt.text for prompt in found] == ["hi in French", "hi in German", "bye in French", "bye in German"]
    assert [prompt.id for prompt in found] == ["tr-hi-French", "tr-hi-German", "tr-bye-French", "tr-bye-German"]
    assert found[1].variables == {"text": "hi", "language": "German"}
    assert found[1].source.endswith("p.json, row 1, combination 2")
    row["variables"] = {"text": ["hi"], "language": "French"}
    assert [prompt.id for prompt in load(tmp_path, [row])] == ["tr-hi-French"], "one value more renames none"


def test_the_id_may_say_where_the_values_go(tmp_path: Path) -> None:
    row = {"id": "{{b}}.of.{{a}}", "template": "{{a}}{{b}}", "variables": {"a": ["x y", "z"], "b": 1}}
    assert [prompt.id for prompt in load(tmp_path, [row])] == ["1.of.x-y", "1.of.z"]


def test_values_whose_ids_would_run_into_each_other_are_told_apart(tmp_path: Path) -> None:
    row = {"id": "t", "template": "{{a}}/{{b}}", "variables": {"a": ["x", "x, y"], "b": ["y, z", "z"]}}
    ids = [prompt.id for prompt in load(tmp_path, [row])]
    assert len(set(ids)) == 4
    assert ids[0].startswith("t-x-y-z-") and ids[3].startswith("t-x-y-z-")
    assert [ids[1], ids[2]] == ["t-x-z", "t-x-y-y-z"]


def test_values_do_not_reach_ids_that_must_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps(
            [
                {"id": "t", "template": "{{a}}", "variables": {"a": "salary"}},
                {"template": "{{a}}", "variables": {"a": "Bob"}},
            ]
        )
    )
    found = load_prompts(str(path), "x", make_id=hashed_id)
    assert not any("salary" in prompt.id or "Bob" in prompt.id for prompt in found)


def test_values_that_belong_together(tmp_path: Path) -> None:
    row = {
        "id": "capital", "template": "What is the capital of {{country}}?", "reference": "{{capital}}", "tags": ["geo", "{{country}}"],
        "checks": ["contains:{{capital}}", {"similar": {"reference": '{{capital}} "!"', "min": 0.5}}],
        "variables": [{"country": ["France", "la France"], "capital": "Paris"}, {"country": "Spain", "capital": "Madrid"}],
    }  # fmt: skip
    found = load(tmp_path, [row])
    assert [prompt.reference for prompt in found] == ["Paris", "Paris", "Madrid"]
    assert found[2].text == "What is the capital of Spain?"
    assert found[2].tags == ("geo", "Spain")
    assert found[2].checks == ("contains:Madrid", 'similar:{"min":0.5,"reference":"Madrid \\"!\\""}')


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.csv", 'city,size\nRome,big\n"Paris, TX",small\n'),
        ("v.json", '[{"city": "Rome", "size": "big"}, {"city": "Paris, TX", "size": "small"}]'),
        ("v.jsonl", '{"city": "Rome", "size": "big"}\n\n{"city": "Paris, TX", "size": "small"}\n'),
        ("v.yaml", "- {city: Rome, size: big}\n- {city: 'Paris, TX', size: small}\n"),
    ],
)
def test_variables_of_a_file_beside_the_prompts(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = load(tmp_path, [{"template": "{{city}} is {{size}}", "variables": name}])
    assert [prompt.text for prompt in found] == ["Rome is big", "Paris, TX is small"]


def test_messages_and_system(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [{"role": "system", "content": "Be {{how}}."}, {"role": "user", "content": "Hi"}],
            "variables": {"how": ["brief", "kind"]},
        },
        {"prompt": "{{as it is}}", "system": "Be brief."},
        {"template": "Hi {{name}}", "system": "You are {{role}}.", "variables": {"name": "Bob", "role": "a cook"}},
        {"messages": [{"role": "user", "content": "{{raw}}"}]},
    ]
    found = load(tmp_path, rows)
    assert [prompt.messages[0].content for prompt in found[:2]] == ["Be brief.", "Be kind."]
    assert found[2].messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="{{as it is}}"),
    )
    assert found[3].shown == "system: You are a cook.\nuser: Hi Bob"
    assert found[4].shown == "user: {{raw}}", "without variables nothing is a placeholder"


def test_another_system_prompt_renames_no_cell(tmp_path: Path) -> None:
    ids = [
        [
            prompt.id
            for prompt in load(
                tmp_path,
                {
                    "defaults": {"system": text},
                    "prompts": ["Hi", {"template": "Ho"}, {"messages": [{"role": "user", "content": "He"}]}],
                },
            )
        ]
        for text in ("A.", "B.")
    ]
    assert ids[0] == ids[1] == ["Hi", "Ho", "user-He"]


def test_defaults_without_anything_are_none(tmp_path: Path) -> None:
    [prompt] = load(tmp_path, {"defaults": None, "prompts": ["Hi"]})
    assert (prompt.text, prompt.tags, prompt.checks) == ("Hi", (), ())


def test_defaults(tmp_path: Path) -> None:
    defaults = {
        "system": "Be brief.",
        "tags": "all",
        "checks": [{"max_words": 40}],
        "max_new_tokens": 9,
        "variables": {"who": ["Ann", "Bob"], "unused": [1, 2]},
    }
    rows = [
        "Hi",
        {"prompt": "Own", "system": "", "tags": ["one"], "checks": [], "max_new_tokens": 3},
        {"id": "t", "template": "Greet {{who}}."},
        {"messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": "x"}]},
    ]
    first, own, ann, bob, chat = load(tmp_path, {"defaults": defaults, "prompts": rows})
    assert (first.shown, first.tags, first.checks, first.max_new_tokens) == (
        "system: Be brief.\nuser: Hi",
        ("all",),
        ("max_words:40",),
        9,
    )
    assert (own.text, own.tags, own.checks, own.max_new_tokens) == ("Own", ("one",), (), 3)
    assert [ann.id, bob.id] == ["t-Ann", "t-Bob"] and ann.variables == {"who": "Ann"}
    assert chat.messages[0].content == "Mine."


def test_texts_in_files(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes("\ufeffLine {{one}}.\r\nLine two.\n\n".encode())
    rows = [{"id": "a", "prompt_file": "long.txt"}, {"id": "b", "template_file": "long.txt", "variables": {"one": 1}}]
    first, second = load(tmp_path, rows)
    assert first.text == "Line {{one}}.\r\nLine two.\n", "but for the last line feed as it is"
    assert second.text == "Line 1.\r\nLine two.\n"


def test_csv(tmp_path: Path) -> None:
    content = 'id,template,variables,checks,system\nt,Say {{a}},"{""a"": [1, 2]}","{""max_words"": 3}",Be brief.\n,Say hi,,,\n'
    found = load(tmp_path, content, "p.csv")
    assert [prompt.shown for prompt in found] == [
        "system: Be brief.\nuser: Say 1",
        "system: Be brief.\nuser: Say 2",
        "Say hi",
    ]
    assert found[0].checks == ("max_words:3",)


def test_yaml_takes_for_a_number_what_looks_like_one(tmp_path: Path) -> None:
    found = load(tmp_path, "- {id: t, template: '{{a}}', variables: {a: [12:30, 010, 1_0, -3, 0]}}", "p.yaml")
    assert [prompt.text for prompt in found] == ["12:30", "010", "1_0", "-3", "0"]


def test_one_row_one_prompt() -> None:
    row = Row(position="row 1", value={"template": "{{a}}", "variables": {"a": [1, 2]}})
    with pytest.raises(ConfigError, match=r"x, row 1: its variables make 2 prompts of it, but one is wanted here\."):
        to_prompt(row, "x")


# ---------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"template": "{{x}} {{y}}", "variables": {"x": 1}}, "key 'template': the placeholder {{y}} has no variable; known are x."),
        ({"template": "{{x}}"}, "the placeholder {{x}} has no variable; the row has no 'variables'."),
        ({"template": "{{x}}", "variables": {"x": 1, "q": 2}}, "key 'variables': 'q' is used by no placeholder; write {{q}} where it belongs"),
        ({"template": "a", "reference": "{{z}}"}, "key 'reference': the placeholder {{z}} has no variable"),
        ({"template": "a", "system": "{{z}}"}, "key 'system': the placeholder {{z}}"),
        ({"template": "a", "checks": [{"not": {"contains": "{{z}}"}}]}, "key 'checks': the placeholder {{z}}"),
        ({"prompt": "{{x}}", "variables": {"x": 1}}, "key 'variables' needs placeholders, and a 'prompt' goes to the model as it is; write 'template'."),
        ({"prompt": "a", "template": "b"}, "both 'prompt' and 'template' are given"),
        ({"template": "{{x}}", "variables": {"x": []}}, "key 'variables', 'x': the list is empty"),
        ({"template": "{{x}}", "variables": {"x": [1, "1"]}}, "key 'variables', 'x': '1' stands twice"),
        ({"template": "{{x}}", "variables": {"x": 1.1}}, "put it in quotes, found the number 1.1."),
        ({"template": "{{x}}", "variables": {"x": [True]}}, "put it in quotes, found the truth value true."),
        ({"template": "{{x}}", "variables": {"x": {"y": 1}}}, "found a mapping."),
        ({"template": "{{x}}", "variables": {"x-y": 1}}, "'x-y' is no name for a variable"),
        ({"template": "{{x}}", "variables": 5}, "expected a mapping of names to values, such as {city: [Paris, Rome]}, found the number 5."),
        ({"template": "{{x}}", "variables": []}, "key 'variables': there is no value"),
        ({"template": "{{x}}", "variables": [{"x": 1}, {"y": 1}]}, "combination 2 and the first one have different names (x, y)"),
        ({"template": "{{x}}", "variables": [{"x": 1}, 3]}, "key 'variables', entry 2: expected a mapping"),
        ({"template": "{{x}}", "variables": "none.csv"}, "key 'variables': cannot read 'none.csv' in '"),
        ({"template": "{{x}}", "variables": "x.txt"}, "key 'variables': 'x.txt' is neither a mapping of names to values nor a file"),
        ({"template": "{{a}}{{b}}", "variables": {"a": list(range(400)), "b": list(range(400))}}, "160,000 combinations, but a row may have 100,000 at most"),
        ({"prompt_file": "none.txt"}, "key 'prompt_file': cannot read 'none.txt' in '"),
        ({"prompt_file": 3}, "key 'prompt_file': expected text"),
        ({"template": " "}, "key 'template' is empty"),
        ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "system": "c"}, "key 'system': the messages begin with one"),
        ({"id": "a b", "template": "x"}, "key 'id': 'a b' cannot be part of a test's name"),
        ({"id": "{{z}}", "template": "x"}, "key 'id': the placeholder {{z}} has no variable"),
        ({"prompt": "x", "checks": [{"a": 1, "b": 2}]}, "key 'checks': expected a check, found a mapping of 2 keys"),
        ({"prompt": "x", "checks": [5]}, "key 'checks': expected a check, found the number 5"),
    ],
)  # fmt: skip
def test_one_line_names_row_and_key(tmp_path: Path, row: object, expected: str) -> None:
    (found,) = faults(tmp_path, ["fine", row])
    assert found.startswith("row 2: ")
    assert expected in found


def test_every_fault_of_every_row_is_told(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a b",
            "template": "{{x}} {{y|upper}}",
            "variables": {"x": [1, 1]},
            "tags": 5,
            "max_new_tokens": "many",
            "promt": 1,
        },
        {"template": "{{x}} and {{z}}", "variables": {"x": 1, "q": 2}},
        "fine",
        "fine",
    ]
    found = faults(tmp_path, rows)
    keys = [
        "unknown key 'promt'",
        "key 'id'",
        "key 'variables', 'x'",
        "key 'tags'",
        "key 'max_new_tokens'",
        "key 'template': '{{y|upper}}'",
    ]
    assert [line.partition(": ")[2][: len(key)] for line, key in zip(found, keys, strict=False)] == keys
    assert [line.partition(":")[0] for line in found[6:8]] == ["row 2", "row 2"]
    assert "row 3 and row 4 have the same id 'fine'" in found[8]
    assert len(found) == 9
    with pytest.raises(
        ConfigError, match=r"row 1: unknown key 'promt'.* And 8 more: llmci prompts .*p\.json tells them all\."
    ) as caught:
        load_prompts(str(tmp_path / "p.json"), "--llm-prompts")
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_even_be_read_hide_no_others(tmp_path: Path) -> None:
    found = faults(tmp_path, '{"prompt": x}\n"fine"\n{"prompt": 5}\n', "p.jsonl")
    assert [line.partition(":")[0] for line in found] == ["row 1 (line 1)", "row 3 (line 3)"]
    found = faults(tmp_path, 'id,prompt\na\nb,fine\nc,x,y\n,\n"d",\n', "p.csv")
    assert [line.partition(":")[0] for line in found] == ["row 1 (line 2)", "row 3 (line 4)", "row 4 (line 6)"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"defaults": {"prompt": "x"}, "prompts": ["a"]}, "defaults: unknown key 'prompt'"),
        ({"defaults": [], "prompts": ["a"]}, "defaults: expected a mapping with keys such as 'system', found a list."),
        ({"defaults": {"tags": 5}, "prompts": ["a"]}, "row 1: key 'tags'"),
    ],
)
def test_faults_of_defaults(tmp_path: Path, content: object, expected: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        load_prompts(str(path), "x")
    assert expected in str(caught.value)
