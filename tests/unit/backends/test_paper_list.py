"""The packaged list of the paper's five models."""

from __future__ import annotations

from pathlib import Path

from pytest_llmci.backends import BACKENDS
from pytest_llmci.backends.hub import is_commit
from pytest_llmci.backends.load_options import read_options
from pytest_llmci.backends.transformers import TransformersBackend
from pytest_llmci.specs import read_specs

UNPINNED = {"PY007/TinyLlama-1.1B-Chat-v0.1"}


def test_five_models_that_the_backend_understands() -> None:
    specs = read_specs([("@paper", "test")], [entry.name for entry in BACKENDS], Path())
    assert [spec.target for spec in specs] == [
        "distilgpt2",
        "sshleifer/tiny-gpt2",
        "EleutherAI/gpt-neo-125M",
        "tiiuae/falcon-rw-1b",
        "PY007/TinyLlama-1.1B-Chat-v0.1",
    ]
    for spec in specs:
        assert spec.backend == "transformers"
        assert is_commit(spec.revision) or spec.target in UNPINNED
        assert not read_options(spec, TransformersBackend.OPTIONS).remote_code
