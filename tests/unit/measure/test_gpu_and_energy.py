from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.measure.base import NothingRead, Reading, RoundFacts
from pytest_llmci.measure.cuda import CudaDevice
from pytest_llmci.measure.energy import EnergyInstrument, Rapl
from pytest_llmci.measure.gpu import GpuInstrument
from pytest_llmci.records import Completion, Missing

SECOND = 1_000_000_000


def facts(wall_ns: int = 2 * SECOND, tokens: int | None = 50) -> RoundFacts:
    completion = Completion(text="x", finish_reason="length", output_tokens=tokens)
    return RoundFacts(wall_ns=wall_ns, token_ns=(), completion=completion, threads=1)


def reason(value: Reading) -> str:
    assert isinstance(value, Missing)
    return value.reason


@dataclass
class Card:
    """A CUDA device as PyTorch and NVML would show it."""

    initialised: bool = True
    allocated: int = 0
    reserved: int = 0
    energy_mj: int = 0
    resets: int = 0
    asked: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch, *, nvml: bool = True) -> Card:
        cuda = SimpleNamespace(
            is_initialized=lambda: self.initialised,
            current_device=lambda: 0,
            get_device_properties=lambda _: SimpleNamespace(uuid="1234-abcd"),
            reset_peak_memory_stats=self._reset,
            max_memory_allocated=lambda: self.allocated,
            max_memory_reserved=lambda: self.reserved,
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        bindings: Any = SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByUUID=self.asked.append,
            nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=73),
            nvmlDeviceGetTotalEnergyConsumption=lambda _: self.energy_mj,
        )
        monkeypatch.setitem(sys.modules, "pynvml", bindings if nvml else None)
        return self

    def _reset(self) -> None:
        self.resets += 1
        self.allocated = self.reserved = 0


def test_peaks_are_those_of_the_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(allocated=9000).install(monkeypatch)
    instrument = GpuInstrument()
    instrument.start()
    card.allocated, card.reserved = 700, 1024
    instrument.stop()
    assert instrument.read(facts()) == {"gpu_peak_allocated": 700, "gpu_peak_reserved": 1024, "gpu_utilisation": 73}
    assert (card.resets, card.asked) == (1, ["GPU-1234-abcd"])


def test_a_short_inference_has_no_utilisation(monkeypatch: pytest.MonkeyPatch) -> None:
    Card().install(monkeypatch)
    instrument = GpuInstrument()
    instrument.start()
    instrument.stop()
    assert "shorter than the second" in reason(instrument.read(facts(wall_ns=SECOND // 2))["gpu_utilisation"])


@pytest.mark.parametrize("torch", ["absent", "without a device"])
def test_without_a_gpu_all_is_missing(monkeypatch: pytest.MonkeyPatch, torch: str, tmp_path: Path) -> None:
    if torch == "absent":
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    else:
        Card(initialised=False).install(monkeypatch)
    gpu, energy = GpuInstrument(), EnergyInstrument(rapl=Rapl(str(tmp_path)))
    for instrument in (gpu, energy):
        instrument.start()
        instrument.stop()
    found = gpu.read(facts())
    assert {name: reason(value) for name, value in found.items()} == dict.fromkeys(
        [metric.name for metric in GpuInstrument.metrics], "no CUDA device is used by the model's process"
    )
    assert "this system has no RAPL" in reason(energy.read(facts())["energy"])
    assert "this system has no RAPL" in reason(energy.read(facts())["tokens_per_joule"])


@pytest.mark.parametrize(
    ("torch", "until"),
    [
        (None, "torch"),
        (SimpleNamespace(backends=SimpleNamespace(cuda=SimpleNamespace(is_built=lambda: False))), ""),
        (SimpleNamespace(backends=SimpleNamespace(cuda=SimpleNamespace(is_built=lambda: True))), None),
        (SimpleNamespace(), None),
    ],
    ids=["not imported", "built for the CPU", "built for CUDA", "still being imported"],
)
def test_it_is_known_whether_a_device_may_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch: object, until: str | None
) -> None:
    if torch is None:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "torch", torch)
    for instrument in (GpuInstrument(), EnergyInstrument(rapl=Rapl(str(tmp_path)))):
        instrument.start()
        instrument.stop()
        found = instrument.read(facts())
        assert isinstance(found, NothingRead)
        assert found.until == until


def test_an_energy_counter_of_the_cpu_is_read_in_each_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "max_energy_range_uj").write_text("1000000000")
    instrument = EnergyInstrument(rapl=Rapl(str(tmp_path)))
    for _ in range(2):
        (package / "energy_uj").write_text("100")
        instrument.start()
        (package / "energy_uj").write_text("3000100")
        instrument.stop()
        found = instrument.read(facts())
        assert not isinstance(found, NothingRead)
        assert found["energy"] == 3


def test_without_nvml_the_allocator_still_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card().install(monkeypatch, nvml=False)
    gpu, energy = GpuInstrument(), EnergyInstrument()
    for instrument in (gpu, energy):
        instrument.start()
        card.allocated = 700
        instrument.stop()
    assert gpu.read(facts())["gpu_peak_allocated"] == 700
    assert "pip install nvidia-ml-py" in reason(gpu.read(facts())["gpu_utilisation"])
    assert "pip install nvidia-ml-py" in reason(energy.read(facts())["energy"])


def test_what_nvml_refuses_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    Card().install(monkeypatch)

    def refuse(_: object) -> int:
        raise RuntimeError("Not Supported")

    sys.modules["pynvml"].nvmlDeviceGetTotalEnergyConsumption = refuse  # type: ignore[attr-defined]  # a stand-in
    instrument = EnergyInstrument()
    instrument.start()
    instrument.stop()
    assert reason(instrument.read(facts())["energy"]) == "NVML: Not Supported"


def test_the_boards_energy_is_the_inferences(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(energy_mj=1_000_000).install(monkeypatch)
    instrument = EnergyInstrument()
    instrument.start()
    card.energy_mj += 12_500
    instrument.stop()
    assert instrument.read(facts(tokens=50)) == {"energy": 12.5, "tokens_per_joule": 4.0}
    assert "does not count" in reason(instrument.read(facts(tokens=None))["tokens_per_joule"])
    assert "no token" in reason(instrument.read(facts(tokens=0))["tokens_per_joule"])


def packages(root: Path, *counters: int) -> Path:
    for number, counter in enumerate(counters):
        for name in (f"intel-rapl:{number}", f"intel-rapl:{number}:0"):
            (root / name).mkdir(exist_ok=True)
            (root / name / "energy_uj").write_text(f"{counter}\n")
            (root / name / "max_energy_range_uj").write_text("1000000000\n")
    return root


def test_packages_are_summed_their_parts_are_not_and_counters_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    instrument = EnergyInstrument(CudaDevice(), Rapl(str(packages(tmp_path, 999_000_000, 500))))
    instrument.start()
    packages(tmp_path, 1_500_000, 500_500)
    instrument.stop()
    assert instrument.read(facts(tokens=6)) == {"energy": 3.0, "tokens_per_joule": 2.0}
    instrument.start()
    instrument.stop()
    assert "did not move" in reason(instrument.read(facts())["energy"])


def test_a_counter_that_is_garbage_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (packages(tmp_path, 1) / "intel-rapl:0" / "max_energy_range_uj").write_text("?")
    instrument = EnergyInstrument(rapl=Rapl(str(tmp_path)))
    instrument.start()
    instrument.stop()
    assert "RAPL cannot be read" in reason(instrument.read(facts())["energy"])


@pytest.mark.gpu
def test_a_real_device_tells_of_a_planted_tensor() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    torch.cuda.init()
    gpu, energy = GpuInstrument(), EnergyInstrument()
    gpu.start()
    energy.start()
    planted = torch.ones(64 << 20, dtype=torch.uint8, device="cuda")
    matrix = torch.rand(4096, 4096, device="cuda")
    for _ in range(200):
        matrix = matrix @ matrix / 4096
    torch.cuda.synchronize()
    gpu.stop()
    energy.stop()
    del planted
    assert gpu.read(facts())["gpu_peak_allocated"] >= 64 << 20
    joules = energy.read(facts())["energy"]
    assert isinstance(joules, Missing) or joules > 0
