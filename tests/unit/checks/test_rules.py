"""The rules that checks state, case by case."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest
from waiting import PATIENCE_S

from pytest_llmci.checks import Check, CheckInput, parse_check, register
from pytest_llmci.checks.choices import chosen
from pytest_llmci.checks.custom import PythonCheck
from pytest_llmci.checks.numeric import last_number
from pytest_llmci.errors import CheckError, MissingValue
from pytest_llmci.records import CheckResult, Missing, Prompt
from pytest_llmci.registry import Registry

REGISTRY = Registry()
register(REGISTRY)


def build(text: str) -> Check:
    return parse_check(text, REGISTRY, "test")


def judge(
    text: str, output: str, reference: str | None = None, finish: str = "stop", **values: float | Missing
) -> CheckResult:
    given = CheckInput(
        text=output, finish_reason=finish, prompt=Prompt(id="p", text="?", reference=reference), values=values
    )
    return build(text)(given)


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000", 1000), ("1,234,567.5", 1234567.5), ("$1,000.", 1000), ("It costs -$5", -5), ("x=-5", -5), ("(\u22123)", -3), ("5-3", 3),
        ("2020-24", 24), ("a-5", 5), ("f(2)-3", 3), ("=-.5", -0.5), ("10.", 10), ("1.5.", 1.5), ("1e6", 1e6), ("1e-3", 0.001),
        ("1.5 x 10^3", 1500), (r"1.5 \times 10^{-3}", 0.0015), ("10^6", 1e6), ("2^10", 1024), ("50 %", 50), ("1/2", 0.5), (r"\frac{3}{4}", 0.75),
        ("1'000", 1000), ("1\u202f000", 1000), ("1,23", 23), ("#### 72", 72), ("5kg", 5), ("\u0663", 3), ("7 on 12/05/2020", 7),
        ("3.11.2", None), ("H2O", None), ("none", None), ("", None),
    ],
)  # fmt: skip
def test_the_last_number(text: str, number: float | None) -> None:
    assert last_number(text) == (number if number is None else pytest.approx(number))


def test_a_decimal_comma() -> None:
    assert last_number("1.234,5", ",") == 1234.5
    assert last_number("1.234,5") == 5


@pytest.mark.parametrize("text", ["9" * 5000, "1e9999", "1/0", "10^9999", "0^-1"])
def test_numbers_beyond_all_bounds_equal_nothing(text: str) -> None:
    result = judge('number:{"tolerance":"100%","value":5}', text)
    assert not result.passed and "found inf" in result.message


@pytest.mark.parametrize(
    ("check", "output", "passed"),
    [
        ("number:0.1", "0.1", True),
        ("number:0.3", "0.30000000000000004", True),
        ("number:0.3", "0.3001", False),
        ('number:{"tolerance":0.01,"value":1}', "1.01", True),
        ('number:{"tolerance":0.01,"value":1}', "1.0101", False),
        ('number:{"tolerance":"10%","value":-10}', "-11", True),
        ('number:{"tolerance":"10%","value":-10}', "-11.1", False),
        ("number:0", "0", True),
        ("number:0", "0.0001", False),
    ],
)
def test_tolerance(check: str, output: str, passed: bool) -> None:
    assert judge(check, output).passed is passed


def test_a_reference_without_a_number_cannot_be_compared_with() -> None:
    with pytest.raises(CheckError, match='the reference holds no number: "many"'):
        judge("number", "5", reference="many")


def test_a_huge_output_is_read_fast() -> None:
    begin = time.process_time()
    assert last_number("1,000 and " * 100_000 + "7") == 7
    assert last_number(" " * 1_000_000 + "1" + " " * 1_000_000) == 1
    assert time.process_time() - begin < 5


# ------------------------------------------------------------------------------------------------------------ choices


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("B", ["B"]), ("(B)", ["B"]), ("B) Paris", ["B"]), ("B. Paris", ["B"]), ("**B**", ["B"]), (" \nB\nbecause", ["B"]),
        ("The answer is B.", ["B"]), ("Answer: (B)", ["B"]), ("answer is **B**", ["B"]), (r"\boxed{B}", ["B"]), (r"$\boxed{\text{B}}$", ["B"]),
        ("The answer is A. No, the answer is B.", ["B"]), ("I pick (B), surely", ["B"]), ("(A) or (B)", ["A", "B"]),
        ("A dog", []), ("A", ["A"]), ("BAD", []), ("", []), ("The answer is Antwerp", []), ("b", []), ("F", []), ("the option is C", ["C"]),
    ],
)  # fmt: skip
def test_the_letter_of_an_answer(text: str, letters: list[str]) -> None:
    assert chosen(text, "ABCDE") == letters


def test_a_reference_must_name_one_letter() -> None:
    assert judge("choice", "(C) Rome", reference="C").passed
    with pytest.raises(CheckError, match="names no single choice"):
        judge("choice", "C", reference="Rome")


# ------------------------------------------------------------------------------------------------------------ unicode


@pytest.mark.parametrize(
    "check",
    [
        "equals:caf\u00e9",
        "contains:\u00e9",
        "ends_with:caf\u00e9",
        "starts_with:caf\u00e9",
        "max_chars:4",
        "contains_all:\u00e9",
        "iequals:CAFE\u0301",
    ],
)
def test_composed_and_decomposed_letters_are_the_same(check: str) -> None:
    assert judge(check, "cafe\u0301").passed


def test_a_letter_is_not_found_inside_of_another() -> None:
    assert not judge("contains:cafe", "cafe\u0301").passed


@pytest.mark.parametrize(
    ("a", "b"), [("STRASSE", "stra\u00dfe"), ("\u03a3\u03a3", "\u03c3\u03c2"), ("\u212a", "k"), ("\ufb01", "FI")]
)
def test_case_is_folded_and_not_lowered(a: str, b: str) -> None:
    assert (
        judge(f"iequals:{a}", b).passed and judge(f"icontains:{b}", a).passed and judge(f"icontains_any:{a}", b).passed
    )


# ---------------------------------------------------------------------------------------------------- regular expressions


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.checks import pattern, time_limit

    def in_a_blink(compiled: object, text: str) -> bool:
        return time_limit.found(compiled, text, 0.05)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(pattern, "found", in_a_blink)


@pytest.mark.parametrize("check", [r"regex:\A(a+)+\Z", r"not:regex:\A(a+)+\Z"])
def test_a_pattern_without_end_is_stopped_and_passes_in_no_case(check: str, short_limit: None) -> None:
    with pytest.raises(CheckError, match="took more than 0.05 s on 41 characters and was stopped"):
        judge(check, "a" * 40 + "!")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_the_timer_of_others_goes_on(short_limit: None) -> None:
    before = signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_VIRTUAL, 500)
    try:
        assert judge("regex:a", "a").passed
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 400
        assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_IGN
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_in_another_thread_a_process_searches() -> None:
    import re

    from pytest_llmci.checks import time_limit

    found: list[object] = []

    def work() -> None:
        # Five seconds are added for the start of a process.
        for pattern, text, limit_s in (
            (r"\d{4}", "in 1969", 60.0),
            (r"\d{4}", "none", 60.0),
            (r"\A(a+)+\Z", "a" * 40 + "!", -4.0),
        ):
            try:
                found.append(time_limit.found(re.compile(pattern), text, limit_s))
            except CheckError as error:
                found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE_S)
    assert found[:2] == [True, False]
    assert "was stopped" in str(found[2])


# ------------------------------------------------------------------------------------------------------------ schemas


def test_a_schema_names_the_first_faults_and_where() -> None:
    schema = 'json_schema:{"items":{"type":"object","properties":{"n":{"type":"integer"}}}}'
    result = judge(schema, '[{"n": 1}, {"n": "x"}, {"n": "y"}, {"n": "z"}, {"n": "a"}]')
    assert "'x' is not of type 'integer' at [1].n" in result.message and "and 1 more" in result.message


def test_a_schema_fetches_nothing() -> None:
    with pytest.raises(CheckError, match="the schema cannot be used"):
        judge('json_schema:{"$ref":"http://127.0.0.1:9/schema.json"}', "{}")


def test_a_pattern_of_a_schema_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.checks import schema

    monkeypatch.setattr(schema, "LIMIT_S", 0.05)
    with pytest.raises(CheckError, match="for more than 0.05 s"):
        judge(r'json_schema:{"pattern":"\\A(a+)+\\Z"}', '"' + "a" * 40 + '!"')


def test_brackets_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmci.checks import json_text

    monkeypatch.setattr(json_text, "MOST_LOOKED_AT", 1000)
    with pytest.raises(CheckError, match="too many brackets"):
        judge("contains_json", "[1, 2, " * 100)
    assert judge("contains_json", "[1, 2, " * 10 + "[]").passed


def test_the_draft_is_that_of_the_schema() -> None:
    draft4 = 'json_schema:{"$schema":"http://json-schema.org/draft-04/schema#","exclusiveMinimum":true,"minimum":5}'
    assert judge(draft4, "6").passed and not judge(draft4, "5").passed


def test_deep_json_is_a_fault_and_no_crash() -> None:
    assert "nested too deeply" in judge('json_schema:{"type":"array"}', "[" * 100_000).message
    with pytest.raises(CheckError, match="too many brackets"):
        judge("contains_json", "[" * 100_000)


# --------------------------------------------------------------------------------------------- measured, and its absence


def test_numbers_that_are_missing_fail_with_the_reason_also_under_not() -> None:
    for check in ("latency:2s", "not:latency:2s", "max_tokens:5", 'any_of:["latency:2s","json"]'):
        with pytest.raises(MissingValue, match="is missing: nobody looked"):
            judge(check, "x", latency=Missing("nobody looked"), output_tokens=Missing("nobody looked"))
    with pytest.raises(CheckError, match="latency is nan"):
        judge("latency:2s", "x", latency=float("nan"))


# ----------------------------------------------------------------------------------------------------- a user's function


def asserts(text: str) -> None:
    assert "Paris" in text, "no Paris here"


def sees_all(output: CheckInput) -> bool:
    return output.finish_reason == "stop"


def annotated(answer: CheckInput) -> bool:
    return answer.prompt.id == "p"


def gives_result(text: str) -> CheckResult:
    return CheckResult(name="own", passed=False, message="because")


async def asynchronous(text: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("function", "output", "passed", "message"),
    [
        (asserts, "Paris", True, "raised no AssertionError"),
        (asserts, "Lyon", False, "no Paris here"),
        (sees_all, "x", True, "returned True"),
        (annotated, "x", True, "returned True"),
        (gives_result, "x", False, "because"),
        (lambda text: text == "x", "y", False, "returned False"),
    ],
)
def test_a_function_judges(function: Callable[..., object], output: str, passed: bool, message: str) -> None:
    result = PythonCheck.of(function)(CheckInput(text=output, finish_reason="stop", prompt=Prompt(id="p", text="?")))
    assert (result.passed, message in result.message) == (passed, True), result.message


@pytest.mark.parametrize(
    ("function", "message"),
    [(asynchronous, "is asynchronous"), (len, "returned 1; expected"), (int, "raised ValueError")],
)
def test_a_function_that_gives_no_verdict_passes_in_no_case(function: Callable[..., object], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        PythonCheck.of(function)(CheckInput(text="x", finish_reason="stop", prompt=Prompt(id="p", text="?")))


# ------------------------------------------------------------------------------------------------------- similarities


def test_figures_are_those_of_the_libraries() -> None:
    scorers, sacrebleu = pytest.importorskip("rouge_score.rouge_scorer"), pytest.importorskip("sacrebleu")
    found, wanted = "The quick brown fox jumped over a dog", "A quick brown dog jumps over the lazy fox"
    rouge = scorers.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(wanted, found)
    expected = {
        "rouge_1": rouge["rouge1"].fmeasure, "rouge_2": rouge["rouge2"].fmeasure, "rouge_l": rouge["rougeL"].fmeasure,
        "bleu": sacrebleu.sentence_bleu(found, [wanted]).score / 100, "chrf": sacrebleu.sentence_chrf(found, [wanted]).score / 100,
    }  # fmt: skip
    for name, score in expected.items():
        assert judge(f"{name}:{score - 1e-9:.12f}", found, wanted).passed
        assert not judge(f"{name}:{score + 1e-9:.12f}", found, wanted).passed


@pytest.mark.parametrize("check", ["rouge_l:0.5", "bleu:0.5", "chrf:0.5", "edit_similarity:0.5", "edit_distance:5"])
@pytest.mark.parametrize("reference", [None, "", " \n"])
def test_without_a_reference_nothing_is_compared(check: str, reference: str | None) -> None:
    pytest.importorskip("sacrebleu"), pytest.importorskip("rouge_score"), pytest.importorskip("rapidfuzz")
    for text in (check, f"not:{check}"):
        with pytest.raises(CheckError, match="there is no reference"):
            judge(text, "Paris", reference=reference)


def test_too_much_text_is_not_compared() -> None:
    pytest.importorskip("rapidfuzz"), pytest.importorskip("rouge_score")
    for check in ("edit_similarity:0.5", "edit_distance:5", "rouge_l:0.5"):
        with pytest.raises(CheckError, match="characters"):
            judge(check, "word " * 30_000, reference="x")
    with pytest.raises(CheckError, match="more than 3000 words"):
        judge("rouge_l:0.5", "word " * 4_000, reference="word")


def test_a_percentage_is_refused_where_a_share_is_meant() -> None:
    pytest.importorskip("sacrebleu")
    with pytest.raises(Exception, match="What others give as 50 is 0.5 here"):
        build("bleu:30")


# -------------------------------------------------------------------------------------------------------------- others


@pytest.mark.parametrize(
    "check",
    ["contains:x", "icontains:x", "contains_any:x", "contains_all:x", "equals:x", "ends_with:x", "regex:x", "json", "contains_json",
     'json_schema:{"type":"object"}', "number:42", "choice:B", "min_words:9", "min_chars:99", 'any_of:["json"]'],
)  # fmt: skip
def test_a_cut_off_output_says_so_first(check: str) -> None:
    cut, whole = judge(check, '{"a": ', finish="length"), judge(check, '{"a": ')
    assert cut.message.startswith("the output was cut off at the token limit")
    assert cut.message.endswith(whole.message)


def test_a_long_schema_does_not_fill_a_message() -> None:
    text = 'not:json_schema:{"description":"' + "x" * 5000 + '"}'
    assert len(judge(text, "{}").message) < 200


def test_any_of_needs_one_that_can_judge() -> None:
    assert judge('any_of:["equals","contains:x"]', "x").passed  # no reference, and yet one passes
    with pytest.raises(CheckError, match="no reference"):
        judge('any_of:["equals","contains:x"]', "y")


def test_all_of_stops_at_the_first_that_fails() -> None:
    result = judge('all_of:["contains:x","max_words:1","equals"]', "x y")
    assert result.message.startswith("'max_words:1': expected at most 1 words, found 2")
