"""A configuration of promptfoo becomes test files that load, and what does not is named with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pytest_llmci.errors import ConfigError
from pytest_llmci.testfiles.promptfoo.convert import Converted, convert
from pytest_llmci.testfiles.schema import schema

NAME = "promptfooconfig.yaml"
GPT2 = "providers: [huggingface:text-generation:gpt2]\n"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    def make(text: str, named: Any = None, **files: str) -> Converted:
        for name, content in files.items():
            (tmp_path / name.replace("__", ".")).write_text(content, "utf-8")
        (tmp_path / NAME).write_text(text, "utf-8")
        return convert(tmp_path / NAME, NAME, **(named or {}))

    return make


def document(found: Converted) -> Any:
    (text,) = found.files.values()
    data = yaml.safe_load(text)
    assert Draft202012Validator(schema()).is_valid(data)
    return data


def rows(found: Converted) -> list[Any]:
    data = document(found)
    return [row for test in data.get("tests", [data]) for row in test["prompts"]]


def test_prompts_times_tests_become_rows(made: Any) -> None:
    found = made(
        GPT2
        + "prompts: ['Say {{word}}.', 'Shout {{ word }}!']\n"
        + "tests:\n  - {description: A colour, vars: {word: red}, assert: [{type: icontains, value: '{{word}}'}]}\n  - vars: {word: blue}\n"
    )
    assert list(found.files) == ["test_promptfoo.llm.yaml"]
    assert document(found) == {
        "models": ["gpt2"],
        "tests": [
            {"name": "prompt-1", "prompts": [{"id": "A-colour", "prompt": "Say red.", "checks": ["icontains:red"]}, {"id": "blue", "prompt": "Say blue."}]},
            {"name": "prompt-2", "prompts": [{"id": "A-colour", "prompt": "Shout red!", "checks": ["icontains:red"]}, {"id": "blue", "prompt": "Shout blue!"}]},
        ],
    }  # fmt: skip
    assert (found.tests, found.rows, found.checks, found.models, found.left, found.differs) == (2, 4, 2, 1, (), ())


def test_one_prompt_alone_is_one_test_and_common_checks_stand_at_the_top(made: Any) -> None:
    found = made(
        "prompts: [{raw: 'Say {{w}}.', label: Plain words}]\n"
        "defaultTest: {assert: [{type: latency, threshold: 1500}], vars: {w: red, x: 1}}\n"
        "tests: [{}, {vars: {w: blue}, assert: [{type: equals, value: blue}]}]\n"
    )
    assert document(found) == {
        "name": "Plain-words", "checks": ["latency:1.5s"],
        "prompts": [{"id": "red-1", "prompt": "Say red."}, {"id": "blue-1", "prompt": "Say blue.", "checks": ["equals:blue"]}],
    }  # fmt: skip


def test_lists_of_values_are_multiplied_out(made: Any) -> None:
    text = "prompts: ['{{a}} {{b}}']\ntests: [{vars: {a: [1, 2], b: [x, true]}}]\n"
    assert [row["prompt"] for row in rows(made(text))] == ["1 x", "1 true", "2 x", "2 true"]
    text = "prompts: ['{{a}}']\ntests: [{vars: {a: [1, 2]}, options: {disableVarExpansion: true}}]\n"
    assert [row["prompt"] for row in rows(made(text))] == ["[1,2]"]


def test_options_of_a_test_are_heeded(made: Any) -> None:
    found = made(
        "prompts: [Hi]\ndefaultTest: {assert: [{type: is-json}], options: {prefix: 'A ', provider: openai:x}}\n"
        "tests: [{options: {suffix: ' B'}}, {options: {disableDefaultAsserts: true}}]\n"
    )
    assert rows(found) == [{"id": "case-1", "prompt": "A Hi B", "checks": ["json"]}, {"id": "case-2", "prompt": "A Hi"}]
    assert found.left == ()


def test_chats_go_through_messages(made: Any) -> None:
    chat = '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{q}}"}]'
    wanted = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    for text, files in (
        ("prompts: [file://chat.json]\n", {"chat__json": chat}),
        (
            "prompts: [file://chat.yaml]\n",
            {"chat__yaml": "- {role: system, content: Be brief.}\n- {role: user, content: '{{q}}'}\n"},
        ),
        (f"prompts: ['{chat}']\n", {}),
    ):
        assert rows(made(text + "tests: [{vars: {q: 'Why?'}}]\n", **files))[0]["messages"] == wanted


def test_prompts_of_files(made: Any) -> None:
    found = made(
        "prompts: [file://a.txt, b.md, 'file://*.csv', nothing.txt is here]\n",
        a__txt="One\ntwo\n---\nThree\n", b__md="# Four\n", c__csv="prompt,label\nFive,five\n",
    )  # fmt: skip
    assert [row["prompt"] for row in rows(found)] == ["One\ntwo", "Three", "# Four", "Five", "nothing.txt is here"]
    assert [test["name"] for test in document(found)["tests"]] == ["a", "a-2", "b", "five", "prompt-5"]


def test_tests_of_files(made: Any) -> None:
    found = made(
        "prompts: ['{{q}}']\ntests: [file://t.csv, file://t.yaml, file://t.jsonl, {vars: {q: file://q.txt}}]\n",
        t__csv='q,__expected,__expected2,__description,__metadata:x\nA?,"contains-any: a, b",,first,1\nB?,b,"regex:\\d",,\n',
        t__yaml="- vars: {q: 'C?'}\n", t__jsonl='{"vars": {"q": "D?"}}\n\n{"vars": {"q": "F?"}}\n', q__txt=" E?\n",
    )  # fmt: skip
    assert rows(found) == [
        {"id": "first", "prompt": "A?", "checks": [{"contains_any": ["a", "b"]}]},
        {"id": "B", "prompt": "B?", "checks": ["equals:b", r"regex:(?a)\d"]},
        {"id": "C", "prompt": "C?"}, {"id": "D", "prompt": "D?"}, {"id": "F", "prompt": "F?"}, {"id": "E", "prompt": "E?"},
    ]  # fmt: skip
    assert rows(made("prompts: ['{{q}}']\ntests: file://t.csv\n", t__csv="q\nA?\n"))[0]["prompt"] == "A?"


def test_what_is_expected_may_stand_in_a_file(made: Any) -> None:
    found = made(
        "prompts: [Hi]\ntests: [{assert: [{type: equals, value: file://w.txt}, {type: contains-any, value: file://w.yaml}]}]\n",
        w__txt=" Ho\n", w__yaml="[a, b]\n",
    )  # fmt: skip
    assert rows(found)[0]["checks"] == ["equals:Ho", {"contains_any": ["a", "b"]}]


@pytest.mark.parametrize("cell", ["fn: output.length < 9", "javascript: true", "eval: true", "file://judge.py"])
def test_code_in_a_cell_of_a_table_is_not_taken_for_the_answer(made: Any, cell: str) -> None:
    found = made("prompts: ['{{q}}']\ntests: file://t.csv\n", t__csv=f"q,__expected\nA?,{cell}\n")
    assert rows(found) == [{"id": "A", "prompt": "A?"}] and len(found.left) == 1


def test_providers_that_decode_in_different_ways_get_files_of_their_own(made: Any) -> None:
    found = made(
        "prompts: [Hi]\nproviders:\n  - id: huggingface:text-generation:gpt2\n    label: small\n    config: {temperature: 0.5, max_tokens: 9, seed: 1}\n"
        "  - huggingface:text-generation:org/other\n"
    )
    assert list(found.files) == ["test_promptfoo_small.llm.yaml", "test_promptfoo_other.llm.yaml"]
    first, second = (yaml.safe_load(text) for text in found.files.values())
    assert first["models"] == ["small=gpt2"] and second["models"] == ["org/other"]
    assert (first["temperature"], first["max_new_tokens"], first["seed"]) == (0.5, 9, 1) and "temperature" not in second


def test_repeated_tests_are_rounds_or_samples_where_answers_vary(made: Any) -> None:
    text = "prompts: [hi]\nevaluateOptions: {repeat: 3}\nproviders:\n  - id: huggingface:text-generation:gpt2\n"
    greedy = made(text)
    assert document(greedy)["rounds"] == 3 and greedy.left == ()
    drawn = document(made(text + "    config: {temperature: 0.7}\n"))
    assert (drawn["samples"], drawn["min_pass_rate"], drawn["temperature"], "rounds" in drawn) == (3, 1, 0.7, False)
    assert "rounds" not in document(made(text.replace("3", "1")))


def test_what_asks_models_is_translated_where_they_are_named(made: Any) -> None:
    text = (
        GPT2 + "prompts: [hi]\ntests: [{assert: [{type: llm-rubric, value: polite}, {type: similar, value: hello}]}]\n"
    )
    assert len(made(text).left) == 2
    found = made(text, named={"judge": "smollm2", "embedding": "minishlab/potion-base-8M"})
    assert found.left == () and len(found.differs) == 2
    assert rows(found)[0]["checks"] == [
        {"judge": {"model": "smollm2", "rubric": "polite"}},
        {"embedding": {"min": 0.75, "model": "minishlab/potion-base-8M", "reference": "hello"}},
    ]


def test_templates_of_assertions_and_sets_are_followed(made: Any) -> None:
    found = made(
        "prompts: [Hi]\nassertionTemplates: {short: {type: word-count, value: {max: 9}}}\n"
        "tests: [{assert: [{$ref: '#/assertionTemplates/short'}, {type: assert-set, assert: [{type: is-json}, {type: not-contains, value: x}]}]}]\n"
    )
    assert rows(found)[0]["checks"] == ["max_words:9", "json", "not:contains:x"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tests: [{assert: [{type: llm-rubric, value: x}]}]", "3:19: tests[1].assert[1]: llm-rubric: it needs a model as a judge; name one with --judge SPEC, or write it as judge:{...}"),
        ("tests: [{assert: [{type: nonsense}]}]", "3:19: tests[1].assert[1]: no such type of assertion is known: 'nonsense'"),
        ("tests: [{assert: [{type: javascript, value: file://x.js}]}]", "3:19: tests[1].assert[1]: javascript: it is code;"),
        ("tests: [{assert: [{type: is-json, weight: 0}]}]", "3:19: tests[1].assert[1]: is-json: its weight is 0, so nothing can fail"),
        ("tests: [{assert: [{type: is-json, transform: x}]}]", "3:19: tests[1].assert[1]: is-json: what is judged is not the answer but what 'transform' makes of it"),
        ("tests: [{threshold: 0.5, assert: [{type: is-json}]}]", "3:35: tests[1].assert[1]: is-json: a part of its assertions is enough ('threshold: 0.5');"),
        ("tests: [{assert: [{type: assert-set, threshold: 0.5, assert: [{type: is-json}]}]}]", "3:19: tests[1].assert[1]: assert-set: a part of its assertions"),
        ("tests: [{assert: [{type: latency}]}]", "3:19: tests[1].assert[1]: latency: it has no threshold, so nothing can fail"),
        ("tests: [{assert: [{type: regex, value: '(?i)a'}]}]", "3:19: tests[1].assert[1]: regex: '(?i)' is read in other ways by JavaScript and Python"),
        ("tests: [{assert: [{type: is-json, value: {type: nosuch}}]}]", "3:19: tests[1].assert[1]: is-json: check 'json_schema:"),
        ("tests: [{assert: [{type: equals, value: file://none.txt}]}]", "3:19: tests[1].assert[1]: equals: file://none.txt: there is no such file"),
        ("tests: [{assert: [{type: contains, value: '{{a | b}}'}]}]", "3:19: tests[1].assert[1]: contains: a filter or expression of nunjucks"),
        ("tests: [{assert: [5]}]", "3:19: tests[1].assert[1]: an assertion must be a mapping with 'type', found a number (5)"),
        ("tests: [{}, {provider: openai:x}]", "3:13: tests[2]: it is for some models only ('provider')"),
        ("tests: [{}, {providerOutput: x}]", "3:13: tests[2]: it judges an answer of old"),
        ("tests: [{}, {vars: {a: file://x.js}}]", "3:13: tests[2]: variable 'a': file://x.js: it is code"),
        ("tests: [{}, file://t.js]", "3:13: tests[2]: file://t.js: it is code"),
        ("tests: [{}, 'huggingface://datasets/x']", "3:13: tests[2]: huggingface://datasets/x: tests from a network"),
        ("tests: [{options: {transformVars: x}}]", "3:20: tests[1].options.transformVars: 'transformVars' of a test's options has no counterpart"),
        ("tests: [{}]\nscenarios: [file://s.yaml]", "4:13: scenarios[1]: a scenario without 'config' and 'tests' in place"),
        ("evaluateOptions: {repeat: 3, delay: 5}", "3:30: evaluateOptions.delay: it is about how promptfoo runs"),
        ("evaluateOptions: {repeat: x}", "3:19: evaluateOptions.repeat: it is no whole number from 1"),
        ("wrong: 1", "3:1: wrong: this key is not known"),
        ("targets: [openai:gpt-4o]", "3:11: targets[1]: openai:gpt-4o: it is served, and nobody is asked over the network unasked:"),
        ("targets: ['ollama:chat:llama3']", "3:11: targets[1]: ollama:chat:llama3: it is served"),
        ("targets: [file://p.py]", "3:11: targets[1]: file://p.py: it is code;"),
        ("targets: [echo]", "3:11: targets[1]: echo: it gives the prompt back, which no model source here does; give --llm-models"),
        ("targets: ['huggingface:text-classification:x']", "3:11: targets[1]: huggingface:text-classification:x: it is no generator of text"),
        ("targets: [{id: huggingface:text-generation:b, config: {top_p: 1}}]", "3:56: targets[1].config.top_p: 'top_p' of a provider's config has no counterpart"),
        ("targets: [{id: huggingface:text-generation:b, prompts: [x]}]", "3:11: targets[1]: huggingface:text-generation:b: it gets some of the prompts only;"),
    ],
)  # fmt: skip
def test_what_is_not_translated_is_told_with_its_place_and_reason(made: Any, text: str, told: str) -> None:
    found = made(f"prompts: [Hi]\n{GPT2}{text}\n")
    (left,) = found.left
    assert left.startswith(f"{NAME}:{told}"), left
    assert not any("checks" in row for row in rows(found))
    assert f"#   {left}\n" in next(iter(found.files.values()))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("{% for x in y %}{{x}}{% endfor %}", "a condition or loop of nunjucks"),
        ("{{env.HOME}}", "a variable of the environment"),
        ("file://p.js", "file://p.js: it is code"),
        ("file://none.txt", "file://none.txt: there is no such file"),
        ("{{empty}}", "nothing is left of the prompt once its variables are filled in"),
    ],
)
def test_a_prompt_that_cannot_be_translated_is_left_out(made: Any, prompt: str, told: str) -> None:
    found = made(f"prompts: [Hi, '{prompt}']\ntests: [{{vars: {{empty: ''}}}}]\n")
    assert [row["prompt"] for row in rows(found)] == ["Hi"]
    assert len(found.left) == 1 and told in found.left[0] and found.left[0].startswith(f"{NAME}:1:15: prompts[2]: ")


def test_what_is_not_quite_the_same_is_told(made: Any) -> None:
    found = made("prompts: ['{{a}} {{b}}']\ntests: [{vars: {a: 1}, assert: [{type: is-refusal}]}]\n")
    assert [line.partition(": ")[2].partition(": ")[2] for line in found.differs] == [
        "the prompt names 'b', which has no value here and so becomes nothing",
        "is-refusal: the phrases that count as a refusal are not the same",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tests: []\n", "promptfooconfig.yaml: no configuration of promptfoo: it has no key 'prompts'."),
        ("- a\n", "promptfooconfig.yaml: no configuration of promptfoo"),
        ("prompts: [\n", "promptfooconfig.yaml:2:1: not valid YAML"),
        ("prompts: [a]\nprompts: [b]\n", "promptfooconfig.yaml:2:1: prompts: the key 'prompts' stands twice"),
        ("prompts: ['{{a|b}}']\n", "promptfooconfig.yaml: nothing in it can be translated, so nothing was written; the first reason: promptfooconfig.yaml:1:11: prompts[1]: a filter"),
        ("prompts: [a]\ntests: file://t.yaml\n", "t.yaml:1:5: not valid YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(made: Any, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(text, t__yaml="a: b: c\n")
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml: cannot be read: No such file"):
        convert(tmp_path / "none.yaml", "none.yaml")
    (tmp_path / "config.js").write_text("x", "utf-8")
    with pytest.raises(ConfigError, match="one in JavaScript is code"):
        convert(tmp_path / "config.js", "config.js")


def test_no_two_rows_share_an_id(made: Any) -> None:
    found = made("prompts: [Hi]\ntests: [{description: a}, {description: a-2}, {description: a}, {description: a}]\n")
    names = [row["id"] for row in rows(found)]
    assert len(set(names)) == 4


def test_texts_for_chat_models_behind_servers_become_messages(made: Any) -> None:
    """promptfoo sends them as a message of the user; to a generator of text they go as they are."""
    as_message = {"messages": [{"role": "user", "content": "Hi"}]}
    for providers, expected, told in (
        ("[openai:gpt-4o]", as_message, 0), ("['ollama:chat:x', echo]", as_message, 0), ("['openai:completion:x']", {"prompt": "Hi"}, 0),
        ("[openai:gpt-4o, huggingface:text-generation:gpt2]", {"prompt": "Hi"}, 1), ("[]", {"prompt": "Hi"}, 0),
    ):  # fmt: skip
        found = made(f"prompts: [Hi]\nproviders: {providers}\n")
        assert rows(found) == [{"id": "case-1", **expected}]
        assert len(found.differs) == told


def test_scenarios_are_multiplied_out(made: Any) -> None:
    found = made(
        "prompts: ['{{a}} {{b}}']\nscenarios:\n  - config: [{vars: {a: 1}}, {vars: {a: 2}, assert: [{type: is-json}]}]\n"
        "    tests: [{vars: {b: x}}, {vars: {b: y}, description: last}]\n"
    )
    assert [(row["id"], row["prompt"], row.get("checks", [])) for row in rows(found)] == [
        ("1-x", "1 x", []), ("last", "1 y", []), ("2-x", "2 x", ["json"]), ("last-2", "2 y", ["json"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("promptfooconfig.fast.yaml", "test_fast.llm.yaml"), ("My config.yml", "test_My_config.llm.yaml"), ("test_it.json", "test_it.llm.yaml"),
    ],
)  # fmt: skip
def test_the_file_is_called_like_its_configuration(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / name).write_text('{"prompts": ["Hi"]}', "utf-8")
    assert list(convert(tmp_path / name, name).files) == [file]
