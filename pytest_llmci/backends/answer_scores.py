"""How likely an answer is after its prompt, as the model itself saw both: for checks, called in the model's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import GenerationError
from ..records import Prompt, from_json


def logprobs(backend: Any, prompt: Mapping[str, Any], text: str, token_ids: Sequence[int]) -> list[float]:
    """Natural log-probability of each token of an answer.

    A backend with ``score_after(prompt, text, token_ids)`` is asked that; of others those that score texts can be asked of a text.

    :param prompt: a :class:`Prompt` as JSON data.
    :param token_ids: the tokens that the model generated; empty where they are not known.
    :raises GenerationError: if the backend cannot do it.
    """
    asked = from_json(Prompt, prompt)
    after, score = getattr(backend, "score_after", None), getattr(backend, "score", None)
    if after is not None:
        return [float(value) for value in after(asked, text, token_ids)]
    if score is None:
        raise GenerationError("this model source knows no log-probabilities.", kind="unsupported")
    if asked.text is None:
        raise GenerationError(
            "this model source scores no answer after chat messages; give the prompt as a text.", kind="unsupported"
        )
    return [float(value) for value in score(asked.text, text)]
