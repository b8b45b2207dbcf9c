from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci import checks
from pytest_llmci.checks import CheckInput, parse_check, register
from pytest_llmci.checks.embeddings import vectors
from pytest_llmci.errors import CheckError
from pytest_llmci.records import CheckResult, Prompt
from pytest_llmci.registry import Registry

VECTORS = {"[UNK]": (0.0, 0.0), "cat": (1.0, 0.0), "kitten": (0.9, 0.1), "tax": (0.0, 1.0), "the": (0.0, 0.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of four words, as the library itself writes it."""
    model2vec, tokenizers, numpy = (
        pytest.importorskip("model2vec"),
        pytest.importorskip("tokenizers"),
        pytest.importorskip("numpy"),
    )
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(VECTORS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    target = tmp_path_factory.mktemp("model") / "static"
    model2vec.StaticModel(
        numpy.array(list(VECTORS.values()), dtype="float32"), tokenizer, normalize=False
    ).save_pretrained(str(target))
    return str(target)


def judge(text: str, output: str, reference: str | None = None) -> CheckResult:
    registry = Registry()
    register(registry)
    return parse_check(text, registry, "test")(
        CheckInput(text=output, finish_reason="stop", prompt=Prompt(id="p", text="?", reference=reference))
    )


def test_likeness_is_the_cosine_of_the_models_vectors(folder: str) -> None:
    check = checks.embedding(0.95, model=folder)
    alike, other = judge(check, "kitten", "cat"), judge(check, "tax", "cat")
    assert alike.passed and "is 0.994" in alike.message
    assert not other.passed and "found 0.000" in other.message


def test_words_that_the_model_does_not_know_are_no_likeness(folder: str) -> None:
    with pytest.raises(CheckError, match="knows no word"):
        judge(checks.embedding(0.5, model=folder), "the", "cat")


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("model2vec")
    with pytest.raises(
        CheckError, match=r"^the vectors of '.*nowhere' cannot be had \([^\n]*\); name a folder"
    ) as caught:
        vectors(str(tmp_path / "nowhere"), ["x"])
    assert "\n" not in str(caught.value)
