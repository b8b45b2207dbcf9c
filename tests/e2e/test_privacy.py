"""No secret and, under ``--llmci-redact``, no text of a prompt or an output is in any byte that a session leaves."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from bench import Bench
from timing import on_real_time

from pytest_llmci.cli.main import main
from pytest_llmci.store.verify import verify_log

SECRETS = {
    "OPENAI_API_KEY": "sk-planted-0123456789abcdefghij",
    "DEPLOY_TOKEN": "planted/token+with=odd&chars",
    "DB_PASSWORD": 'planted "quoted" \\ pass',
    "DATABASE_URL": "postgres://me:planted-db-pass1@db.example.org/x",
    "SIGNING_KEY": "-----BEGIN PRIVATE KEY-----\nplantedAAAABBBBCCCCDDDD\nplantedEEEEFFFFGGGG\n-----END PRIVATE KEY-----",
    "NAMED_BY_KEY_ENV": "plantedword",
}
BY_PLACE = (
    "planted-url-pass", "planted-signature1", "planted-header-123", "planted-option", "planted-flag-123", "planted-fact-123", "planted-sink-pass",
)  # fmt: skip
ALL = (*SECRETS.values(), "planted-db-pass1", *BY_PLACE, "planted")

BACKEND = """
import os, sys, urllib.parse
from pytest_llmci.backends.base import LoadedModel, check_options
from pytest_llmci.errors import GenerationError, ModelLoadError
from pytest_llmci.records import Completion

def everything(spec):
    return " ".join([*(os.environ[name] for name in NAMES), "https://me:planted-url-pass@host/x?X-Amz-Signature=planted-signature1",
                     "Authorization: Bearer planted-header-123", repr(os.environ["DB_PASSWORD"]),
                     urllib.parse.quote(os.environ["DEPLOY_TOKEN"], safe=""), spec.options.get("api_key", "none")])

class Leaky:
    def __init__(self, spec):
        self.spec = spec
    def load(self, context):
        print("stdout at load", everything(self.spec), flush=True)
        os.write(2, b"half a line " + os.environ["DEPLOY_TOKEN"][:9].encode())
        os.write(2, os.environ["DEPLOY_TOKEN"][9:].encode() + b" the other half\\n")
        if self.spec.target == "no-load":
            raise ModelLoadError("cannot load: " + everything(self.spec))
        return LoadedModel(footprint_bytes=None, info={"where": everything(self.spec), "api_key": "planted-fact-123"})
    def generate(self, prompt, settings, stamp):
        if self.spec.target == "fails":
            raise GenerationError("cannot answer: " + everything(self.spec))
        if self.spec.target == "dies":
            sys.stderr.write("dying with " + everything(self.spec))
            sys.stderr.flush()
            os._exit(3)
        return "ordinary words before " + everything(self.spec) + " and after"
    def complete(self, produced):
        return Completion(text=produced, finish_reason="stop")
    def close(self):
        print("stdout at the end", everything(self.spec), flush=True)
"""
BACKEND = f"NAMES = {list(SECRETS)}\n{BACKEND}"

CONFTEST = """
import os
def pytest_llmci_register(registry):
    registry.add("backend", "leaky", "leaky_backend:Leaky")
    registry.add("sink", "refusing", "leaky_backend:Refusing")
def pytest_addoption(parser):
    parser.addoption("--upload-token")
def pytest_llmci_environment(config):
    return {"tracking": "https://me:planted-url-pass@host/mlflow", "auth_token": "planted-fact-123"}
"""

SINK = """
class Refusing:
    def __init__(self, target):
        pass
    def write(self, report, folder):
        raise RuntimeError("403 for https://me:planted-sink-pass@host/ " + os.environ["OPENAI_API_KEY"])
"""

TESTS = """
import os, pytest
@pytest.mark.llmci(checks=["contains:zebra"])
def test_output(llm, llm_prompt, llm_result):
    print("printed", os.environ["DEPLOY_TOKEN"])
    local = os.environ["OPENAI_API_KEY"]
    assert llm_result.output == local
def test_call(llm):
    llm.generate("please use " + os.environ["OPENAI_API_KEY"])
"""


@pytest.fixture
def leaky(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    bench.write("leaky_backend.py", BACKEND + SINK)
    bench.write("conftest.py", CONFTEST)
    bench.write("test_it.py", TESTS)
    rows = [
        {"id": "one", "prompt": f"My key is {SECRETS['OPENAI_API_KEY']}, keep it."},
        {"id": "two", "prompt": "Hello"},
    ]
    bench.write("rows.json", json.dumps(rows))
    return bench


WRITTEN_BY_THE_TEST = ("leaky_backend.py", "conftest.py", "rows.json", "test_it.py", "parrot.py")


def left_behind(folder: Path) -> dict[Path, bytes]:
    """Every file that a session wrote."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in WRITTEN_BY_THE_TEST and path.suffix != ".pyc"
    }


def assert_hidden(bench: Bench, shown: str, words: tuple[str, ...]) -> None:
    files = left_behind(bench.path)
    assert any(path.name == "log.jsonl" for path in files)
    for word in words:
        for form in {word, json.dumps(word)[1:-1], repr(word)[1:-1]}:
            found = [str(path) for path, content in files.items() if form.encode() in content]
            assert not found, (form, found)
            assert form not in shown, form


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["one process", "xdist"])
def test_no_secret_is_left_anywhere(leaky: Bench, parallel: tuple[str, ...]) -> None:
    models = (
        "good=leaky:good+api_key=planted-option", "bad=leaky:fails+key_env=NAMED_BY_KEY_ENV", "dead=leaky:dies", "none=leaky:no-load",
    )  # fmt: skip
    result = leaky.run(
        *(f"--llm-models={model}" for model in models), "--llm-prompts=rows.json", "--llmci-rounds=2", "--junitxml=junit.xml",
        "--upload-token", "planted-flag-123", "--llmci-sink=refusing", "--llmci-budget=latency <= 1ns", "-l", "-vv", "--llmci-save-baseline",
        *parallel,
    )  # fmt: skip
    shown = result.stdout.str() + result.stderr.str()
    assert "403 for https://me:[secret]@host/" in shown
    assert "[secret OPENAI_API_KEY]" in shown
    assert "Hello" in shown  # texts are shown where nobody asked to withhold them
    logs = "".join(path.read_text("utf-8") for path in (leaky.latest / "workers").glob("*.log"))
    assert "half a line [secret DEPLOY_TOKEN] the other half" in logs
    assert logs.count("stdout at the end") >= 2
    assert "ordinary words before" in (leaky.latest / "results.csv").read_text("utf-8")
    assert_hidden(leaky, shown, ALL)


def test_a_masked_text_is_marked_and_keeps_its_hash(leaky: Bench) -> None:
    leaky.run("--llm-models=good=leaky:good", "--llm-prompts=rows.json", "--llmci-suite=inference", "--llmci-rounds=2")
    blocks = {block["prompt_id"]: block for block in leaky.records("rounds")}
    prompt = f"My key is {SECRETS['OPENAI_API_KEY']}, keep it."
    assert blocks["one"]["prompt"] == "My key is [secret OPENAI_API_KEY], keep it."
    assert (blocks["one"]["prompt_withheld"], blocks["two"]["prompt_withheld"]) == ("masked", "")
    assert blocks["one"]["prompt_sha256"] == sha256(prompt.encode()).hexdigest()
    assert blocks["two"]["outputs_withheld"] == ["masked"]
    assert sha256(blocks["two"]["outputs"][0].encode()).hexdigest() != blocks["two"]["output_sha256"][0]
    assert verify_log(leaky.latest / "log.jsonl").ok


@on_real_time
def test_a_baseline_of_masked_prompts_is_saved_and_compared(leaky: Bench) -> None:
    arguments = (
        "--llm-models=good=leaky:good",
        "--llm-prompts=rows.json",
        "--llmci-suite=inference",
        "--llmci-rounds=3",
    )
    assert leaky.run(*arguments, "--llmci-save-baseline").ret == 0
    again = leaky.run(*arguments, "--llmci-baseline")
    assert "asked something else" not in again.stdout.str() + again.stderr.str()
    assert again.ret == 0
    compared = [verdict["comparisons"] for verdict in leaky.records("verdict")]
    assert len(compared) == 2
    assert all(compared)
    known = [value for name, value in SECRETS.items() if name != "NAMED_BY_KEY_ENV"]
    assert_hidden(leaky, again.stdout.str(), (*known, *BY_PLACE))
    rows = json.loads(next(leaky.path.glob("llmci-baselines/main/*.json")).read_text("utf-8"))["prompts"].values()
    assert {row["id"]: bool(row.get("sha256")) for row in rows} == {"one": True, "two": False}


def test_bad_input_is_told_without_the_secret_in_it(leaky: Bench) -> None:
    result = leaky.run("--llm-models=x=echo:hi+api_key=planted-option", "--llmci-suite=inference")
    shown = result.stdout.str() + result.stderr.str()
    assert result.ret == 4
    assert "api_key" in shown
    assert "planted" not in shown


# ------------------------------------------------------------------------------------------------------------- redacted

PRIVATE = "Has the walrus paid the invoice of Monday?"
ANSWER = "zeppelin"
PRIVATE_WORDS = ("walrus", "invoice", ANSWER, "giraffe", "meerkat", "ocelot")

PRIVATE_TESTS = f"""
import pytest
@pytest.mark.llmci(checks=["contains:ocelot"])
def test_output(llm, llm_prompt, llm_result):
    print("printed", llm_result.output)
    assert llm_result.output == "something else"
@pytest.mark.parametrize("llm_prompt", ["Is there a giraffe?"], indirect=True)
def test_by_hand(llm, llm_prompt, llm_result):
    llm.generate("And a meerkat?")
    llm.generate([{{"role": "user", "content": "A meerkat in a chat"}}])
def test_passes(llm):
    assert "{ANSWER}" in llm.generate("meerkat").text
"""

PARROT = f"""
def answer(prompt):
    print("asked", prompt, flush=True)
    if "fail" in prompt:
        raise ValueError("cannot answer " + prompt)
    return "{ANSWER} " + str(prompt)
"""


@pytest.fixture
def private(bench: Bench) -> Bench:
    bench.write("parrot.py", PARROT)
    bench.write("rows.json", json.dumps([PRIVATE, "The walrus fails"]))
    bench.write("test_it.py", PRIVATE_TESTS)
    return bench


@pytest.mark.parametrize("how", ["flag", "variable", "ini"])
@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["one process", "xdist"])
def test_no_text_is_left_anywhere(
    private: Bench, monkeypatch: pytest.MonkeyPatch, how: str, parallel: tuple[str, ...]
) -> None:
    flags = ["--llmci-redact"] if how == "flag" else []
    if how == "variable":
        monkeypatch.setenv("LLMCI_REDACT", "1")
    if how == "ini":
        private.write("pytest.ini", "[pytest]\nllmci_redact = true\n")
    result = private.run(
        "--llm-models=p=py:parrot:answer", "--llm-prompts=rows.json", "--llmci-rounds=2", "--junitxml=junit.xml", "-l", "-vv", "-rA",
        "--llmci-budget=latency <= 1ns", "-o", "junit_logging=all", *flags, *parallel,
    )  # fmt: skip
    shown = result.stdout.str() + result.stderr.str()
    assert private.records("header")[0]["settings"]["redact"] is True
    assert_hidden(private, shown, PRIVATE_WORDS)
    digest = sha256(PRIVATE.encode()).hexdigest()
    asked = next(block for block in private.records("rounds") if block["prompt_sha256"] == digest)
    assert asked["prompt"] == f"sha256:{digest}"
    assert asked["prompt_withheld"] == "redacted"
    assert asked["outputs"] == [f"sha256:{sha256(f'{ANSWER} {PRIVATE}'.encode()).hexdigest()}"]
    assert asked["outputs_withheld"] == ["redacted"]
    assert asked["cell"] == f"p-prompt-{digest[:12]}"
    assert f"sha256:{digest[:20]}" in shown
    assert not list((private.latest / "workers").glob("*"))


@on_real_time
def test_whatever_reads_runs_works_on_a_redacted_one(private: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    private.write("rows.json", json.dumps([PRIVATE]))
    arguments = (
        "--llm-models=p=py:parrot:answer",
        "--llm-prompts=rows.json",
        "--llmci-suite=inference",
        "--llmci-rounds=3",
    )
    assert private.run(*arguments, "--llmci-redact", "--llmci-save-baseline").ret == 0
    again = private.run(*arguments, "--llmci-redact", "--llmci-baseline")
    assert again.ret == 0
    (verdict,) = private.records("verdict")
    assert verdict["comparisons"]
    results = str(private.path / "llmci-results")
    assert main(["verify", "latest", "--output", results]) == 0
    assert main(["report", "latest", "--output", results]) == 0
    assert main(["compare", "latest~1", "latest", "--output", results]) in (0, 2)
    assert main(["history", "--output", results]) == 0
    told = capsys.readouterr().out
    assert_hidden(private, told + again.stdout.str(), ("walrus", "invoice", ANSWER))


@on_real_time
def test_a_redacted_session_compares_with_a_baseline_that_holds_texts(private: Bench) -> None:
    private.write("rows.json", json.dumps([{"id": "invoice-row", "prompt": PRIVATE}]))
    arguments = (
        "--llm-models=p=py:parrot:answer",
        "--llm-prompts=rows.json",
        "--llmci-suite=inference",
        "--llmci-rounds=3",
    )
    assert private.run(*arguments, "--llmci-save-baseline").ret == 0
    result = private.run(*arguments, "--llmci-redact", "--llmci-baseline")
    assert result.ret == 0
    (verdict,) = private.records("verdict")
    assert verdict["comparisons"]


def test_an_ordinary_session_is_left_alone(private: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"API_KEY": "test", "SOME_TOKEN": "true", "MY_SECRET": "1", "DB_PASSWORD": "invoice"}.items():
        monkeypatch.setenv(name, value)
    private.write("rows.json", json.dumps([f"{PRIVATE} true test 1 key=value sorted(x, key=len)"]))
    private.run("--llm-models=p=py:parrot:answer", "--llm-prompts=rows.json", "--llmci-suite=inference")
    (block,) = private.records("rounds")
    assert block["prompt"] == f"{PRIVATE} true test 1 key=value sorted(x, key=len)"
    assert (block["prompt_withheld"], block["outputs_withheld"]) == ("", [])
    assert sha256(block["outputs"][0].encode()).hexdigest() == block["output_sha256"][0]
