from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.specs import parse_spec, read_list, read_specs, split_list

KNOWN = ("echo", "tiny", "smollm2", "transformers", "hf", "py")


@pytest.mark.parametrize(
    ("text", "alias", "backend", "target", "revision", "options"),
    [
        ("distilgpt2", "distilgpt2", "transformers", "distilgpt2", "", {}),
        ("hf:EleutherAI/gpt-neo-125M@main", "gpt-neo-125M", "hf", "EleutherAI/gpt-neo-125M", "main", {}),
        ("org/name@refs/pr/1", "name", "transformers", "org/name", "refs/pr/1", {}),
        ("small=hf:a/b@v1+dtype=bfloat16+threads=2", "small", "hf", "a/b", "v1", {"dtype": "bfloat16", "threads": "2"}),
        ("smollm2", "smollm2", "smollm2", "", "", {}),
        ("tiny+layers=2", "tiny", "tiny", "", "", {"layers": "2"}),
        ("./model.gguf", "model", "transformers", "./model.gguf", "", {}),
        ("/data/models/llama/", "llama", "transformers", "/data/models/llama/", "", {}),
        ("echo:mail me@home", "echo", "echo", "mail me@home", "", {}),
        ("echo:see http://x", "echo", "echo", "see http://x", "", {}),
        ("py:my.app:answer", "answer", "py", "my.app:answer", "", {}),
        (" b=echo ", "b", "echo", "", "", {}),
        ("x=echo+fail=a=b", "x", "echo", "", "", {"fail": "a=b"}),
    ],
)
def test_reads_every_part(
    text: str, alias: str, backend: str, target: str, revision: str, options: dict[str, str]
) -> None:
    spec = parse_spec(text, KNOWN, "x")
    assert (spec.alias, spec.backend, spec.target, spec.revision) == (alias, backend, target, revision)
    assert spec.options == options
    assert spec.text == text.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vlm:name", "--m: unknown backend 'vlm'"),
        ("gguf:x", "--m: unknown backend 'gguf'. A GGUF file is given as hf:x.gguf."),
        ("gguf:./a/x.GGUF", "--m: unknown backend 'gguf'. A GGUF file is given as hf:./a/x.GGUF."),
        ("vllm:org/name", "unknown backend 'vllm'. A model behind vllm is given as openai:http://HOST:PORT/v1#NAME."),
        (
            "http://h:80/v1",
            "A server is given as openai:http://h:80/v1, with #NAME behind it where it has several models.",
        ),
        ("hf:", "names no target; write hf:NAME or hf:PATH"),
        ("py:", "names no target"),
        ("", "names no target; write transformers:NAME"),
        ("echo+dtype=a+dtype=b", r"'\+dtype=' is given more than once; keep one"),
        ("echo+dtype", r"'\+dtype' must have the form \+key=value"),
        ("echo+dtype=", r"'\+dtype=' must have the form"),
        ("echo+D type=x", "must have the form"),
    ],
)
def test_a_malformed_one_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_spec(text, KNOWN, "--m")


def test_a_name_in_another_script_gets_an_ascii_alias() -> None:
    alias = parse_spec("./模型/", KNOWN, "x").alias
    assert alias and alias.isascii()


def test_an_at_sign_in_an_existing_path_is_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine@work"
    folder.mkdir()
    spec = parse_spec(str(folder), KNOWN, "x")
    assert spec.alias.startswith("mine-work")
    assert (spec.target, spec.revision, spec.alias) == (str(folder), "", spec.alias)


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths that hold what separates specs and keys."""
    for name in ("c++/model", "a,b/model", "a+b=c", "x,y+z"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "alias", "target", "options"),
    [
        ("./c++/model", "model", "./c++/model", {}),
        ("m=./c++/model+dtype=float16", "m", "./c++/model", {"dtype": "float16"}),
        ("hf:./c++/model+threads=2", "model", "./c++/model", {"threads": "2"}),
        ("d=./a+b=c+threads=2", "d", "./a+b=c", {"threads": "2"}),
        ("m=echo+python=./c++/model+tokens=3", "m", "", {"python": "./c++/model", "tokens": "3"}),
    ],
)
def test_a_plus_sign_in_an_existing_path_is_part_of_it(
    odd: Path, text: str, alias: str, target: str, options: dict[str, str]
) -> None:
    spec = parse_spec(text, KNOWN, "x")
    assert (spec.alias, spec.target, spec.options) == (alias, target, options)


def test_a_path_in_the_home_counts_too(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(odd))
    monkeypatch.chdir("/")
    assert parse_spec("~/c++/model", KNOWN, "x").target == "~/c++/model"
    assert parse_spec(f"m={odd}/c++/model", KNOWN, "x").target == f"{odd}/c++/model"


def test_a_plus_sign_in_a_path_that_is_not_there_says_what_would_do(odd: Path) -> None:
    for text in ("./c++/modal", "c++"):
        with pytest.raises(
            ConfigError, match=r"\+key=value, or be part of a path that exists and is written with a slash\.$"
        ):
            parse_spec(text, KNOWN, "x")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b ,,c", ["a", "b", "c"]),
        ("tiny,m=./a,b/model,echo", ["tiny", "m=./a,b/model", "echo"]),
        ("./a,b/model+dtype=x,y=hf:./a,b/model", ["./a,b/model+dtype=x", "y=hf:./a,b/model"]),
        ("./a,b/model,x=echo+python=./a,b/model+tokens=3", ["./a,b/model", "x=echo+python=./a,b/model+tokens=3"]),
        ("./x,y+z+dtype=x,@./a,b/model", ["./x,y+z+dtype=x", "@./a,b/model"]),
        ("./a,b/modal,echo", ["./a", "b/modal", "echo"]),
        ("x,y+z", ["x", "y+z"]),  # without a slash it is no path
        ("echo:see http://a,~\0/b,c", ["echo:see http://a", "~\0/b", "c"]),
    ],
)
def test_a_comma_in_an_existing_path_separates_nothing(odd: Path, text: str, parts: list[str]) -> None:
    assert split_list(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tiny+cpus=0,2,echo", ["tiny+cpus=0,2", "echo"]),
        ("tiny+cpus=0-1,4, echo", ["tiny+cpus=0-1,4", "echo"]),
        ("echo,tiny+cpus=0, 2 ,4-5", ["echo", "tiny+cpus=0,2,4-5"]),
        ("tiny+cpus=0,2+threads=2,echo", ["tiny+cpus=0,2+threads=2", "echo"]),
        ("tiny+cpus=0+threads=2,3", ["tiny+cpus=0+threads=2", "3"]),
        ("tiny+cpus=0,,1,echo", ["tiny+cpus=0,,1", "echo"]),
        ("tiny+cpus=0,,,echo,,tiny", ["tiny+cpus=0", "echo", "tiny"]),
        ("tiny+cpus=0,2b,4", ["tiny+cpus=0", "2b", "4"]),
        ("tiny+cpus=0,4=echo", ["tiny+cpus=0", "4=echo"]),
        ("a=./a,b/model+cpus=0,1,x,y+z", ["a=./a,b/model+cpus=0,1", "x", "y+z"]),
    ],
)
@pytest.mark.usefixtures("odd")
def test_a_comma_between_cpus_separates_nothing(text: str, parts: list[str]) -> None:
    assert split_list(text) == parts


def test_a_long_list_is_split_in_no_time() -> None:
    names = [f"m{number}=org/name-{number}" for number in range(2000)]
    began = time.monotonic()
    assert split_list(",".join(names)) == names
    assert time.monotonic() - began < 5


def test_two_models_of_one_name_are_refused_and_one_twice_is_one(tmp_path: Path) -> None:
    same = [("tiny", "x"), ("echo", "x"), ("tiny", "y")]
    assert [spec.alias for spec in read_specs(same, KNOWN, tmp_path)] == ["tiny", "echo"]
    with pytest.raises(ConfigError, match=r"called 'b': 'org/b' \(x\) and 'b@v2' \(x\); name one of them: other=b@v2"):
        read_specs([("org/b", "x"), ("b@v2", "x")], KNOWN, tmp_path)


def test_one_that_is_named_again_is_told_of(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    same = [("tiny", "x"), ("echo", "x"), ("tiny", "y"), ("t=tiny", "y")]
    specs = read_specs(same, KNOWN, tmp_path, lambda spec, where: told.append((spec.text, where)))
    assert [spec.alias for spec in specs] == ["tiny", "echo", "t"]
    assert told == [("tiny", "y")]


def test_the_packaged_list_pins_revisions() -> None:
    for line, where in read_list("paper", "--llm-models", Path()):
        assert parse_spec(line, KNOWN, where).revision
        assert where.startswith("@paper, entry ")


@pytest.mark.parametrize("text", ["- tiny\n- a=echo:hi\n", "models: [tiny, 'a=echo:hi']\nother: 1\n"])
def test_a_list_is_read_from_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.yaml").write_text(text, "utf-8")
    specs = read_specs([("@models.yaml", "--llm-models")], KNOWN, tmp_path)
    assert [(spec.alias, spec.backend) for spec in specs] == [("tiny", "tiny"), ("a", "echo")]


def test_a_wrong_entry_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("- tiny\n- ecko:x\n", "utf-8")
    with pytest.raises(UnknownNameError, match="models.yaml, entry 2: unknown backend 'ecko'. Did you mean 'echo'"):
        read_specs([("@models.yaml", "--llm-models")], KNOWN, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("papr", None, "no packaged list '@papr'; known: .*@paper"),
        ("model.yaml", None, "cannot read the list of models 'model.yaml': No such file.* Did you mean 'models.yaml'"),
        ("x.yaml", b"\xff\xfe\x00", "it is not UTF-8 text"),
        ("x.yaml", b"- [", "'x.yaml' is not valid YAML"),
        ("x.yaml", b"", "must hold a list of model specs"),
        ("x.yaml", b"[]", "must hold a list of model specs"),
        ("x.yaml", b"modells: [tiny]", "must hold a list of model specs"),
        ("x.yaml", b"- tiny\n- 5", "'x.yaml', entry 2: expected a model spec as text, found int"),
        ("x.yaml", b"- tiny\n- ''", "entry 2: expected a model spec"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    (tmp_path / "models.yaml").write_text("- tiny\n", "utf-8")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_list(name, "--llm-models", tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_broken_list_is_told_in_the_same_words_with_and_without_libyaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.yaml").write_text("models:\n  - a=echo\n  - [b\n")
    said = []
    for _ in range(2):
        with pytest.raises(ConfigError, match="is not valid YAML") as caught:
            read_list("models.yaml", "--llm-models", tmp_path)
        said.append(str(caught.value))
        monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert said[0] == said[1]


@pytest.mark.parametrize("text", ["- a=echo\n- 'b=echo:caf\u00e9'\n", "- a=echo\n- 'b=echo:cafe'\n"])
def test_a_list_says_the_same_with_and_without_libyaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
    quick = read_list("models.yaml", "--llm-models", tmp_path)
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert read_list("models.yaml", "--llm-models", tmp_path) == quick
    assert len(quick) == 2
