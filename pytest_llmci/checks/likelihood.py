"""``perplexity:20`` and ``reference_logprob:-2``: how likely a text is after the prompt, by the model that made the output.

The model is asked for the log-probability of each token after the measuring, in its own process. The prompt must be a text that
goes to the model raw: what a chat template makes of messages is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ..errors import CheckError, ConfigError
from ..records import CheckResult
from .arguments import excerpt, read_flag, read_number, read_options, read_text, require_argument
from .base import BuiltIn, CheckInput, Exemplar

_LEAST: Final = 'reference_logprob:{"min":-2}'


class Perplexity(BuiltIn):
    """Passes where the perplexity of the output, after its prompt and under the model that made it, is at most so much.

    It is e to the minus mean of the natural log-probabilities of the output's tokens: 1 where the model was certain of each. The
    output's text is split into tokens anew, without an end-of-text token.
    """

    name = "perplexity"
    exemplars = (
        Exemplar(check="perplexity:3", text=" Paris is.", logprobs=(-0.5, -1.0, -1.5), passes=True, says="2.718"),
        Exemplar(
            check="perplexity:2.5", text=" Paris is.", logprobs=(-0.5, -1.0, -1.5), passes=False, says="found 2.718"
        ),
        Exemplar(check="perplexity:3", text="x", logprobs=(float("nan"),), passes=False, says="is nan"),
        Exemplar(check="perplexity:3", text="x", logprobs=(float("-inf"),), passes=False, says="found inf"),
        Exemplar(check="perplexity:3", text="", passes=False, says="nothing to score"),
        Exemplar(check="perplexity:3", text="It is Paris.", passes=False, says="needs the model"),
    )

    def __init__(self, argument: str = "") -> None:
        text = require_argument(argument.strip(), "perplexity:20")
        super().__init__(text)
        self._most = read_number(text, "the greatest perplexity", "perplexity:20", least=1)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if not output.text.strip():
            raise CheckError("the output is empty: there is nothing to score.")
        mean = _mean(_scored(output, output.text))
        found = math.exp(-mean) if mean > -700 else math.inf
        if found <= self._most:
            return self.passed(f"the output's perplexity is {found:.4g}, at most {self._most:g}")
        return self.failed(
            f"expected a perplexity of at most {self._most:g}, found {found:.4g}: {excerpt(output.text)}"
        )


class ReferenceLogprob(BuiltIn):
    """Passes where the mean natural log-probability of the reference's tokens after the prompt is at least so much.

    The reference is the prompt's unless the check has one; a blank stands between them where neither has white space there. With
    ``"total": true`` the sum over the tokens counts. The output itself plays no part.
    """

    name = "reference_logprob"
    exemplars = (
        Exemplar(check="reference_logprob:-2", text="?", reference="Paris", logprobs=(-1.0, -2.0), passes=True, says="-1.5"),
        Exemplar(check="reference_logprob:-1", text="?", reference="Paris", logprobs=(-1.0, -2.0), passes=False, says="found -1.5"),
        Exemplar(
            check='reference_logprob:{"min":-2,"reference":"Paris","total":true}', text="?", logprobs=(-1.0, -2.0),
            passes=False, says="found -3",
        ),
        Exemplar(check="reference_logprob:-2", text="?", logprobs=(-1.0,), passes=False, says="no reference"),
        Exemplar(check="reference_logprob:-2", text="?", reference="Paris", passes=False, says="needs the model"),
    )  # fmt: skip

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument.strip())
        options = read_options(argument, "min", ["min", "reference", "total"], _LEAST)
        if "min" not in options:
            raise ConfigError("the min is missing; write it like 'reference_logprob:-2'.")
        self._least = read_number(options["min"], "the least log-probability", "reference_logprob:-2", most=0)
        given = options.get("reference")
        self._reference = None if given is None else read_text(given, "reference", _LEAST)
        self.needs_reference = self._reference is None
        self._total = read_flag(options.get("total", False), "total", 'reference_logprob:{"min":-5,"total":true}')

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        reference = output.reference(self._reference)
        context = output.prompt.text or ""
        gap = "" if not context or context[-1].isspace() or reference[0].isspace() else " "
        scores = _scored(output, gap + reference)
        mean = _mean(scores)
        found, kind = (math.fsum(scores), "a log-probability") if self._total else (mean, "a mean log-probability")
        shown = f"{excerpt(reference)} after the prompt"
        if found >= self._least:
            return self.passed(f"{shown} has {kind} of {found:.4g}, at least {self._least:g}")
        return self.failed(f"expected {kind} of at least {self._least:g}, found {found:.4g} for {shown}")


def _scored(output: CheckInput, continuation: str) -> Sequence[float]:
    if output.prompt.text is None or output.templated:
        raise CheckError(
            "the prompt went through the model's chat template, and what that makes of it is not known here; give the prompt as a text."
        )
    return output.services.score(output.prompt.text, continuation)


def _mean(scores: Sequence[float]) -> float:
    if not scores:
        raise CheckError("the model scored no token.")
    mean = sum(scores) / len(scores)
    if math.isnan(mean):
        raise CheckError("the log-probability is nan, which is no number: the model's arithmetic overflowed.")
    return mean
