"""Energy of an inference: of the GPU's board through NVML, else of the CPU packages through RAPL.

Both count for the whole device, whoever uses it. RAPL's counters may be read by root alone on most systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import NothingRead, Reading, RoundFacts
from .cuda import CudaDevice
from .noise import OwnedFile

_NO_RAPL: Final = Missing("no energy counter: this system has no RAPL (/sys/class/powercap/intel-rapl:*)")
_SHORT: Final = Missing("the energy counter did not move: the inference was too short for it")
_NO_TOKENS: Final = Missing("the model produced no token")
ENERGY_NAMES: Final = ("energy", "tokens_per_joule")
_UNCOUNTED: Final = Missing("this model source does not count tokens")


@dataclass(frozen=True, slots=True)
class _Domain:
    """The counter of one CPU package, in microjoules; it begins again at its range."""

    file: OwnedFile
    range_uj: int

    def read_uj(self) -> int:
        return int(self.file.read(32))


class Rapl:
    """The counters of all CPU packages."""

    def __init__(self, root: str = "/sys/class/powercap") -> None:
        """Nothing is opened yet.

        :param root: where the kernel lists them.
        """
        self._root = Path(root)
        self._domains: list[_Domain] | Missing | None = None

    @property
    def refused(self) -> Missing | None:
        """Why no package can be read in this process; None where some can, or nobody has asked yet."""
        return self._domains if isinstance(self._domains, Missing) else None

    def read(self) -> list[int] | Missing:
        """Each package's counter in microjoules, or why there is none."""
        if self._domains is None:
            self._domains = self._open()
        if isinstance(self._domains, Missing):
            return self._domains
        try:
            return [domain.read_uj() for domain in self._domains]
        except (OSError, ValueError) as error:
            return Missing(f"RAPL cannot be read: {error}")

    def spent_j(self, before: list[int] | Missing, after: list[int] | Missing) -> Reading:
        """Joules between two readings, over all packages."""
        if isinstance(before, Missing):
            return before
        if isinstance(after, Missing):
            return after
        assert isinstance(self._domains, list)  # there were readings
        spent = [
            (later - earlier) % (domain.range_uj or 1 << 64)
            for earlier, later, domain in zip(before, after, self._domains, strict=True)
        ]
        return sum(spent) / 1e6 or _SHORT

    def _open(self) -> list[_Domain] | Missing:
        found: list[_Domain] = []
        # intel-rapl:0 is a package, intel-rapl:0:0 a part of it; AMD's driver lists its packages under the same names.
        for folder in sorted(self._root.glob("intel-rapl:*")):
            if folder.name.count(":") != 1:
                continue
            try:
                file = OwnedFile(str(folder / "energy_uj"))
                file.read(32)
                found.append(_Domain(file, int((folder / "max_energy_range_uj").read_text("ascii"))))
            except PermissionError:
                return Missing("RAPL's energy counters may be read by root only here (/sys/class/powercap)")
            except (OSError, ValueError) as error:
                return Missing(f"RAPL cannot be read: {error}")
        return found or _NO_RAPL


class EnergyInstrument:
    """Joules of the device that computes, and tokens for each of them."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="energy",
            unit="J",
            direction="lower",
            group="energy",
            definition="Energy that the computing device took during the inference: the GPU's board, else the CPU packages.",
            excludes="the rest of the machine; nothing is taken off for other work or for idling",
            source="NVML, nvmlDeviceGetTotalEnergyConsumption; else RAPL, /sys/class/powercap/intel-rapl:*/energy_uj",
        ),
        MetricDef(
            name="tokens_per_joule",
            unit="1/J",
            direction="higher",
            group="energy",
            label="tokens/J",
            definition="Output tokens divided by the energy of the inference.",
            excludes="as energy",
            source="output_tokens, energy",
        ),
    )

    def __init__(self, device: CudaDevice | None = None, rapl: Rapl | None = None) -> None:
        self._device = device or CudaDevice()
        self._rapl = rapl or Rapl()
        self._on_gpu = False
        self._begin_mj: int | Missing = 0
        self._end_mj: int | Missing = 0
        self._begin_uj: list[int] | Missing = _NO_RAPL
        self._end_uj: list[int] | Missing = _NO_RAPL

    def start(self) -> None:
        """Note the counters."""
        self._on_gpu = self._device.torch() is not None
        if self._on_gpu:
            self._begin_mj = self._board_mj()
        else:
            self._begin_uj = self._rapl.read()

    def stop(self) -> None:
        """Note them again."""
        if self._on_gpu:
            self._end_mj = self._board_mj()
        else:
            self._end_uj = self._rapl.read()

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of the round that was stopped last."""
        if self._on_gpu:
            energy = self._board_j()
        elif (refused := self._rapl.refused) is not None:
            return NothingRead(dict.fromkeys(ENERGY_NAMES, refused), until=self._device.absent_until())
        else:
            energy = self._rapl.spent_j(self._begin_uj, self._end_uj)
        return {"energy": energy, "tokens_per_joule": _tokens_per_joule(facts.completion.output_tokens, energy)}

    def _board_mj(self) -> int | Missing:
        return self._device.nvml(lambda nvml, handle: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))

    def _board_j(self) -> Reading:
        begin, end = self._begin_mj, self._end_mj
        if isinstance(begin, Missing):
            return begin
        if isinstance(end, Missing):
            return end
        return (end - begin) / 1e3 or _SHORT


def _tokens_per_joule(tokens: int | None, energy: Reading) -> Reading:
    if isinstance(energy, Missing):
        return energy
    if tokens is None:
        return _UNCOUNTED
    return tokens / energy if tokens else _NO_TOKENS
