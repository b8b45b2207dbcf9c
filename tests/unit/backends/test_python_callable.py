"""The user's own pipeline."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.python_callable import PythonCallableBackend
from pytest_llmci.errors import GenerationError, ModelLoadError
from pytest_llmci.records import Completion, GenerationSettings, Message, ModelSpec, Prompt

MakeSpec = Callable[..., ModelSpec]
Open = Callable[[str, str], PythonCallableBackend]
SETTINGS = GenerationSettings(max_new_tokens=7, temperature=0.5, seed=3)
CHAT = Prompt(id="chat", messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Ho")))


@pytest.fixture
def open_code(spec: MakeSpec, context: LoadContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Writes a module of the user's and loads ``pipeline:<name>`` from it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(code: str, name: str = "answer") -> PythonCallableBackend:
        (tmp_path / "pipeline.py").write_text(textwrap.dedent(code), "utf-8")
        monkeypatch.delitem(sys.modules, "pipeline", raising=False)
        backend = PythonCallableBackend(spec("py", f"pipeline:{name}"))
        backend.load(context)
        return backend

    return load


def ask(backend: PythonCallableBackend, prompt: Prompt) -> tuple[Completion, int]:
    stamps: list[int] = []
    produced = backend.generate(prompt, SETTINGS, lambda: stamps.append(0))
    return backend.complete(produced), len(stamps)


def test_whole_text_has_no_tokens(open_code: Open, prompt: Prompt) -> None:
    completion, stamps = ask(open_code("def answer(prompt): return prompt.upper()", "answer"), prompt)
    assert (completion.text, completion.finish_reason) == ("WHAT IS TCP?", "stop")
    assert (completion.output_tokens, completion.token_source, stamps) == (None, "", 0)


def test_each_chunk_is_stamped_as_it_arrives(open_code: Open, prompt: Prompt) -> None:
    code = """
    def answer(prompt):
        for word in ("TCP ", "", "is ", "old"):
            yield word
    """
    completion, stamps = ask(open_code(code, "answer"), prompt)
    assert (completion.text, completion.output_tokens, completion.token_source) == ("TCP is old", 3, "chunks")
    assert stamps == 3  # an empty piece is no token


def test_only_the_named_keywords_are_passed(open_code: Open, prompt: Prompt) -> None:
    code = """
    def answer(prompt, *, seed, max_new_tokens=1, **rest): return f"{seed} {max_new_tokens} {sorted(rest)}"
    """
    assert ask(open_code(code, "answer"), prompt)[0].text == "3 7 []"


def test_a_class_is_made_once_called_often_and_closed(open_code: Open, prompt: Prompt) -> None:
    code = """
    log = []
    class Answer:
        def __init__(self): log.append("made")
        def __call__(self, prompt, temperature): return f"{len(log)} {temperature}"
        def close(self): log.append("closed")
    """
    backend = open_code(code, "Answer")
    assert [ask(backend, prompt)[0].text for _ in range(2)] == ["1 0.5", "1 0.5"]
    backend.close()
    assert sys.modules["pipeline"].log == ["made", "closed"]


def test_an_object_of_the_module_is_not_closed(open_code: Open, prompt: Prompt) -> None:
    code = """
    class Kind:
        closed = False
        def __call__(self, prompt): return "x"
        def close(self): self.closed = True
    answer = Kind()
    """
    backend = open_code(code, "answer")
    ask(backend, prompt)
    backend.close()
    assert sys.modules["pipeline"].answer.closed is False


def test_messages_arrive_as_a_list_of_dicts(open_code: Open) -> None:
    backend = open_code("def answer(prompt=None, messages=()): return repr((prompt, messages))", "answer")
    completion, _ = ask(backend, CHAT)
    expected = (None, [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}])
    assert completion.text == repr(expected)


def test_messages_need_a_parameter(open_code: Open) -> None:
    with pytest.raises(GenerationError, match="no parameter 'messages'") as caught:
        ask(open_code("def answer(prompt): return ''", "answer"), CHAT)
    assert caught.value.kind == "prompt"


def test_a_text_is_not_passed_off_as_messages(open_code: Open, prompt: Prompt) -> None:
    with pytest.raises(GenerationError, match="first parameter is 'messages'"):
        ask(open_code("def answer(messages): return ''", "answer"), prompt)


@pytest.mark.parametrize(
    ("value", "named"),
    [("None", "NoneType"), ("{'text': 1}", "dict"), ("b'x'", "bytes"), ("['a']", "list"), ("3", "int")],
)
def test_another_type_is_named(open_code: Open, prompt: Prompt, value: str, named: str) -> None:
    with pytest.raises(GenerationError, match=f"returned {named}; expected str or an iterator") as caught:
        ask(open_code(f"def answer(prompt): return {value}", "answer"), prompt)
    assert caught.value.kind == "type"


def test_a_chunk_of_another_type_is_named(open_code: Open, prompt: Prompt) -> None:
    with pytest.raises(GenerationError, match="yielded int"):
        ask(open_code("def answer(prompt): yield 3", "answer"), prompt)


@pytest.mark.parametrize("raiser", ["return int('x')", "yield 'a'; int('x')"])
def test_an_exception_names_type_and_innermost_user_line(open_code: Open, prompt: Prompt, raiser: str) -> None:
    code = f"""
    import json
    def answer(prompt):
        {raiser}
    """
    with pytest.raises(GenerationError) as caught:
        ask(open_code(code, "answer"), prompt)
    text = str(caught.value)
    assert "ValueError: invalid literal" in text
    assert text.endswith("pipeline.py:4)")
    assert "\n" not in text


def test_frames_of_libraries_are_passed_over(open_code: Open, prompt: Prompt) -> None:
    code = """
    import json
    def answer(prompt):
        return json.loads("{")
    """
    with pytest.raises(GenerationError, match=r"JSONDecodeError.*pipeline\.py:4\)"):
        ask(open_code(code, "answer"), prompt)


def test_sys_exit_does_not_end_the_process(open_code: Open, prompt: Prompt) -> None:
    with pytest.raises(GenerationError, match="SystemExit: 4"):
        ask(open_code("import sys\ndef answer(prompt): sys.exit(4)", "answer"), prompt)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("async def answer(prompt): return ''", "answer"),
        ("async def answer(prompt): yield ''", "answer"),
        ("class Answer:\n    async def __call__(self, prompt): return ''", "Answer"),
    ],
)
def test_coroutines_are_refused_at_load(open_code: Open, code: str, name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"is asynchronous; wrap it.*asyncio\.run") as caught:
        open_code(code, name)
    assert caught.value.kind == "async"


def test_a_coroutine_that_hides_is_refused_when_it_shows(open_code: Open, prompt: Prompt) -> None:
    code = """
    async def inner(prompt): return ""
    def answer(prompt): return inner(prompt)
    """
    with pytest.raises(GenerationError, match="is asynchronous"):
        ask(open_code(code, "answer"), prompt)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("import no_such_thing", "answer", "no module named 'no_such_thing'"),
        ("x = 1 / 0", "answer", r"ZeroDivisionError: division by zero .*pipeline\.py:1\)"),
        ("import sys; sys.exit('stop')", "answer", "SystemExit: stop"),
        ("x = 1", "answer", "no attribute 'answer'"),
        ("answer = 3", "answer", "is of type int, which cannot be called"),
        ("class Answer:\n    def __init__(self, path): pass", "Answer", "instantiated without arguments: TypeError"),
        ("class Answer: pass", "Answer", "is of type Answer, which cannot be called"),
        ("def answer(:", "answer", "SyntaxError"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(open_code: Open, code: str, name: str, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message) as caught:
        open_code(code, name)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there(spec: MakeSpec, context: LoadContext) -> None:
    backend = PythonCallableBackend(spec("py", "no_such_package.module:answer"))
    with pytest.raises(ModelLoadError, match="no module named 'no_such_package' on the import path"):
        backend.load(context)


@pytest.mark.parametrize("target", ["pipeline", "pipeline.answer", "pipe line:x", ""])
def test_a_malformed_target_is_known_beforehand(spec: MakeSpec, target: str) -> None:
    with pytest.raises(ModelLoadError, match="package.module:callable"):
        PythonCallableBackend.preflight(spec("py", target))


@pytest.mark.parametrize("target", ["pipeline:anwser", "pipeline:anwser.inner"])
def test_a_name_that_the_module_lacks_is_known_beforehand(spec: MakeSpec, tmp_path: Path, target: str) -> None:
    (tmp_path / "pipeline.py").write_text(
        "def answer(prompt): return ''\ndef _hidden(): ...\nclass Bot: ...\n", "ascii"
    )
    with pytest.raises(ModelLoadError) as caught:
        PythonCallableBackend.preflight(spec("py", target), [str(tmp_path)])
    assert caught.value.kind == "import"
    assert str(caught.value) == (
        f"py:{target}: module 'pipeline' ({tmp_path / 'pipeline.py'}) has no 'anwser'. Did you mean 'answer'?"
        " Functions and classes in it: Bot, answer."
    )


@pytest.mark.parametrize("name", ["answer", "Bot.reply", "Bot.no_such_thing", "imported", "__doc__"])
def test_what_the_module_may_have_is_left_to_the_import(spec: MakeSpec, tmp_path: Path, name: str) -> None:
    (tmp_path / "pipeline.py").write_text(
        "from other import imported\ndef answer(prompt): ...\nclass Bot:\n    def reply(self, prompt): ...\n", "ascii"
    )
    PythonCallableBackend.preflight(spec("py", f"pipeline:{name}"), [str(tmp_path)])


def test_a_module_that_makes_its_names_is_left_to_the_import(spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("def __getattr__(name): return print\n", "ascii")
    PythonCallableBackend.preflight(spec("py", "pipeline:answer"), [str(tmp_path)])


def test_unknown_keys_are_refused(spec: MakeSpec) -> None:
    with pytest.raises(ModelLoadError, match="unknown key 'dtype'"):
        PythonCallableBackend.preflight(spec("py", "a:b", dtype="float32"))


def test_builtins_without_a_signature_work(spec: MakeSpec, context: LoadContext, prompt: Prompt) -> None:
    backend = PythonCallableBackend(spec("py", "builtins:str"))
    with pytest.raises(ModelLoadError, match="cannot be called"):  # str is a class, and '' is no function
        backend.load(context)
    backend = PythonCallableBackend(spec("py", "builtins:repr"))
    backend.load(context)
    assert ask(backend, prompt)[0].text == "'What is TCP?'"


def test_stream_hands_over_chunks_or_the_whole(open_code: Open, prompt: Prompt) -> None:
    pieces: list[str] = []
    backend = open_code("def answer(prompt):\n    yield 'a'\n    yield 'b'", "answer")
    assert backend.stream(prompt, SETTINGS, pieces.append).text == "ab"
    backend = open_code("def answer(prompt): return 'whole'", "answer")
    backend.stream(prompt, SETTINGS, pieces.append)
    assert pieces == ["a", "b", "whole"]


def test_info_follows_the_source(open_code: Open, spec: MakeSpec, context: LoadContext, tmp_path: Path) -> None:
    open_code("def answer(prompt, seed): return ''", "answer")
    backend = PythonCallableBackend(spec("py", "pipeline:answer"))
    before = backend.load(context).info
    assert before["keywords"] == ["seed"]
    with (tmp_path / "pipeline.py").open("a") as file:
        file.write("\n# changed\n")
    assert backend.load(context).info["file_sha256"] != before["file_sha256"]
