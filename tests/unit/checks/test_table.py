from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest

from pytest_llmci.checks import CHECKS, DEFAULT_CHECK, NEED_THE_EXTRA, canonical, parse_check, register
from pytest_llmci.checks.base import CheckInput
from pytest_llmci.checks.elsewhere import ELSEWHERE
from pytest_llmci.checks.exemplars import run_exemplars
from pytest_llmci.errors import CheckError, ConfigError, MissingExtraError, MissingValue, UnknownNameError
from pytest_llmci.records import CheckResult, Prompt
from pytest_llmci.registry import Registry


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    register(made)
    return made


WITHOUT_ARGUMENT = (
    "valid",
    "non_empty",
    "special_tokens",
    "no_special_tokens",
    "repetition",
    "contains_json",
    "refusal",
    "json",
)
OPTIONAL = ("json", "equals", "iequals", "number", "choice")
LIBRARIES = {
    "language": "py3langid",
    "bleu": "sacrebleu",
    "chrf": "sacrebleu",
    "edit_similarity": "rapidfuzz",
    "edit_distance": "rapidfuzz",
}


def needs(name: str) -> None:
    if name == "embedding":
        pytest.importorskip("model2vec")
    if name in NEED_THE_EXTRA:
        pytest.importorskip(LIBRARIES.get(name, "rouge_score"))


def output(text: str, **more: object) -> CheckInput:
    given: dict[str, object] = {"finish_reason": "stop", "prompt": Prompt(id="p", text="?"), **more}
    return CheckInput(text=text, **given)  # type: ignore[arg-type]  # as the test says


@pytest.mark.parametrize("name", CHECKS)
def test_every_exemplar_gets_its_verdict(name: str, registry: Registry) -> None:
    needs(name)
    found = list(run_exemplars(registry, [name]))
    assert [(result.check, result.message) for result in found if result.state != "right"] == []
    assert {result.passes for result in found} == {True, False}


@pytest.mark.parametrize("name", CHECKS)
def test_messages_are_one_short_line_and_names_are_texts(name: str, registry: Registry) -> None:
    needs(name)
    factory = registry.load("check", name, "test")
    for exemplar in factory.exemplars:  # type: ignore[attr-defined]  # every check has some
        check = parse_check(exemplar.check, registry, "marker")
        assert canonical(exemplar.check, registry, "marker") == check.text  # type: ignore[attr-defined]  # so has it
        for sample in ("Paris 5", "", "a\nb\x1b[31m\u202e" * 300):
            try:
                result = check(
                    output(sample, prompt=Prompt(id="p", text="?", reference="Paris B 5"), values={"output_tokens": 3})
                )
            except (CheckError, MissingValue) as error:
                result = CheckResult(name=check.text, passed=False, message=str(error))  # type: ignore[attr-defined]
            assert result.name == check.text  # type: ignore[attr-defined]
            assert result.message and "\n" not in result.message and "\x1b" not in result.message
            assert len(result.message) < 400


@pytest.mark.parametrize("name", CHECKS)
def test_a_text_in_its_own_spelling_stays_as_it_is(name: str, registry: Registry) -> None:
    needs(name)
    for exemplar in registry.load("check", name, "test").exemplars:  # type: ignore[attr-defined]  # every check has some
        once = canonical(exemplar.check, registry, "marker")
        assert canonical(once, registry, "marker") == once


def test_hyphens_and_capitals_are_our_names_too(registry: Registry) -> None:
    assert canonical("Contains-Any: a ,b", registry, "marker") == "contains_any: a ,b"
    assert canonical("not:Max-Words: 5", registry, "marker") == "not:max_words:5"


@pytest.mark.parametrize("name", WITHOUT_ARGUMENT)
def test_arguments_where_there_are_none(name: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=f"marker: check '{name}:x': '{name}' takes no argument"):
        parse_check(f"{name}:x", registry, "marker")
    assert canonical(f"{name}:true", registry, "marker") == name  # {json: true} in YAML


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in (*WITHOUT_ARGUMENT, *OPTIONAL)])
def test_missing_arguments(name: str, registry: Registry) -> None:
    needs(name)
    for text in (name, f"{name}:"):
        with pytest.raises(ConfigError, match=f"^marker: check '{text}': .* is missing; write it like '{name}:"):
            parse_check(text, registry, "marker")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_words:many", "not a count"),
        ("max_words:0", "at least 1"),
        ("max_words:-1", "not a count"),
        ("max_words:1.5", "not a count"),
        ("max_words:9999999999999999", "not a count"),
        ("regex:(", "not a regular expression"),
        ("regex:a{2,1}", "not a regular expression"),
        ("regex:[[a]b]", "FutureWarning|not a regular expression"),
        ("contains_any:,", "none of them empty"),
        ('contains_any:["a"', "not JSON"),
        ("contains_all:[]", "none of them empty"),
        ("contains_all:[{}]", "none of them empty"),
        ("json_schema:{", "not JSON"),
        ("json_schema:5", "a schema is a JSON object"),
        ("json_schema:schema.json", "'schema.json' is the name of a file, and the schema itself is wanted"),
        ('json_schema:{"type":"objekt"}', "the schema is not valid: 'objekt' is not valid"),
        ('json:{"fense":true}', "Did you mean 'fence'"),
        ('json:{"fence":"yes"}', "fence must be true or false"),
        ("number:many", "the expected number must be a number"),
        ("number:nan", "the expected number must be a number"),
        ('number:{"value":1,"tolerance":-1}', "tolerance must be a number of at least 0"),
        ('number:{"value":1,"decimal":";"}', "decimal must be"),
        ("choice:b", "one capital letter"),
        ('choice:{"is":"E","of":"ABCD"}', "one capital letter of ABCD"),
        ("latency:soon", "soon"),
        ("latency:0", "longer than zero"),
        ("cost:-1", "at least 0"),
        ("perplexity:0.5", "of at least 1"),
        ("perplexity:nan", "greatest perplexity must be a number"),
        ("reference_logprob:1", "from -inf to 0"),
        ("judge:polite", "the model is missing"),
        ('judge:{"model":"a"}', "the rubric is missing"),
        ('judge:{"model":"a","rubric":"b","max_new_tokens":0}', "not a count"),
        ('judge:{"model":"","rubric":"b"}', "model must be a text"),
        ("not:max_words:x", "'max_words:x'.* not a count"),
        ("not:nothing", "unknown check 'nothing'"),
        ("any_of:[]", "at least one"),
        ('all_of:["json",5]', "expected a check, found the number 5"),
        ("python:no colon", "package.module:attribute"),
        ("python:no_such_module_x:f", "cannot be imported"),
        ("python:builtins:no_such", "no attribute"),
        ("python:sys:version", "is no function"),
    ],
)
def test_unreadable_arguments_are_one_line(text: str, reason: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_check(text, registry, "marker")
    assert str(caught.value).startswith("marker: check ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_an_unknown_check_brings_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'regex'"):
        parse_check("regexp:a", registry, "marker")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("is-json", "Here it is called 'json'."),
        ("levenshtein:5", "Here it is called 'edit_distance'."),
        ("not-contains:x", "Write it as 'not:contains:...'."),
        ("not-is-json", "Write it as 'not:json:...'."),
        ("exact_match", "Here it is called 'equals'."),
    ],
)
def test_names_of_other_tools_are_translated(text: str, told: str, registry: Registry) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_check(text, registry, "marker")
    assert told in str(caught.value)


def test_a_translation_is_never_one_of_our_own_names() -> None:
    assert not ELSEWHERE.keys() & CHECKS.keys()


def test_the_default_is_registered() -> None:
    assert DEFAULT_CHECK in CHECKS


def polite(argument: str) -> Callable[[CheckInput], CheckResult]:
    if argument == "never":
        raise ConfigError("politeness is not optional.")
    return lambda output: CheckResult(name="polite", passed="please" in output.text, message="")


def broken(argument: str) -> Callable[[CheckInput], CheckResult]:
    if argument == "leave":
        raise SystemExit
    raise KeyError(argument)


NOT_CALLABLE = 5


def test_checks_of_others(registry: Registry) -> None:
    registry.add("check", "po-lite", f"{__name__}:polite")
    assert parse_check("po-lite", registry, "marker")(output("please")).passed
    assert not parse_check("not:po-lite", registry, "marker")(output("please")).passed
    with pytest.raises(ConfigError, match=r"marker: check 'po-lite:never': politeness is not optional"):
        parse_check("po-lite:never", registry, "marker")
    registry.add("check", "odd", f"{__name__}:NOT_CALLABLE")
    with pytest.raises(ConfigError, match="'odd' is registered as something that cannot be called"):
        parse_check("odd", registry, "marker")
    registry.add("check", "absent", "no_such_package_at_all:Check", extra="some[extra]")
    with pytest.raises(MissingExtraError, match=r"pip install 'some\[extra\]'"):
        parse_check("absent", registry, "marker")
    with pytest.raises(MissingExtraError, match=r"pip install 'some\[extra\]'"):
        parse_check("not:absent", registry, "marker")


def test_a_check_that_raises_when_it_is_built_is_one_line(registry: Registry) -> None:
    registry.add("check", "broken", f"{__name__}:broken")
    with pytest.raises(ConfigError, match=r"^prompts.yaml: check 'broken:x' cannot be built: KeyError: 'x'$"):
        parse_check("broken:x", registry, "prompts.yaml")
    with pytest.raises(ConfigError, match=r"cannot be built: SystemExit$"):
        parse_check("broken:leave", registry, "prompts.yaml")


@pytest.mark.parametrize("name", sorted(NEED_THE_EXTRA))
def test_a_missing_extra_is_one_line_with_the_command(
    name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in (
        "py3langid",
        "rouge_score",
        "rouge_score.rouge_scorer",
        "sacrebleu",
        "sacrebleu.metrics",
        "rapidfuzz",
        "rapidfuzz.distance",
    ):
        monkeypatch.setitem(sys.modules, package, None)
    sys.modules.pop("pytest_llmci.checks.languages", None)
    argument = {"language": "en", "edit_distance": "5"}.get(name, "0.5")
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llmci\[checks\]'\.$") as caught:
        parse_check(f"{name}:{argument}", registry, "marker")
    assert "\n" not in str(caught.value)
    (found, *_) = run_exemplars(registry, [name])
    assert found.state == "not run"


# --------------------------------------------------------------------------------------------------- foreign exemplars


def test_exemplars_that_are_missing_or_wrong_are_told(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.checks import Exemplar

    class Shouts:
        exemplars = (
            Exemplar(check="shouts", text="HELLO", passes=True),
            Exemplar(check="shouts", text="hello", passes=True),
            Exemplar(check="shouts", text="hello", passes=False, says="quiet"),
            Exemplar(check="shouts", text="5", passes=False),
        )

        def __init__(self, argument: str) -> None:
            pass

        def __call__(self, output: CheckInput) -> CheckResult:
            if output.text.isdigit():
                raise RuntimeError("no letters")
            return CheckResult(name="shouts", passed=output.text.isupper(), message="")

    module = types.ModuleType("foreign_checks")
    module.__dict__["Shouts"] = Shouts
    monkeypatch.setitem(sys.modules, "foreign_checks", module)
    registry.add("check", "shouts", "foreign_checks:Shouts")
    registry.add("check", "bare", f"{__name__}:polite")
    found = list(run_exemplars(registry, ["shouts", "bare"]))
    assert [result.state for result in found] == ["right", "wrong", "wrong", "wrong", "wrong"]
    assert "expected 'quiet' in its message" in found[2].message
    assert found[3].message == "it raised RuntimeError: no letters"
    assert "ships no exemplar" in found[4].message
