"""Your own pipeline: ``py:package.module:callable``.

The callable gets the prompt's text and gives the answer: a ``str``, or an iterator of ``str`` chunks, each of which is
stamped as it arrives (a generator function is the usual form). A class is instantiated once, without arguments, when
the model is loaded, and its instance is called.

Of ``max_new_tokens``, ``temperature`` and ``seed`` only those are passed that the callable names as parameters. Prompts
of messages need a parameter ``messages`` and arrive there, alone, as a list of ``{"role": ..., "content": ...}``.

How many tokens a text has is not known here, so that token counts are missing; chunks are counted as ``chunks``.
Coroutines are refused, since an event loop of ours would be part of the measured time: call ``asyncio.run`` yourself.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from ..errors import ConfigError, GenerationError, ModelLoadError
from ..records import Completion, GenerationSettings, Json, ModelSpec, Prompt
from ..registry import import_target
from .base import LoadContext, LoadedModel, Stamp, check_options
from .cache import hash_file
from .packages import first_line

_KEYWORDS: Final = ("max_new_tokens", "temperature", "seed")
_NO_WEIGHTS: Final = "the weights of a Python callable cannot be counted from outside"
_TARGET: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_ASYNC: Final = "is asynchronous; wrap it: def answer(prompt): return asyncio.run(...)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one call gave."""

    chunks: Sequence[str]
    streamed: bool


class PythonCallableBackend:
    """A function of the user's."""

    OPTIONS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._call: Callable[..., object] | None = None
        self._named: frozenset[str] = frozenset()
        self._only_messages = False
        self._ours = False

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        """Metric -> reason, for what no callable can have."""
        return {
            "model_footprint": _NO_WEIGHTS,
            "kv_cache_per_token": "a callable does not show its model's key-value cache",
        }

    @staticmethod
    def preflight(spec: ModelSpec, sys_path: Sequence[str] | None = None) -> None:
        """Refuse keys, a form that cannot be right, a package that is nowhere, a name that its module will not have.

        Nothing is imported: the model's process alone does that. What the source leaves open fails there.

        :raises ModelLoadError: of kind ``option`` or ``import``.
        """
        check_options(spec, PythonCallableBackend.OPTIONS)
        if not _TARGET.fullmatch(spec.target):
            raise ModelLoadError(
                f"{spec.text}: '{spec.target}' must have the form package.module:callable.", kind="import"
            )
        package = spec.target.partition(":")[0].partition(".")[0]
        if (
            sys_path is not None
            and package not in sys.modules
            and PathFinder.find_spec(package, list(sys_path)) is None
        ):
            raise ModelLoadError(
                f"{spec.text}: no module named '{package}' in the root directory or on the import path;"
                " run pytest where it can be imported, or set pythonpath in its settings.",
                kind="import",
            )
        if sys_path is not None:
            _check_name(spec, sys_path)

    def load(self, context: LoadContext) -> LoadedModel:
        """Import the callable; instantiate it if it is a class.

        :raises ModelLoadError: if it cannot be imported or called.
        """
        check_options(self._spec, self.OPTIONS)
        found = self._import()
        if inspect.isclass(found):
            found = self._instantiate(found)
            self._ours = True
        if not callable(found):
            raise self._load_error(
                "callable",
                f"is of type {type(found).__name__}, which cannot be called; name a function or a class with __call__.",
            )
        if _is_async(found):
            raise self._load_error("async", _ASYNC)
        parameters = _parameters(found)
        self._call = found
        self._named = frozenset(parameters)
        self._only_messages = bool(parameters) and parameters[0] == "messages"
        return LoadedModel(info=self._info(found), footprint_bytes=None, footprint_reason=_NO_WEIGHTS)

    def _import(self) -> object:
        try:
            return import_target(self._spec.target, f"model '{self._spec.text}'")
        except ConfigError as error:
            raise ModelLoadError(str(error), kind="import") from error
        except ModuleNotFoundError as error:
            raise self._load_error(
                "import",
                f"cannot be imported: no module named '{error.name}' on the import path (working directory"
                f" {Path.cwd()}).",
            ) from error
        except (Exception, SystemExit) as error:  # the user's program raises what it likes
            raise self._load_error("import", f"cannot be imported: {self._blame(error)}") from error

    def _instantiate(self, kind: type) -> object:
        try:
            return kind()
        except (Exception, SystemExit) as error:  # as above
            raise self._load_error(
                "import", f"cannot be instantiated without arguments: {self._blame(error)}"
            ) from error

    def _load_error(self, kind: str, message: str) -> ModelLoadError:
        return ModelLoadError(f"{self._spec.text}: '{self._spec.target}' {message}", kind=kind)

    def _info(self, found: object) -> dict[str, Json]:
        try:
            file = inspect.getsourcefile(inspect.unwrap(found) if inspect.isroutine(found) else type(found))
        except (TypeError, ValueError):
            file = None
        digest = hash_file(Path(file)) if file and Path(file).is_file() else None
        keywords: list[Json] = [name for name in _KEYWORDS if name in self._named]
        return {"source": "callable", "callable": self._spec.target, "file_sha256": digest, "keywords": keywords}

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Answer:
        """One call.

        :raises GenerationError: if the callable raises, or gives something else than text.
        """
        return self._consume(self._invoke(prompt, settings), lambda _: stamp())

    def _invoke(self, prompt: Prompt, settings: GenerationSettings) -> object:
        if self._call is None:
            raise GenerationError(f"{self._spec.text}: the callable is not loaded.", kind="unloaded")
        known: dict[str, object] = {
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "seed": settings.seed,
        }
        keywords = {name: value for name, value in known.items() if name in self._named}
        positional = self._arguments(prompt, keywords)
        try:
            return self._call(*positional, **keywords)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's program
            self._refuse(error)

    def _arguments(self, prompt: Prompt, keywords: dict[str, object]) -> tuple[str, ...]:
        """The prompt as the callable takes it; messages are added to the keywords."""
        if prompt.text is None:
            if "messages" not in self._named:
                raise GenerationError(
                    f"{self._spec.text}: prompt '{prompt.id}' holds messages, and the callable has no parameter"
                    " 'messages': add one, or give a text.",
                    kind="prompt",
                )
            keywords["messages"] = [{"role": message.role, "content": message.content} for message in prompt.messages]
            return ()
        if self._only_messages:
            raise GenerationError(
                f"{self._spec.text}: prompt '{prompt.id}' is a text, and the callable's first parameter is 'messages':"
                " give messages, or let the first parameter be the prompt.",
                kind="prompt",
            )
        return (prompt.text,)

    def _consume(self, result: object, on_chunk: Callable[[str], None]) -> Answer:
        if isinstance(result, str):
            return Answer(chunks=(result,), streamed=False)
        if inspect.isawaitable(result) or hasattr(result, "__aiter__"):
            if asyncio.iscoroutine(result):
                result.close()
            raise GenerationError(f"{self._spec.text}: '{self._spec.target}' {_ASYNC}", kind="async")
        if not isinstance(result, Iterable) or isinstance(result, (bytes, bytearray, Mapping, Sequence)):
            raise self._wrong_type("returned", result)
        chunks: list[str] = []
        iterator = self._iterate(result)
        for chunk in iterator:
            if not isinstance(chunk, str):
                raise self._wrong_type("yielded", chunk)
            if chunk:  # an empty piece carries no token
                on_chunk(chunk)
                chunks.append(chunk)
        return Answer(chunks=chunks, streamed=True)

    def _iterate(self, result: Iterable[object]) -> Iterator[object]:
        try:
            yield from result
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's program
            self._refuse(error)

    def _wrong_type(self, did: str, value: object) -> GenerationError:
        return GenerationError(
            f"{self._spec.text}: '{self._spec.target}' {did} {type(value).__name__}; expected str or an iterator.",
            kind="type",
        )

    def _refuse(self, error: BaseException) -> NoReturn:
        raise GenerationError(f"{self._spec.text}: {self._blame(error)}", kind="callable") from error

    def _blame(self, error: BaseException) -> str:
        """The exception with the innermost line of the user's own code."""
        place = innermost_user_frame(error, self._spec.target.partition(":")[0])
        return f"{type(error).__name__}: {first_line(error)}" + (f" ({place})" if place else "")

    def complete(self, produced: Answer) -> Completion:
        """The text; tokens are not counted."""
        streamed = produced.streamed
        return Completion(
            text="".join(produced.chunks),
            finish_reason="stop",
            output_tokens=len(produced.chunks) if streamed else None,
            token_source="chunks" if streamed else "",
        )

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One call; a text that comes whole is handed over whole."""
        answer = self._consume(self._invoke(prompt, settings), on_text)
        if not answer.streamed:
            on_text(answer.chunks[0])
        return self.complete(answer)

    def close(self) -> None:
        """Let go of the callable; an instance that was made here and has a ``close`` method is told."""
        close = getattr(self._call, "close", None) if self._ours else None
        self._call = None
        if callable(close):
            try:
                close()
            except Exception:  # noqa: BLE001 - the results are complete; the log of the process keeps this
                traceback.print_exc()


def _check_name(spec: ModelSpec, sys_path: Sequence[str]) -> None:
    """Refuse a name that the module's source does not have.

    :raises ModelLoadError: naming those that it has.
    """
    from .module_source import read_module  # the model's process has no use for it

    module, _, path = spec.target.partition(":")
    name = path.partition(".")[0]
    source = read_module(module, sys_path)
    if source is None or name in source.names or name.startswith("__"):
        return
    known = sorted(called for called in source.callables if not called.startswith("_"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ModelLoadError(
        f"{spec.text}: module '{module}' ({source.file}) has no '{name}'.{hint}"
        f" Functions and classes in it: {', '.join(known) or 'none'}.",
        kind="import",
    )


def _is_async(found: Callable[..., object]) -> bool:
    own = getattr(type(found), "__call__", None)  # noqa: B004 - the method itself is wanted
    return any(inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part) for part in (found, own))


def _parameters(found: Callable[..., object]) -> list[str]:
    """Names that can be passed by keyword, the first parameter first; none for what has no signature."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


def innermost_user_frame(error: BaseException, module: str) -> str:
    """``file:line`` of the deepest frame that is the user's: not ours, the library's or an installed package's.

    Where the user's code is itself an installed package, the deepest frame of that package.

    :param module: the module that was asked for.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = str(Path(__file__).parent.parent)
    foreign = [frame for frame in frames if not frame.filename.startswith(own)]
    libraries = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    package = module.partition(".")[0]
    theirs = [frame for frame in foreign if not frame.filename.startswith(libraries)]
    packaged = [frame for frame in foreign if package in Path(frame.filename).with_suffix("").parts]
    chosen = (theirs or packaged or foreign)[-1:]
    return "".join(f"{frame.filename}:{frame.lineno}" for frame in chosen)
