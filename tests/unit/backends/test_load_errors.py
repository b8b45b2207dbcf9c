"""One clear line for each way in which loading fails, from the exceptions that the libraries raise."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmci.backends.load_errors import Wanted, check_cached_if_offline, explain
from pytest_llmci.errors import BackendError, MissingExtraError, ModelLoadError

ONLINE = {"HF_HUB_CACHE": "/hub"}
OFFLINE = {"HF_HUB_CACHE": "/hub", "HF_HUB_OFFLINE": "1"}
REPOSITORY = Wanted(text="m=hf:org/name", target="org/name", revision="v1")
LOCAL = Wanted(text="hf:/models/x", target="/models/x", folder=Path("/models/x"))


def hub_error(name: str, base: type[Exception] = OSError) -> Exception:
    """An exception of a class of that name, wrapped as transformers wraps it."""
    wrapped = OSError("There was an error")
    wrapped.__cause__ = type(name, (base,), {})("details\nmore details")
    return wrapped


@pytest.mark.parametrize(
    ("name", "environ", "kind", "message"),
    [
        ("RepositoryNotFoundError", ONLINE, "not_found", "neither a local folder nor a repository"),
        ("GatedRepoError", ONLINE, "gated", "accept its terms at https://huggingface.co/org/name and set HF_TOKEN"),
        ("RevisionNotFoundError", ONLINE, "revision", "no revision 'v1'"),
        ("HFValidationError", ONLINE, "not_found", "such as org/name"),
        ("OfflineModeIsEnabled", OFFLINE, "offline", "'org/name' at revision 'v1' is not in the cache /hub"),
        ("LocalEntryNotFoundError", OFFLINE, "offline", "HF_HUB_OFFLINE is set"),
        ("LocalEntryNotFoundError", ONLINE, "unreachable", "https://huggingface.co cannot be reached"),
        ("ConnectError", ONLINE, "unreachable", "cannot be reached"),
        ("HfHubHTTPError", ONLINE, "unreachable", "answered with an error"),
    ],
)
def test_hub_errors(name: str, environ: dict[str, str], kind: str, message: str) -> None:
    error = explain(hub_error(name), REPOSITORY, environ)
    assert isinstance(error, ModelLoadError)
    assert error.kind == kind
    assert message in str(error)
    assert str(error).startswith("m=hf:org/name: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "https://huggingface.co answered with HTTP 500 for 'org/name': try again later."),
        (429, "https://huggingface.co answered with HTTP 429 for 'org/name': try again later."),
        (403, "https://huggingface.co answered with HTTP 403 for 'org/name': check HF_ENDPOINT and HF_TOKEN."),
    ],
)
def test_a_hub_that_answers_with_an_error_is_not_called_unreachable(status: int, message: str) -> None:
    """Its library raises that the file is not in the cache, because of the answer."""
    answered = type("HfHubHTTPError", (OSError,), {"response": SimpleNamespace(status_code=status)})("details")
    wrapped = hub_error("LocalEntryNotFoundError")
    assert wrapped.__cause__ is not None
    wrapped.__cause__.__cause__ = answered
    assert str(explain(wrapped, REPOSITORY, ONLINE)) == f"m=hf:org/name: {message}"


def test_a_misspelt_model_source_is_named_wherever_it_was_taken_for_a_repository() -> None:
    meant = "Did you mean the model source 'echo'?"
    wanted = Wanted(text="ecko", target="ecko")
    for name, environ in (
        ("RepositoryNotFoundError", ONLINE),
        ("OfflineModeIsEnabled", OFFLINE),
        ("LocalEntryNotFoundError", ONLINE),
    ):
        assert str(explain(hub_error(name), wanted, environ)).endswith(meant)
        other = explain(hub_error(name), Wanted(text="org/name", target="org/name"), environ)
        assert "Did you mean" not in str(other)


def test_a_gated_repository_is_no_missing_one() -> None:
    """The class of the one derives from that of the other."""
    missing = type("RepositoryNotFoundError", (OSError,), {})
    gated = type("GatedRepoError", (missing,), {})
    error = explain(gated("x"), REPOSITORY, ONLINE)
    assert isinstance(error, BackendError)
    assert error.kind == "gated"


def test_another_address_of_the_hub_is_named() -> None:
    error = explain(hub_error("ConnectError"), REPOSITORY, {**ONLINE, "HF_ENDPOINT": "https://mirror.example/"})
    assert "https://mirror.example cannot be reached" in str(error)


def test_a_local_folder_is_never_blamed_on_the_hub() -> None:
    error = explain(hub_error("LocalEntryNotFoundError"), LOCAL, ONLINE)
    assert isinstance(error, BackendError)
    assert error.kind == "other"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (type("SafetensorError", (Exception,), {})("HeaderTooLarge"), "corrupt"),
        (ValueError("Please pass the argument `trust_remote_code=True`"), "custom_code"),
        (PermissionError(errno.EACCES, "denied", "/models/x/config.json"), "permission"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (ValueError("Unrecognized configuration class <T5Config> for this kind of AutoModel"), "architecture"),
        (ValueError("The checkpoint you are trying to load has model type `new`"), "architecture"),
        (RuntimeError("You set `ignore_mismatched_sizes` to `False`"), "corrupt"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (MemoryError(), "memory"),
        (
            ImportError("FlashAttention2 has been toggled on, but the package for FlashAttention2 is not installed"),
            "attention",
        ),
        (KeyError("surprise"), "other"),
    ],
)
def test_errors_of_files_and_models(error: Exception, kind: str) -> None:
    explained = explain(error, LOCAL, ONLINE)
    assert isinstance(explained, ModelLoadError)
    assert explained.kind == kind
    assert "\n" not in str(explained)


def test_an_exception_without_text_is_named_by_its_class() -> None:
    assert "ZeroDivisionError" in str(explain(ZeroDivisionError(), LOCAL, ONLINE))


def test_our_own_errors_pass_unchanged() -> None:
    own = MissingExtraError("install it")
    outer = RuntimeError("wrapped")
    outer.__cause__ = own
    assert explain(outer, LOCAL, ONLINE) is own


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "one" in str(explain(one, LOCAL, ONLINE))


def test_offline_check(tmp_path: Path) -> None:
    environ = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "ON"}
    with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE"):
        check_cached_if_offline(REPOSITORY, environ)
    check_cached_if_offline(REPOSITORY, {**environ, "HF_HUB_OFFLINE": "0"})
    (tmp_path / "models--org--name").mkdir()
    check_cached_if_offline(REPOSITORY, environ)
