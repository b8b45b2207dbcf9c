from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.backends.torch_facts import allocator_variables, torch_facts

VERSION = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.3.0\n"
)
OPEN_VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (builder)\n"


def fake_torch() -> Any:
    """A PyTorch with a card."""
    return SimpleNamespace(
        get_num_threads=lambda: 3,
        get_num_interop_threads=lambda: 5,
        get_float32_matmul_precision=lambda: "high",
        are_deterministic_algorithms_enabled=lambda: True,
        backends=SimpleNamespace(cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2")),
        version=SimpleNamespace(cuda="12.4"),
        cuda=SimpleNamespace(get_device_name=lambda device: f"Card {device.index}"),
    )


def device(kind: str, index: int | None = None) -> Any:
    return SimpleNamespace(type=kind, index=index)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    path = tmp_path / "version"
    path.write_text(VERSION, "utf-8")
    return path


def test_a_card_is_named_with_its_driver(driver: Path) -> None:
    found = torch_facts(fake_torch(), device("cuda", 1), driver=driver)
    assert (found["device_name"], found["cuda"], found["cuda_driver"]) == ("Card 1", "12.4", "550.54.15")
    driver.write_text(OPEN_VERSION, "utf-8")
    assert torch_facts(fake_torch(), device("cuda", 0), driver=driver)["cuda_driver"] == "570.86.10"
    for text in ("", "NVRM version: none\n"):
        driver.write_text(text, "utf-8")
        assert torch_facts(fake_torch(), device("cuda", 0), driver=driver)["cuda_driver"] is None
    driver.unlink()
    assert torch_facts(fake_torch(), device("cuda", 0), driver=driver)["cuda_driver"] is None


def test_a_model_on_the_cpu_has_no_accelerator(driver: Path) -> None:
    found = torch_facts(fake_torch(), device("cpu"), driver=driver)
    assert (found["device_name"], found["cuda"], found["cuda_driver"]) == (None, None, None)
    assert torch_facts(fake_torch(), device("mps"), driver=driver)["device_name"] == "mps"


def test_how_it_computes_is_told(driver: Path) -> None:
    found = torch_facts(fake_torch(), device("cpu"), driver=driver)
    assert (found["torch_threads"], found["torch_interop_threads"]) == (3, 5)
    assert (found["cpu_capability"], found["matmul_precision"], found["deterministic"]) == ("AVX2", "high", True)


def test_the_allocators_variables_are_told_and_no_folder(monkeypatch: pytest.MonkeyPatch, driver: Path) -> None:
    environ = {
        "MALLOC_TRIM_THRESHOLD_": "65536", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "MALLOCATE": "no",
        "LD_PRELOAD": "/home/me/lib/libtcmalloc.so.4:  /usr/lib/libjemalloc.so", "SECRET_TOKEN": "s3cret",
    }  # fmt: skip
    assert allocator_variables(environ) == {
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "LD_PRELOAD": "libtcmalloc.so.4 libjemalloc.so",
    }
    assert allocator_variables({"LD_PRELOAD": ""}) == {}
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    allocator: Any = torch_facts(fake_torch(), device("cpu"), driver=driver)["allocator"]
    assert allocator["MALLOC_ARENA_MAX"] == "1"


def test_the_real_one_answers_all_of_it() -> None:
    torch = pytest.importorskip("torch")
    found = torch_facts(torch, torch.device("cpu"))
    assert found == json.loads(json.dumps(found))
    assert found["torch_threads"] == torch.get_num_threads()
    assert found["matmul_precision"] == "highest" and found["deterministic"] is False
    assert found["cpu_capability"]
