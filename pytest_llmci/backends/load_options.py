"""What the keys of a model of transformers may be, and what they mean on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ..errors import ModelLoadError, UnknownNameError
from ..records import ModelSpec
from .base import check_options
from .causal_lm import TemplateMode
from .load_errors import Wanted
from .packages import Foreign, installed_version

DTYPES: Final = ("float32", "bfloat16", "float16", "auto")
ATTENTIONS: Final = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
TEMPLATES: Final[tuple[TemplateMode, ...]] = ("auto", "on", "off")
_DEVICE: Final = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """The ``+key=value`` pairs, checked."""

    dtype: str
    """Empty: decided by the device."""
    device: str
    template: TemplateMode
    attention: str
    pickle: bool
    remote_code: bool


def read_options(spec: ModelSpec, known: Mapping[str, str]) -> LoadOptions:
    """Check the keys of a spec.

    :param known: key -> one line of help.
    :raises ModelLoadError: of kind ``option``, naming what is allowed.
    """
    check_options(spec, known)
    device = spec.options.get("device", "auto")
    if not _DEVICE.fullmatch(device):
        raise UnknownOption(spec, "device", device, ("auto", "cpu", "cuda", "cuda:0", "mps"))
    return LoadOptions(
        dtype=_one_of(spec, "dtype", ("", *DTYPES)),
        device=device,
        template=_one_of(spec, "template", TEMPLATES),
        attention=_one_of(spec, "attn", ("", *ATTENTIONS)),
        pickle=_one_of(spec, "pickle", ("", "ok")) == "ok",
        remote_code=_one_of(spec, "remote_code", ("", "ok")) == "ok",
    )


class UnknownOption(ModelLoadError):
    """A key holds a value that it does not know."""

    def __init__(self, spec: ModelSpec, key: str, value: str, known: Sequence[str]) -> None:
        known = [name for name in known if name]
        super().__init__(str(UnknownNameError.build(f"model '{spec.text}'", key, value, known)), kind="option")


Choice = TypeVar("Choice", bound=str)


def _one_of(spec: ModelSpec, key: str, known: Sequence[Choice]) -> Choice:
    """The value of a key; the first of ``known`` where the spec does not say."""
    value = spec.options.get(key, known[0])
    for choice in known:
        if choice == value:
            return choice
    raise UnknownOption(spec, key, value, known)


def check_build(spec: ModelSpec, device: str) -> None:
    """Refuse CUDA where the installed torch says by its version that it is built without, as that of PyTorch's index for CPUs.

    :raises ModelLoadError: of kind ``device``.
    """
    version = installed_version("torch")
    if device.startswith("cuda") and version.endswith("+cpu"):
        raise ModelLoadError(
            f"{spec.text}: +device={device}: the installed torch {version} is built without CUDA; install one with it, or leave the key"
            " away.",
            kind="device",
        )


def choose_device(torch: Foreign, asked: str, wanted: Wanted) -> str:
    """The device to load onto.

    :param asked: ``auto``, or a device that must be there.
    :raises ModelLoadError: of kind ``device``.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    kind, _, number = asked.partition(":")
    if not there[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise wanted.error(
            "device",
            f"+device={asked}: this machine, or the installed torch, has no such device; leave the key away.",
        )
    return asked


def choose_dtype(torch: Foreign, asked: str, device: str) -> Foreign:
    """The dtype to compute in: a torch dtype, or ``auto`` for the checkpoint's own.

    :param asked: a name of :data:`DTYPES`, or empty where the device decides.
    """
    dtype = asked or ("float32" if device == "cpu" else "auto")
    return dtype if dtype == "auto" else getattr(torch, dtype)
