"""Bad input: one clear line, a usage error before the run where it can be known, and never an internal error."""

from __future__ import annotations

import sys

import pytest
from bench import Bench
from installed import needs_models

from pytest_llmci.measure.cuda import no_driver

USAGE = [
    (["--llm-models=vlm:something"], "*--llm-models*unknown backend 'vlm'*Known:*echo*"),
    (["--llm-models=@nothing.yaml"], "*--llm-models*nothing.yaml*"),
    (["--llm-models=@unknown"], "*no packaged list '@unknown'*@paper*"),
    (["--llm-models=a=echo,a=echo:b"], "*two models are called 'a'*other=*"),
    (["--llm-models=echo+tokns=3"], "*tokns*Did you mean 'tokens'?*"),
    (["--llm-models=echo+tokens=many"], "*tokens*many*"),
    (["--llm-models=echo+threads=0"], "*+threads=0*"),
    (["--llm-models=echo+itl"], "*+itl*key=value*"),
    (["--llm-models=py:nowhere_module:f"], "*nowhere_module*"),
    (
        ["--llm-models=echo,py:json:nope"],
        "*py:json:nope: module 'json' (*) has no 'nope'.*Functions and classes in it:*dumps*",
    ),
    (
        ["--llm-models=echo", "--llmci-baseline"],
        "*there is no baseline 'main'*Make one: *pytest *--llm-models=echo*--llmci-save-baseline=main",
    ),
    (["--llm-models="], "*--llm-models*empty*"),
    (["--llm-models=a-b=echo,a=echo"], "*other=*", "- {id: c, prompt: x}\n- {id: b-c, prompt: y}\n"),
    (["--llm-models=echo", "--llm-prompts=none.yaml"], "*none.yaml*"),
    (["--llm-models=echo", "--llmci-suite=inferense"], "*unknown suite 'inferense'. Did you mean 'inference'?*"),
    (["--llm-models=echo", "--llmci-rounds=none"], "*--llmci-rounds: 'none' is not a whole number*"),
    (["--llm-models=echo", "--llmci-rounds=0"], "*--llmci-rounds: 0 is too small*"),
    (
        ["--llm-models=echo", "--llmci-rounds=9", "--llmci-max-rounds=3"],
        "*--llmci-max-rounds: 3 is less than the 9 rounds*",
    ),
    (["--llm-models=echo", "--llmci-timeout=soon"], "*--llmci-timeout: 'soon' is not a quantity in seconds*"),
    (["--llm-models=echo", "--llmci-memory-limit=0"], "*--llmci-memory-limit*"),
    (["--llm-models=echo", "--llmci-isolation=docker"], "*--llmci-isolation: 'docker' is none of worker, inline*"),
    (["--llm-models=echo", "--llmci-sink=excel"], "*unknown sink 'excel'*"),
    (["--llm-models=echo", "--llmci-max-latency=fast"], "*'fast'*"),
    (
        ["--llm-models=echo", "--llmci-isolation=inline", "--llmci-budget=start_time <= 1s"],
        "*'start_time <= 1s' can never be judged for echo*",
    ),
    (
        ["--llm-models=echo", "--llmci-threads=4", "--llmci-budget=net_time <= 1s"],
        "*'net_time <= 1s' can never be judged for echo*",
    ),
    (
        ["--llm-models=echo", "--llmci-max-new-tokens=1", "--llmci-budget=tpot <= 1s"],
        "*'tpot <= 1s' can never be judged for echo*",
    ),
    (
        ["--llm-models=echo", "--llmci-budget=output_tokens >= 51"],
        "*'output_tokens >= 51' can never be met for echo: an answer has at most 50*",
    ),
    (
        ["--llm-models=echo", "--llmci-budget=gpu_peak_allocated <= 1GiB"],
        "*'gpu_peak_allocated <= 1GiB' can never be judged for echo: echo computes on no GPU.",
    ),
    (["--llm-models=echo+python=/nosuch"], "*model 'echo+python=/nosuch': +python=/nosuch is no interpreter*"),
    (["--llmci", "--llmci-suite=inference"], "*no model: give --llm-models=SPEC*"),
]


@pytest.mark.parametrize("case", USAGE, ids=lambda case: " ".join(case[0]))
def test_is_a_usage_error_before_the_run(
    bench: Bench, case: tuple[list[str], str] | tuple[list[str], str, str]
) -> None:
    args, expected = case[0], case[1]
    if len(case) == 3:
        bench.write("prompts.yaml", case[2])
    more = [
        arg
        for arg in ("--llmci-suite=inference", "--llm-prompts=prompts.yaml")
        if not any(a.startswith(arg.partition("=")[0]) for a in args)
    ]
    result = bench.run(*args, *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    result.stderr.fnmatch_lines([expected])
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert not (bench.path / "llmci-results").exists()


@needs_models
@pytest.mark.parametrize("path", ["./nowhere.gguf", "./no-such-folder"])
def test_a_path_that_is_not_there_is_a_usage_error(bench: Bench, path: str) -> None:
    result = bench.suite(path)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{path.removeprefix('./')}*"])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.yaml", "- {id: a, prompt: x}\n- {id: a, prompt: y}\n", "*p.yaml*'a'*"),
        ("p.yaml", "- {id: a, promt: x}\n", "*p.yaml*promt*Did you mean 'prompt'?*"),
        ("p.yaml", "[]\n", "*p.yaml*"),
        ("p.yaml", "- {id: a, prompt: ''}\n", "*p.yaml*"),
        ("p.yaml", "- {id: [a\n", "*p.yaml*"),
        ("p.jsonl", '{"prompt": "x"}\n{"prompt": 3}\n', "*p.jsonl*2*"),
        ("p.csv", "id,prompt\na,x\na,y\n", "*p.csv*'a'*"),
        ("p.txt", "\n\n", "*p.txt*"),
        ("p.docx", "x", "*p.docx*"),
    ],
)
def test_a_wrong_prompt_file_names_file_and_place(bench: Bench, name: str, text: str, expected: str) -> None:
    bench.write(name, text)
    result = bench.run("--llm-models=echo", "--llmci-suite=inference", f"--llm-prompts={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])


@pytest.mark.parametrize(
    ("model", "checks", "expected"),
    [
        (
            "mine",
            "[]",
            "*model 'mine': the static preflight(spec, sys_path) of backend 'mine' failed: KeyError: 'oh no'",
        ),
        ("echo", "[mine]", "*check of echo-a: check 'mine' cannot be built: SystemExit: 3"),
        ("broken", "[]", "*backend 'broken': broken:Model cannot be imported: RuntimeError: not today"),
    ],
)
def test_what_foreign_code_raises_before_the_run_is_one_line(
    bench: Bench, model: str, checks: str, expected: str
) -> None:
    bench.write(
        "mine.py",
        """
class Model:
    @staticmethod
    def preflight(spec, sys_path): raise KeyError('oh no')
def check(argument): raise SystemExit(3)
""",
    )
    bench.write("broken.py", "raise RuntimeError('not today')\n")
    bench.write(
        "conftest.py",
        """
def pytest_llmci_register(registry):
    registry.add('backend', 'mine', 'mine:Model')
    registry.add('backend', 'broken', 'broken:Model')
    registry.add('check', 'mine', 'mine:check')
""",
    )
    bench.write("prompts.yaml", f"- {{id: a, prompt: x, checks: {checks}}}\n")
    result = bench.suite(model)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("place", ["flag", "marker"])
def test_two_prompts_of_one_id_are_a_usage_error_in_own_tests_too(bench: Bench, place: str) -> None:
    for name in ("p1.yaml", "p2.yaml"):
        bench.write(name, "- {id: x, prompt: hi}\n")
    marker = "@pytest.mark.llmci(prompts=['p1.yaml', 'p2.yaml'])\n" if place == "marker" else ""
    bench.write("test_it.py", f"import pytest\n{marker}def test_it(llm_result): pass\n")
    given = ("--llm-prompts=p1.yaml", "--llm-prompts=p2.yaml") if place == "flag" else ()
    result = bench.run("--llm-models=echo", *given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two prompts of 'p1.yaml*' and 'p2.yaml*' have the id 'x'; rename one of them."])


def test_the_users_own_callable_fails_as_a_test(bench: Bench) -> None:
    bench.write("mine.py", "def answer(prompt):\n    raise KeyError('oh no')\ndef number(prompt): return 42\n")
    bench.write("lazy.py", "def __getattr__(name): raise AttributeError(name)\n")
    result = bench.suite("a=py:mine:answer,b=py:mine:number,c=py:lazy:missing", "--llmci-rounds=1", "-k", "first")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*KeyError*oh no*mine.py:2*"])
    result.stdout.fnmatch_lines(["*int*"])
    result.stdout.fnmatch_lines(["*'lazy' has no attribute 'missing'*"])
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize("place", ["flag", "marker"])
def test_a_callable_that_its_module_lacks_is_a_usage_error(bench: Bench, place: str) -> None:
    bench.write("mine.py", "raise SystemExit('it ran')\ndef answer(prompt): return ''\n")
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(models='py:mine:anwser')\ndef test_it(llm): llm.generate('x')\n",
    )
    result = bench.suite("py:mine:anwser") if place == "flag" else bench.run("--llmci", "test_it.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*py:mine:anwser*mine.py* has no 'anwser'. Did you mean 'answer'?*"])
    assert not (bench.path / "llmci-results").exists()


@needs_models
def test_a_prompt_longer_than_the_context_is_a_failed_test(bench: Bench) -> None:
    bench.write("prompts.yaml", f"- {{id: long, prompt: '{'word ' * 4000}'}}\n- {{id: short, prompt: hello}}\n")
    result = bench.suite("tiny", "--llmci-rounds=1", "--llmci-max-new-tokens=5")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*tokens*context of the model is*shorten the prompt*"])


def test_one_slip_in_every_cell_is_told_a_few_times(bench: Bench) -> None:
    rows = "".join(f"- {{id: p{number}, prompt: Say {number}., checks: [jsn]}}\n" for number in range(9))
    bench.write("prompts.yaml", rows)
    result = bench.suite("echo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = [line for line in result.stderr.lines if line]
    assert len(told) == 6
    assert "unknown check 'jsn'" in told[0] and told[-1] == "ERROR: ... and 4 more"


def test_a_wrong_check_of_a_marker_is_told_once(bench: Bench) -> None:
    bench.write("prompts.yaml", "- one\n- two\n- three\n")
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(checks='jsn')\ndef test_it(llm_result): pass\n",
    )
    result = bench.run("--llm-models=echo,b=echo", "--llm-prompts=prompts.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = [line for line in result.stderr.lines if line]
    assert len(told) == 1
    assert told[0].startswith("ERROR: test_it.py::test_it: check of the marker: check 'jsn': unknown check 'jsn'.")


def test_a_misspelt_key_of_the_ini_file_loses_no_gate(bench: Bench) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_budgets = latency <= 1ns\n")
    result = bench.suite("echo", fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pytest.ini: unknown setting 'llmci_budgets'. Did you mean 'llmci_budget'?*"])


def test_a_misspelt_variable_loses_no_gate_and_others_are_let_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCI_CACHE_DIR", str(bench.path / "cache"))
    monkeypatch.setenv("LLMCI_MY_KEY", "some")
    assert bench.suite("echo", fresh=True).ret == 0
    monkeypatch.setenv("LLMCI_RONDS", "3")
    result = bench.suite("echo", fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*environment: unknown variable 'LLMCI_RONDS'. Did you mean 'LLMCI_ROUNDS'?*"])


def test_two_limits_in_one_option_are_told_apart_from_a_name(bench: Bench) -> None:
    result = bench.suite("aa=echo", "--llmci-max-latency=a*:2s,b*:3s")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--llmci-max-latency: *: no model is called 'a?:2s,b?', with a comma; give each limit*"]
    )


@needs_models
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "hf:org/a b",
            "*'org/a b' is neither a local folder nor a repository of the hub: its name holds ' ', and may hold*",
        ),
        ("tiny+device=mps", "*+device=mps: it is there on Apple's machines alone*"),
    ],
)
def test_what_no_machine_or_hub_has_is_a_usage_error(bench: Bench, model: str, said: str) -> None:
    if "mps" in model and sys.platform == "darwin":
        pytest.skip("Apple's machines have it")
    result = bench.suite(f"echo,{model}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
    assert not (bench.path / "llmci-results").exists()


@needs_models
@pytest.mark.skipif(no_driver() is None, reason="there may be a GPU here")
@pytest.mark.parametrize("model", ["tiny", "smollm2", "hf:org/name"])
def test_cuda_without_a_gpu_is_a_usage_error(bench: Bench, model: str) -> None:
    result = bench.suite(f"echo,m={model}+device=cuda:0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*m={model}+device=cuda:0: +device=cuda:0: this machine has no NVIDIA GPU*"])
    assert not (bench.path / "llmci-results").exists()
