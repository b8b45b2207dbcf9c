"""The words that an ``echo`` model answers with."""

from __future__ import annotations

import zlib
from typing import Final

from ..records import GenerationSettings, Prompt
from .echo_script import Script

_SENTENCE: Final = (
    "the a river stone morning small model answers with words that follow each other quietly across seven green hills"
    " while someone counts every token and writes down how long it took because numbers matter more than promises when"
    " code changes under pressure of late afternoon light near open windows old clocks keep steady time for careful"
    " readers who ask good questions about latency memory rounds budgets noise baselines verdicts plus what difference"
    " really means in practice after many patient trials on shared machines"
)
_WORDS: Final = tuple(_SENTENCE.split())
"""All different, and a prime number of them, so that any step through them visits all before one comes again."""


def write_answer(script: Script, prompt: Prompt, settings: GenerationSettings) -> list[str]:
    """The words of an answer.

    :returns: the script's words, or a sentence of our own, cut and filled up as the script and the settings want.
    """
    if script.repeat:
        return _looped(
            script.repeat.split(),
            settings.max_new_tokens if script.tokens is None else min(script.tokens, settings.max_new_tokens),
        )
    words = script.text.split() if script.text else _opening(prompt.shown)
    wanted = _length(script, len(words), settings)
    if len(words) < wanted:
        words = words + _filling(prompt.shown, settings, wanted - len(words))
    return words[:wanted]


def _length(script: Script, scripted: int, settings: GenerationSettings) -> int:
    if settings.fixed_length:
        return settings.max_new_tokens
    own = script.tokens if script.tokens is not None else scripted if script.text else scripted + 24
    return min(own, settings.max_new_tokens)


def _opening(shown: str) -> list[str]:
    quoted = [word.strip("\"'.,:;!?") for word in shown.split(None, 6)[:6]]
    return ["You", "asked", "about", *filter(None, quoted), "so", "here", "it", "is:"]


def _filling(shown: str, settings: GenerationSettings, count: int) -> list[str]:
    """Words in an order that depends on the prompt, and on the seed where the answer is sampled."""
    key = f"{settings.seed}:{shown}" if settings.temperature > 0 else shown
    number = zlib.crc32(key.encode("utf-8", "surrogatepass"))
    total = len(_WORDS)
    start, step = number % total, 1 + number // total % (total - 1)
    words: list[str] = []
    while len(words) < count:
        words += [_WORDS[(start + place * step) % total] for place in range(min(total, count - len(words)))]
        step = 1 + step % (total - 1)  # another order for the next lap, so that no lap repeats the one before
    return words


def _looped(words: list[str], count: int) -> list[str]:
    return (words * (count // max(1, len(words)) + 1))[:count] if words else []
