"""llama-bench: one cell a test (``pp512``, ``tg128``), one round a repetition where the file holds its samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from ..engine.imported import ImportedCell
from ..errors import ConfigError
from ..records import Json
from .base import Imported, Numbers, count, mapping, number, plain, text, utc_of
from .source import Source

_MARKS: Final = frozenset({"build_commit", "model_filename", "n_prompt", "n_gen", "avg_ns"})
_NOT_ASKED: Final = _MARKS | {
    "build_number", "cpu_info", "gpu_info", "model_type", "model_size", "model_n_params", "test_time", "stddev_ns", "avg_ts",
    "stddev_ts", "samples_ns", "samples_ts",
}  # fmt: skip
"""All else says how the model was run."""
_AGREES: Final = 0.01
_LINES_BEFORE_A_TABLE: Final = 50
"""What devices and builds say of themselves before it."""
_LONGEST_LINE: Final = 10_000
_TEST: Final = re.compile(r"(?=pp|tg)(?P<prompt>pp\d+)?\+?(?P<answer>tg\d+)?(?: @ d\d+)?")


class LlamaBench:
    """Reads ``llama-bench -o json``, ``-o jsonl``, ``-o csv`` and the table of ``-o md``."""

    def recognises(self, source: Source) -> bool:
        if source.kind == "text":
            return set(source.csv_header) >= _MARKS or _table_header(source) is not None
        return mapping(source.first).keys() >= _MARKS

    def read(self, source: Source) -> Imported:
        header = _table_header(source) if source.kind == "text" else None
        if header is not None:
            return _of_table(source, header)
        rows = _csv_rows(source) if source.kind == "text" else (mapping(each) for each in source.records())
        cells: list[ImportedCell] = []
        machine: dict[str, Json] = {}
        build = ""
        for place, row in enumerate(rows, start=1):
            if not row.keys() >= _MARKS:
                lacking = ", ".join(sorted(_MARKS - row.keys()))
                raise ConfigError(
                    f"import: {source.path}: result {place} has no {lacking}: llama-bench writes them all."
                )
            cells.append(_cell(row))
            build = text(row.get("build_commit"))
            if row.get("cpu_info"):
                machine["cpu_model"] = plain(row.get("cpu_info"))
        return Imported(cells=cells, tool=f"llama-bench {build}".strip(), machine=machine)


def _cell(row: Mapping[str, object]) -> ImportedCell:
    prompt, generated, depth = (count(row.get(name)) or 0 for name in ("n_prompt", "n_gen", "n_depth"))
    name = "+".join([*([f"pp{prompt}"] if prompt else []), *([f"tg{generated}"] if generated else [])]) or "nothing"
    name += f"@d{depth}" if depth else ""
    rate = "tokens_per_s" if generated else "prefill_tokens_per_s"
    numbers = Numbers()
    samples_ns, samples_ts = row.get("samples_ns"), row.get("samples_ts")
    if isinstance(samples_ns, list) and samples_ns:
        numbers.take_column("latency", samples_ns, "ns", "samples_ns")
        if prompt and generated:
            numbers.reasons[rate] = "samples_ts counts the tokens of prompt and answer together"
        elif isinstance(samples_ts, list) and len(samples_ts) == len(samples_ns):
            numbers.take_column(rate, samples_ts, "tok/s", "samples_ts")
    else:
        _aggregates(numbers, row, "" if prompt and generated else rate)
    device = _device(row)
    info: dict[str, Json] = {
        "device": device, "device_name": plain(row.get("gpu_info")) if device != "cpu" else None,
        "quantization": plain(row.get("model_type")), "parameters": plain(count(row.get("model_n_params"))),
        "threads": plain(row.get("n_threads")),
    }  # fmt: skip
    asked = {key: _setting(value) for key, value in row.items() if key not in _NOT_ASKED}
    filename = text(row.get("model_filename"))
    return ImportedCell(
        model=filename.removesuffix(".gguf"), prompt_id=name.replace("@", "-").replace("+", "-"), about=f"llama-bench {name}",
        asked=asked, values=numbers.values, reasons=numbers.reasons, units=numbers.units, judged_by=(f"{rate}_mean",), info=info,
        build=text(row.get("build_commit")), started=utc_of(row.get("test_time")),
        error="" if numbers.values else "no time of it can have been measured",
    )  # fmt: skip


def _setting(value: object) -> Json:
    """The same text from JSON and from CSV, where a truth value is 1 or 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)[:200]


def _aggregates(numbers: Numbers, row: Mapping[str, object], rate: str) -> None:
    numbers.take("latency_mean", row.get("avg_ns"), "ns", "avg_ns")
    numbers.take("latency_std", row.get("stddev_ns"), "ns", "stddev_ns", zero=True)
    if rate:
        numbers.take(f"{rate}_mean", row.get("avg_ts"), "tok/s", "avg_ts")
        numbers.take(f"{rate}_std", row.get("stddev_ts"), "tok/s", "stddev_ts", zero=True)
        numbers.only_aggregates(rate)
    numbers.only_aggregates("latency")


def _table_header(source: Source) -> list[str] | None:
    """The columns of the table that ``-o md`` prints, among the first lines of the file; None if there is none."""
    with source.path.open(encoding="utf-8-sig", errors="replace") as stream:
        for line in islice(stream, _LINES_BEFORE_A_TABLE):
            columns = _columns(line[:_LONGEST_LINE])
            if {"model", "test", "t/s"} <= set(columns):
                return columns
    return None


def _columns(line: str) -> list[str]:
    line = line.strip()
    return [each.strip() for each in line[1:-1].split("|")] if line.startswith("|") and line.endswith("|") else []


def _of_table(source: Source, header: list[str]) -> Imported:
    """One round a row: the mean speed and its deviation, as they are rounded there."""
    cells: list[ImportedCell] = []
    notes = ["speeds are rounded in the table; -o json has samples"]
    for line in source.text.splitlines():
        columns = _columns(line)
        if len(columns) != len(header):
            continue
        row = dict(zip(header, columns, strict=True))
        match = _TEST.fullmatch(row["test"])
        if match is None:
            continue  # the header, and the line below it
        if match["prompt"] and match["answer"]:
            notes.append(f"{row['test']} is left out: its t/s counts the tokens of prompt and answer together")
        else:
            cells.append(_of_table_row(row, "tokens_per_s" if match["answer"] else "prefill_tokens_per_s"))
    return Imported(cells=cells, tool="llama-bench", notes=notes)


def _of_table_row(row: Mapping[str, str], rate: str) -> ImportedCell:
    name, device = row["test"], _device({"backends": row.get("backend", "")})
    numbers = Numbers()
    mean, _, deviation = row["t/s"].partition("±")
    numbers.take(f"{rate}_mean", mean.strip(), "tok/s", "t/s")
    numbers.take(f"{rate}_std", deviation.strip() or None, "tok/s", "t/s ±", zero=True)
    numbers.only_aggregates(rate, "latency")
    asked: dict[str, Json] = {
        key: value for key, value in row.items() if key not in ("model", "size", "params", "test", "t/s")
    }
    return ImportedCell(
        model=row["model"], prompt_id=name.replace(" @ ", "-").replace("+", "-"), about=f"llama-bench {name}", asked=asked,
        values=numbers.values, reasons=numbers.reasons, units=numbers.units,
        judged_by=(f"{rate}_mean",), info={"device": device, "quantization": row["model"]},
        error="" if f"{rate}_mean" in numbers.values else "no speed of it can have been measured",
    )  # fmt: skip


def _device(row: Mapping[str, object]) -> str:
    backends = text(row.get("backends")).lower()
    if "cuda" in backends or str(row.get("cuda")).lower() in ("true", "1"):
        return "cuda"
    if "metal" in backends or "mtl" in backends or str(row.get("metal")).lower() in ("true", "1"):
        return "mps"
    return "cpu" if backends in ("", "cpu", "blas") else backends


# ---------------------------------------------------------------------------------------------------------------- CSV


def _csv_rows(source: Source) -> Iterator[dict[str, object]]:
    for place, row in source.csv_rows():
        yield _aligned(source.csv_header, row, f"{source.path}: row {place}")


def _aligned(header: list[str], row: list[str], where: str) -> dict[str, object]:
    """The row by the names of its columns.

    Builds of 2023 wrote one field more than their header names, among the flags behind the build number. The columns from
    ``cpu_info`` on are then counted from the end, which the speed has to confirm, and the flags are left out.
    """
    if len(row) == len(header):
        return dict(zip(header, row, strict=True))
    if len(row) == len(header) + 1 and "cpu_info" in header:
        behind = len(header) - header.index("cpu_info")
        found: dict[str, object] = dict(islice(zip(header, row, strict=False), 2))
        found |= dict(zip(header[-behind:], row[-behind:], strict=True))
        tokens = sum(count(found.get(name)) or 0 for name in ("n_prompt", "n_gen"))
        spent, speed = number(found.get("avg_ns")), number(found.get("avg_ts"))
        if spent and speed and abs(tokens * 1e9 / spent - speed) <= _AGREES * speed:
            return found
    raise ConfigError(f"import: {where} has {len(row)} fields and its header {len(header)}: which is which cannot be told.")  # fmt: skip
