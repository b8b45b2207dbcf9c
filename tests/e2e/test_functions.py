"""Users' own tests: fixtures, marker, and where failures show."""

from __future__ import annotations

import pytest
from bench import Bench, unwrapped


def test_one_test_for_each_model_and_prompt(bench: Bench) -> None:
    bench.write("test_it.py", "def test_answers(llm, llm_prompt):\n    assert llm.generate(llm_prompt).text.strip()\n")
    result = bench.run("--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*test_answers[[]a-first[]] PASSED*", "*test_answers[[]b-second[]] PASSED*"])
    assert {block["origin"] for block in bench.records("rounds")} == {"call"}


def test_result_gives_numbers_in_si_units(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.mark.llmci(rounds=3, max_new_tokens=4)
def test_cell(llm_result):
    assert llm_result.rounds == 3
    assert llm_result.latency.n == 3
    assert 0.003 < llm_result.latency.median < 1
    assert llm_result.latency.min <= llm_result.latency.median <= llm_result.latency.max
    assert llm_result.output.is_valid
    assert llm_result.output.passes("contains:Name") or True
    assert len(llm_result.latency.values) == 3
""",
    )
    bench.run("--llm-models=echo:one two three four+itl=2ms", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)


@pytest.mark.parametrize("operator", ["<", "==", "!="])
def test_a_missing_number_fails_with_its_reason(bench: Bench, operator: str) -> None:
    bench.write("test_it.py", f"def test_cell(llm_result):\n    assert llm_result.latency.p95 {operator} 1\n")
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=2")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *p95 needs 20 rounds; this cell has 2",
            "test_it.py:2: MissingValue",
            "FAILED *- MissingValue: p95 needs 20 *",
        ]
    )
    result.stdout.no_fnmatch_line("*records.py*")


def test_a_metric_of_many_rounds_equals_no_number(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "def test_many(llm_result): assert llm_result.latency != 5\n"
        "def test_one(llm_result): assert llm_result.load_time != 5 and not llm_result.load_time == 5\n",
    )
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=2")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["*latency has 2 rounds; compare a statistic of it, such as llm_result.latency.median*"]
    )


def test_a_misspelt_metric_names_the_nearest(bench: Bench) -> None:
    bench.write("test_it.py", "def test_cell(llm_result):\n    llm_result.latncy\n")
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=1")
    result.stdout.fnmatch_lines(["*no metric 'latncy'. Did you mean 'latency'?*"])


def test_a_marker_of_a_module_or_class_is_for_the_tests_that_can_heed_it(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
pytestmark = pytest.mark.llmci(models=["echo"], prompts=["prompts.yaml"], rounds=1, checks=["max_words:999"])
def test_helper(): pass
@pytest.mark.llmci(budgets=["latency <= 9s"])
class TestIt:
    def test_call(self, llm): llm.generate("hi")
    def test_cell(self, llm_result): pass
    @pytest.mark.llmci(timed=False)
    def test_exempt(self, llm_result): assert llm_result.rounds == 1
""",
    )
    bench.run("--llmci").assert_outcomes(passed=6)


@pytest.mark.parametrize(
    ("own", "test", "message"),
    [
        ("models='echo'", "test_it()", "marker llmci: models= has no effect: the test uses none of the fixtures*"),
        ("budgets='ttft <= 1s'", "test_it(llm)", "marker llmci: budgets need the fixture llm_result*"),
        (
            "budgets='ttft <= 1s', timed=False",
            "test_it(llm_result)",
            "marker llmci: 'ttft <= 1s' can never be judged: with timed=False no time is measured; take one of the two away.",
        ),
        ("budgets='b: ttft <= 1s', timed=False", "test_it(llm_result)", "*'b: ttft <= 1s' can never be judged*"),
    ],
)
def test_what_a_tests_own_marker_asks_for_in_vain_is_a_usage_error(
    bench: Bench, own: str, test: str, message: str
) -> None:
    bench.write("test_it.py", f"import pytest\n@pytest.mark.llmci({own})\ndef {test}: pass\n")
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_it.py::test_it: {message}"])


def test_untimed_tests_keep_their_other_budgets(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(budgets='peak_rss <= 1B', timed=False)\ndef test_cell(llm_result): pass\n",
    )
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml").assert_outcomes(failed=2)


def test_a_users_own_llm_fixture_is_left_alone(bench: Bench) -> None:
    bench.write("conftest.py", "import pytest\n@pytest.fixture\ndef llm(): return 'mine'\n")
    bench.write("test_it.py", "def test_it(llm): assert llm == 'mine'\n")
    bench.run().assert_outcomes(passed=1)
    bench.run("-m", "llmci").assert_outcomes(deselected=1)


def test_an_overriding_fixture_may_ask_for_ours(bench: Bench) -> None:
    bench.write(
        "conftest.py", "import pytest\n@pytest.fixture\ndef llm(llm): return (llm.name, llm.generate('hi').text)\n"
    )
    bench.write("test_it.py", "def test_it(llm): assert llm[0] == 'echo' and llm[1]\n")
    bench.run("--llm-models=echo").assert_outcomes(passed=1)


OWN_TEXTS = """
import pytest
@pytest.mark.parametrize("llm_prompt", ["one", [{"role": "user", "content": "two"}]], ids=["a", "b"])
@pytest.mark.llmci(budgets=["ttft.max <= 5s"])
def test_it(llm_result, llm_prompt): pass
"""
CHANGED = """
import pytest
@pytest.fixture
def llm_prompt(llm_prompt): return f"Please: {llm_prompt.text}"
@pytest.mark.llmci(budgets=["ttft.max <= 5s"])
def test_it(llm_result): pass
"""


def test_texts_that_a_test_is_parametrized_with_are_cells_as_any(bench: Bench) -> None:
    bench.write("test_it.py", OWN_TEXTS)
    result = bench.run("--llm-models=echo", "--llmci-rounds=2", "--llmci-max-memory=9GiB", "test_it.py")
    result.assert_outcomes(passed=2)
    assert [each["cell"] for each in bench.records("verdict")] == ["echo-one", "echo-user-two"]
    assert all(len(each["budgets"]) == 2 for each in bench.records("verdict"))
    result = bench.run("--llm-models=echo", "--llmci-rounds=3", "--llmci-versus=+itl=1ms", "test_it.py")
    assert result.ret == 0
    assert all(each["comparisons"] for each in bench.records("verdict"))


@pytest.mark.parametrize("value", ["5", "None", "{'x': 1}"])
def test_a_parameter_that_is_no_prompt_is_one_line(bench: Bench, value: str) -> None:
    bench.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.parametrize('llm_prompt', [{value}])\ndef test_it(llm_result): pass\n",
    )
    result = bench.run("--llm-models=echo", "test_it.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["llm_prompt: expected text, a prompt or a list of *, got *"])
    assert "AttributeError" not in result.stdout.str()


@pytest.mark.parametrize("fixtures", ["llm_result", "llm, llm_prompt"])
@pytest.mark.parametrize("parallel", [(), ("-n1",)], ids=["alone", "xdist"])
def test_two_texts_of_one_id_are_refused_in_one_line(bench: Bench, fixtures: str, parallel: tuple[str, ...]) -> None:
    bench.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.parametrize('llm_prompt', ['a b', 'a-b'])\ndef test_it({fixtures}): pass\n",
    )
    result = bench.run("--llm-models=echo", "test_it.py", *parallel)
    assert result.ret != 0
    text = 'test_it.py::test_it: the prompts "a b" and "a-b" have the same id \'a-b\'; give one of them another id'
    assert text in result.stdout.str() + result.stderr.str()
    assert not bench.latest.exists()


def test_a_prompt_that_a_fixture_changes_is_measured_as_it_is_changed(bench: Bench) -> None:
    bench.write("test_it.py", CHANGED)
    arguments = ("--llm-models=echo", "--llm-prompts=prompts.yaml", "--llmci-rounds=3", "test_it.py")
    result = bench.run(*arguments, "--llmci-max-memory=9GiB")
    result.assert_outcomes(passed=2)
    first, second = bench.records("verdict")
    assert [first["cell"], second["cell"]] == ["echo-Please-Name-a-colour", "echo-Please-Name-a-river"]
    assert len(first["budgets"]) == 2
    assert {each["prompt"] for each in bench.records("rounds")} == {"Please: Name a colour.", "Please: Name a river."}
    result = bench.run(*arguments, "--llmci-versus=+itl=1ms")
    assert "llmci: 2 tests whose fixtures change their prompts are measured and not compared" in unwrapped(result)


def test_a_models_failure_is_raised_in_the_call_phase(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
def test_result(llm_result): raise SystemError("the body must not run")
def test_handle(llm): llm.generate("hi")
@pytest.mark.xfail(strict=True)
def test_expected(llm_result): pass
""",
    )
    result = bench.run("--llm-models=echo+fail=out of ideas", "--llm-prompts=prompts.yaml", "--llmci-rounds=1")
    result.assert_outcomes(failed=3, xfailed=2)
    result.stdout.fnmatch_lines(["FAILED *test_result*out of ideas*"])
    result.stdout.no_fnmatch_line("*the body must not run*")


def test_a_missed_budget_adds_to_the_bodys_own_failure(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.mark.llmci(budgets="output_tokens <= 1", rounds=1)
def test_both(llm_result): assert "mine" == "yours"
@pytest.mark.llmci(budgets="output_tokens <= 1", rounds=1)
def test_budget(llm_result): pass
@pytest.mark.xfail(strict=True)
@pytest.mark.llmci(budgets="output_tokens <= 1", rounds=1)
def test_expected(llm_result): pass
""",
    )
    result = bench.run("--llm-models=echo:one two", "--llm-prompts=prompts.yaml", "-k", "first")
    result.assert_outcomes(failed=2, xfailed=1)
    text = result.stdout.str()
    assert "'mine' == 'yours'" in text
    assert text.count("BudgetExceeded: output_tokens 2 is over 1") == 2


def test_a_call_is_recorded_and_checked(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm): llm.generate('hi')\n")
    result = bench.run("--llm-models=echo+repeat=la ")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*InvalidOutput: valid:*"])


def test_a_call_of_a_fixture_after_the_test_is_checked_in_teardown(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.fixture
def farewell(llm):
    yield
    llm.generate("bye")
def test_good(farewell): pass
def test_bad(farewell): assert "mine" == "yours"
""",
    )
    result = bench.run("--llm-models=echo+repeat=la ")
    result.assert_outcomes(passed=1, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_good[[]echo[]] *", "InvalidOutput: valid:*"])
    assert [(verdict["test"], verdict["verdict"]) for verdict in bench.records("verdict")] == [
        ("test_it.py::test_good[echo]", "failed"),
        ("test_it.py::test_bad[echo]", "failed"),
    ]


def test_a_failing_teardown_hides_no_invalid_output(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.fixture
def farewell(llm):
    yield
    llm.generate("bye")
    raise RuntimeError("mine")
def test_it(farewell): pass
""",
    )
    result = bench.run("--llm-models=echo+repeat=la ")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *RuntimeError: mine", "E *InvalidOutput: valid:*"])
    assert len(bench.records("verdict")) == 1


SUITE = ("--llmci-suite=inference", "--llmci-rounds=1")
NOBODY_LISTENS = tuple(
    f"-pno:{name}" for name in ("anyio", "benchmark", "hypothesispytest", "rerunfailures", "timeout")
)
"""Without these, cells of a suite take the short way through pytest."""


@pytest.mark.parametrize("scope", ["module", "session"])
@pytest.mark.parametrize(
    "more", [(), SUITE, (*SUITE, *NOBODY_LISTENS)], ids=["alone", "before a suite", "before a suite on its short way"]
)
def test_a_call_of_a_wider_fixture_is_checked_in_the_teardown_that_ends_it(
    bench: Bench, scope: str, more: tuple[str, ...]
) -> None:
    bench.write("polite.py", "def answer(prompt): return '' if prompt == 'bye' else 'a plain answer'\n")
    bench.write(
        "test_it.py",
        f"""
import pytest
@pytest.fixture(scope={scope!r})
def farewell(llm):
    yield
    llm.generate("bye")
def test_1(farewell): pass
def test_2(farewell): pass
""",
    )
    result = bench.run("--llm-models=py:polite:answer", "test_it.py", "--llm-prompts=prompts.yaml", *more)
    result.assert_outcomes(passed=4 if more else 2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of *", "InvalidOutput: valid:*"])


def test_calls_of_a_set_up_that_failed_are_checked(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
@pytest.fixture
def broken(llm):
    llm.generate("hello")
    raise RuntimeError("mine")
def test_broken(broken): pass
@pytest.fixture
def late(llm_result): raise RuntimeError("mine")
@pytest.mark.llmci(rounds=1, budgets="output_tokens <= 1")
def test_measured(late): pass
""",
    )
    result = bench.run("--llm-models=echo+repeat=la ", "--llm-prompts=prompts.yaml", "-k", "broken or first")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_broken*", "E *RuntimeError: mine", "E *InvalidOutput: valid:*"]
    )
    result.stdout.fnmatch_lines(["*ERROR at setup of test_measured*", "E *BudgetExceeded: output_tokens * is over 1*"])
    assert [verdict["verdict"] for verdict in bench.records("verdict")] == ["failed", "failed"]


def test_what_was_asked_for_before_ctrl_c_has_its_verdict(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm):\n    llm.generate('hi')\n    raise KeyboardInterrupt\n")
    result = bench.run("--llm-models=echo+repeat=la ", fresh=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [verdict["verdict"] for verdict in bench.records("verdict")] == ["failed"]


def test_the_check_of_a_call_can_be_turned_off(bench: Bench) -> None:
    bench.write("test_it.py", "import pytest\n@pytest.mark.llmci(checks=[])\ndef test_it(llm): llm.generate('hi')\n")
    bench.run("--llm-models=echo+repeat=la ").assert_outcomes(passed=1)


def test_handle_streams_scores_profiles_and_calls(bench: Bench) -> None:
    bench.write(
        "helper_module.py", "def add(backend, a, b):\n    return {'sum': a + b, 'kind': type(backend).__name__}\n"
    )
    bench.write(
        "test_it.py",
        """
import asyncio, pytest
def test_stream(llm):
    assert "".join(llm.stream("hi")).split() == ["one", "two"]
def test_score(llm):
    assert llm.score("a b", "c d").total < 0
def test_score_many(llm):
    from pytest_llmci import ScoreRequest
    seen = []
    asked = [ScoreRequest(context="a b", continuations=("c d", "e")), ScoreRequest(context="", continuations=("f",))]
    first, second = llm.score_many(asked, on_result=lambda number, scores: seen.append(number))
    assert first[0].logprob == llm.score("a b", "c d").total and first[0].tokens == 2 and first[0].is_greedy is None
    assert len(first) == 2 and len(second) == 1 and seen == [0, 1]
    assert llm.score_many([]) == []
    for wrong in ({"requests": ["x"]}, {"requests": [ScoreRequest(context="x", continuations=())]}, {"requests": asked, "batch": 0},
                  {"requests": [ScoreRequest(context="x", continuations=("y",), rolling=True)]}):
        with pytest.raises(Exception, match="llm.*(expected a ScoreRequest|no continuations|batch=0|rolling)"):
            llm.score_many(**wrong)
def test_generate_many(llm):
    seen = []
    answers = llm.generate_many(["hi", "you"], stop=[" two"], on_result=lambda number, answer: seen.append(number))
    assert [(answer.text, answer.finish_reason) for answer in answers] == [("one", "stop")] * 2 and seen == [0, 1]
    assert llm.generate_many([]) == []
def test_profile(llm):
    with llm.profile() as measured:
        llm.generate("hi")
    assert measured.peak_rss > 0 and measured.wall_time > 0
def test_call(llm):
    assert llm.call("helper_module:add", 2, 3) == {"sum": 5, "kind": "EchoBackend"}
def test_async(llm):
    assert asyncio.run(llm.agenerate("hi")).text == "one two"
def test_info(llm):
    assert llm.info["threads"] == 1
def test_times(llm):
    out = llm.generate("hi")
    assert out.token_times == sorted(out.token_times) and len(out.token_times) == 2
    assert out.latency == pytest.approx(out.token_times[-1])
    assert out.finish_reason and out.output_tokens == 2
""",
    )
    bench.run("--llm-models=echo:one two").assert_outcomes(passed=9)


def test_batch_is_an_option_and_an_argument(bench: Bench) -> None:
    bench.write(
        "batching.py",
        """
from pytest_llmci.backends.echo import EchoBackend
from pytest_llmci.records import Completion, ContinuationScore
class Batching(EchoBackend):
    def score_many(self, requests, batch, *, on_batch, on_scores):
        on_batch([0])
        for number, request in enumerate(requests):
            on_scores(number, [ContinuationScore(logprob=-float(batch), tokens=1)])
    def generate_many(self, prompts, settings, stop, batch, *, on_batch, on_completion):
        on_batch([0])
        for number, prompt in enumerate(prompts):
            on_completion(number, Completion(text=str(batch), finish_reason="stop"))
""",
    )
    bench.write(
        "conftest.py",
        "def pytest_llmci_register(registry): registry.add('backend', 'batching', 'batching:Batching')\n",
    )
    bench.write(
        "test_it.py",
        """
from pytest_llmci import ScoreRequest
def test_it(llm, request):
    asked = [ScoreRequest(context="x", continuations=("y",))]
    expected = request.config.getoption("llmci_batch")
    assert llm.score_many(asked)[0][0].logprob == -float(expected or 16)
    assert llm.score_many(asked, batch=3)[0][0].logprob == -3
    assert llm.generate_many(["x"])[0].text == (expected or "1")
    assert llm.generate_many(["x"], batch=3)[0].text == "3"
""",
    )
    bench.run("--llm-models=a=batching:", fresh=True).assert_outcomes(passed=1)
    bench.run("--llm-models=a=batching:", "--llmci-batch=7", fresh=True).assert_outcomes(passed=1)
    bench.run("--llm-models=a=batching:", "--llmci-batch=0", fresh=True).stderr.fnmatch_lines(
        ["ERROR: --llmci-batch: 0 is too small*"]
    )


@pytest.mark.parametrize("isolation", ["worker", "inline"])
def test_an_argument_that_cannot_be_sent_is_named_before_the_model_is_asked(bench: Bench, isolation: str) -> None:
    bench.write("helper_module.py", "def add(backend, a, b): return a + b\ndef odd(backend): return {1, 2}\n")
    bench.write(
        "test_it.py",
        """
def test_argument(llm): llm.call("helper_module:add", 2, {3})
def test_result(llm): llm.call("helper_module:odd")
""",
    )
    result = bench.run("--llm-models=echo", f"--llmci-isolation={isolation}", "-k", "argument")
    result.stdout.fnmatch_lines(
        [
            "E *ConfigError: llm.call: argument 2 after the target is of type set; expected JSON data * or numeric arrays."
        ]
    )
    assert bench.records("worker") == []
    result = bench.run("--llm-models=echo", f"--llmci-isolation={isolation}", "-k", "result")
    result.stdout.fnmatch_lines(["E *llm.call: cannot return builtins.set; return JSON data or numeric arrays"])


def test_two_models_live_at_once_through_llm_open(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
def test_pair(llm, llm_open):
    other = llm_open("second=echo:other words")
    for _ in range(3):
        assert llm.generate("hi").text != other.generate("hi").text
""",
    )
    bench.run("--llm-models=echo:some words").assert_outcomes(passed=1)
    assert [worker["model"] for worker in bench.records("worker")] == ["echo", "second"]


def test_untimed_tests_get_one_round_and_no_budget_on_time(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(timed=False)\ndef test_it(llm_result): assert llm_result.rounds == 1\n"
        "@pytest.mark.llmci(models='quick=echo')\ndef test_timed(llm_result): pass\n",
    )
    result = bench.run("--llm-models=echo+ttft=900ms", "--llm-prompts=prompts.yaml", "--llmci-max-latency=600ms")
    result.assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("rouns=3", "*unknown keyword 'rouns'. Did you mean 'rounds'?*"),
        ("rounds='3'", "*rounds='3' must be whole number*"),
        ("rounds=0", "*rounds=0 must be at least 1*"),
        ("budgets='latncy <= 2s'", "*'latncy'*Did you mean 'latency'?*"),
        ("checks='jsno'", "*'jsno'*Did you mean 'json'?*"),
        ("models='vlm:x'", "*unknown backend 'vlm'*"),
        ("prompts='nowhere.yaml'", "*nowhere.yaml*"),
        ("budgets=['latency <= 1s', 'latency >= 2s']", "*latency*"),
    ],
)
def test_a_wrong_marker_is_a_usage_error(bench: Bench, mark: str, expected: str) -> None:
    bench.write("test_it.py", f"import pytest\n@pytest.mark.llmci({mark})\ndef test_it(llm_result): pass\n")
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])
    assert not (bench.path / "llmci-results").exists()


def test_own_tests_need_prompts_and_models(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm_result): pass\n")
    result = bench.run("--llm-models=echo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no prompts: give --llm-prompts=*llmci(prompts=...)*"])
    result = bench.run("--llmci", "--llm-prompts=prompts.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no model: give --llm-models=*"])


@pytest.mark.parametrize(
    "arguments",
    ["temperature='hot'", "temperature=float('nan')", "seed=True", "max_new_tokens='5'", "max_new_tokens=0"],
)
def test_a_wrong_argument_is_one_line_and_nothing_is_lost(bench: Bench, arguments: str) -> None:
    bench.write(
        "test_it.py", f"def test_bad(llm): llm.generate('x', {arguments})\ndef test_good(llm): llm.generate('x')\n"
    )
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *ConfigError: llm: *=* must be *"])
    assert len(bench.records("worker")) == 1
    assert (bench.latest / "results.csv").exists()


def test_messages_must_hold_text(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "def test_bad(llm): llm.generate([{'role': 'user', 'content': 5}])\ndef test_good(llm): llm.generate('x')\n",
    )
    bench.run("--llm-models=echo").assert_outcomes(passed=1, failed=1)


def test_event_loops_come_and_go_and_the_model_stays(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import asyncio, pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_async(llm, n): asyncio.run(llm.agenerate('x'))\n",
    )
    bench.run("--llm-models=echo").assert_outcomes(passed=5)
    assert len(bench.records("worker")) == 1


def test_pytest_fail_in_the_body_hides_no_budget(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(budgets='output_tokens <= 1', rounds=1)\ndef test_it(llm_result): pytest.fail('mine')\n",
    )
    result = bench.run("--llm-models=echo:one two", "--llm-prompts=prompts.yaml", "-k", "first")
    text = result.stdout.str()
    assert "mine" in text
    assert "BudgetExceeded: output_tokens 2 is over 1" in text
    assert [verdict["verdict"] for verdict in bench.records("verdict")] == ["failed"]


def test_a_check_that_nobody_knows_is_refused_beforehand(bench: Bench) -> None:
    bench.write(
        "test_it.py", "import pytest\n@pytest.mark.llmci(checks=['jsno'])\ndef test_it(llm): llm.generate('x')\n"
    )
    result = bench.run("--llm-models=echo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'jsno'*Did you mean 'json'?*"])


def test_what_was_deselected_needs_no_prompts(bench: Bench) -> None:
    bench.write("test_it.py", "def test_cell(llm_result): pass\ndef test_call(llm): llm.generate('x')\n")
    bench.run("--llm-models=echo", "-k", "call").assert_outcomes(passed=1, deselected=1)


def test_a_unittest_is_checked_too(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import unittest, pytest
class TestIt(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def model(self, llm_open):
        self.llm = llm_open("echo+repeat=la ")
    def test_it(self):
        self.llm.generate("x")
""",
    )
    result = bench.run("--llm-models=a=echo", "--llmci")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*InvalidOutput: valid:*"])


def test_a_stream_may_be_left_early(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "def test_it(llm):\n    for piece in llm.stream('x', max_new_tokens=500):\n        break\n    assert llm.generate('y', max_new_tokens=2).text\n",
    )
    bench.run("--llm-models=echo+tokens=500+itl=20ms", "--llmci-timeout=60s").assert_outcomes(passed=1)


def test_a_profile_around_a_death_says_so(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\ndef test_it(llm):\n    with llm.profile():\n        with pytest.raises(Exception):\n            llm.generate('x')\n",
    )
    result = bench.run("--llm-models=echo+crash=SIGKILL")
    result.stdout.fnmatch_lines(["*the model's process ended inside the block*"])


def test_a_metric_without_its_statistic_says_what_to_write(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "def test_it(llm_result):\n    assert llm_result.load_time < 60\n    assert llm_result.latency < 60\n",
    )
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "-k", "first", "--llmci-rounds=2")
    result.stdout.fnmatch_lines(
        ["*latency has 2 rounds; compare a statistic of it, such as llm_result.latency.median*"]
    )
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "-k", "first", "--llmci-rounds=1")
    result.stdout.fnmatch_lines(["*latency has 1 round; compare a statistic of it*"])


def test_asked_for_in_the_body_a_fixture_says_what_to_do(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(request): request.getfixturevalue('llm')\n")
    result = bench.run("--llm-models=echo")
    result.stdout.fnmatch_lines(["*'llm' must be an argument of the test itself*"])


def test_the_users_own_order_is_left_alone(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "def test_1(): pass\ndef test_2(llm): pass\ndef test_3(): pass\ndef test_4(llm): pass\ndef test_5(): pass\n",
    )
    result = bench.run("--llm-models=a=echo", "--collect-only", "-q")
    names = [line.partition("::")[2] for line in result.outlines if "::" in line]
    assert names == ["test_1", "test_2[a]", "test_3", "test_4[a]", "test_5"]


def test_a_fixture_of_wider_scope_may_build_on_the_model(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.fixture(scope='module')\ndef bot(llm): return llm.generate('hi').text\ndef test_1(bot): assert bot\ndef test_2(bot): assert bot\n",
    )
    bench.run("--llm-models=a=echo,b=echo").assert_outcomes(passed=4)


TWO_OF_A_NAME = """
import pytest
@pytest.mark.llmci(models=["echo:base words"])
def test_base(llm): assert llm.generate("q").text == "base words"
@pytest.mark.llmci(models=["echo:tuned words"])
def test_tuned(llm): assert llm.generate("q").text == "tuned words"
"""


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "parallel"])
def test_two_models_of_one_name_are_refused_and_never_mixed_up(bench: Bench, workers: list[str]) -> None:
    bench.write("test_it.py", TWO_OF_A_NAME)
    result = bench.run("--llmci", *workers, fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stdout.str() + result.stderr.str()
    assert "two models are called 'echo': 'echo:base words' (test_it.py::test_base) and 'echo:tuned words'" in told
    assert "name one of them: other=echo:tuned words" in told
    bench.run("--llmci", "-k", "tuned", *workers, fresh=True).assert_outcomes(passed=1)


def test_a_second_model_of_the_same_name_cannot_be_opened(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
def test_other(llm_open):
    llm_open("echo:other words")
def test_same(llm, llm_open):
    assert llm_open("echo:first words").generate("q").text == llm_open("echo").generate("q").text == "first words"
""",
    )
    result = bench.run("--llm-models=echo:first words")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["two models are called 'echo': *'echo:other words' (llm_open)*other=echo:other words."]
    )
    result.stdout.no_fnmatch_line("*During handling*")


@pytest.mark.parametrize("wrong", ["5", "[{'role': 'user'}]", "[]"])
def test_what_is_no_prompt_fails_at_the_line_of_the_test(bench: Bench, wrong: str) -> None:
    bench.write("test_it.py", f"def test_call(llm):\n    llm.generate({wrong})\n")
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * llm.generate: expected text, a prompt or a list of *, got *"])
    result.stdout.no_fnmatch_line("*asked.py:*")
