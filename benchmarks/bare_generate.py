"""A plain transformers loop on the packaged SmolLM2, in a process of its own: one answer for each line on stdin.

Started by ``whole_plugin.py``. Weights, threads and decoding are those that the plugin uses; nothing of the plugin runs
around an answer. Each line of stdout is the wall time of one answer in nanoseconds, the first one says ``ready``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.backends.smollm2 import SmolLM2Backend
from pytest_llmci.engine.cache_dir import user_cache_dir
from pytest_llmci.records import ModelSpec


def load() -> Any:
    """The model with its tokenizer, as the plugin loads it."""
    backend = SmolLM2Backend(ModelSpec(text="smollm2", alias="smollm2", backend="smollm2"))
    backend.prepare()
    backend.load(LoadContext(threads=1, cache_dir=str(user_cache_dir()), say=lambda text: None))
    return backend._lm  # noqa: SLF001  # the very same model, with nothing of ours around it


def main() -> None:
    """Answer until stdin closes."""
    prompt, tokens = sys.argv[1], int(sys.argv[2])
    loaded = load()
    model, tokenizer, torch = loaded.model, loaded.tokenizer, loaded.torch
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter_ns()
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                num_beams=1,
                pad_token_id=loaded.pad_id,
            )
        tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
        print(time.perf_counter_ns() - begin, flush=True)


if __name__ == "__main__":
    main()
