from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pytest_llmci.errors import GenerationError
from pytest_llmci.prompts import load_prompts, read_prompts
from pytest_llmci.prompts.filler import draws, key_of, text_of_words, words
from pytest_llmci.prompts.fit import MARK, filled, fitted
from pytest_llmci.records import Fill, Message, Prompt, from_json, to_json


def load(folder: Path, *entries: object) -> tuple[Prompt, ...]:
    path = folder / "p.json"
    path.write_text(json.dumps({"generate": entries}))
    return load_prompts(str(path), "x")


def faults(folder: Path, *entries: object) -> list[str]:
    path = folder / "p.json"
    path.write_text(json.dumps({"generate": entries, "prompts": ["fine"]}))
    return [str(fault).partition("generate, entry 1: ")[2] for fault in read_prompts(str(path), "x").faults]


# ---------------------------------------------------------------------------------------------------------------- filler


def test_the_filler_is_the_same_for_good() -> None:
    """Prompts of old runs are only met again if these never change."""
    assert list(itertools.islice(draws("0"), 4)) == [2193703587, 960439038, 1194974022, 147025827]
    assert text_of_words("0", 12) == "Every rare engine watches that candle before the late night. Every tall."
    key = key_of(7, "words", 500, {"b": "2", "a": "é"})
    assert sha256(key.encode()).hexdigest()[:12] == "f73e6966ee40"
    assert sha256(text_of_words(key, 500).encode()).hexdigest()[:12] == "dc0ee80b4992"


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 1000])
def test_as_many_words_as_asked_for(count: int) -> None:
    text = text_of_words("k", count)
    assert len(text.split()) == count
    assert not count or (text.endswith(".") and not text.endswith(".."))


def test_no_two_lengths_or_seeds_begin_alike() -> None:
    keys = [
        key_of(seed, unit, length, {"t": t})
        for seed in range(3)
        for unit in ("words", "tokens")
        for length in (50, 60)
        for t in "ab"
    ]
    begins = {" ".join(itertools.islice(words(key), 5)) for key in keys}
    assert len(begins) == len(keys)


# -------------------------------------------------------------------------------------------------------------- lengths


def test_words_of_the_whole_prompt(tmp_path: Path) -> None:
    entry = {
        "id": "scale",
        "template": "Sum up {{topic}}:\n\n{{filler}}\n\nNow.",
        "words": [20, 200],
        "seeds": [0, 5],
        "variables": {"topic": ["the sea", "bread"]},
    }
    found = load(tmp_path, entry)
    assert [prompt.id for prompt in found][:5] == [
        "scale-the-sea-20w-s0",
        "scale-the-sea-20w-s5",
        "scale-the-sea-200w-s0",
        "scale-the-sea-200w-s5",
        "scale-bread-20w-s0",
    ]
    assert [len((prompt.text or "").split()) for prompt in found] == [20, 20, 200, 200] * 2
    assert len({prompt.text for prompt in found}) == 8
    assert found[1].variables == {"topic": "the sea", "words": "20", "seed": "5"}
    assert (found[0].text or "").startswith("Sum up the sea:\n\n") and (found[0].text or "").endswith(".\n\nNow.")
    assert found == load(tmp_path, entry)
    (alone,) = load(tmp_path, {**entry, "words": 200, "seeds": 5, "variables": {"topic": "bread"}})
    assert alone == replace(found[7], source=alone.source), "what else an entry asks for changes no prompt"


def test_messages_and_system_count_too(tmp_path: Path) -> None:
    entry = {
        "id": "c",
        "messages": [{"role": "user", "content": "Read {{filler}}"}, {"role": "assistant", "content": "Done it."}],
        "system": "Be brief.",
        "words": 30,
    }
    (prompt,) = load(tmp_path, entry)
    assert prompt.id == "c-30w"
    assert sum(len(message.content.split()) for message in prompt.messages) == 30
    assert prompt.fill is None and not prompt.is_open


def test_seeds_and_lengths_may_stand_in_the_text_and_the_id(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        {"id": "try-{{seed}}", "template": "Pick a number, try {{seed}}.", "seeds": [1, 2], "tags": "try{{seed}}"},
    )
    assert [(prompt.id, prompt.text, prompt.tags) for prompt in found] == [
        ("try-1", "Pick a number, try 1.", ("try1",)),
        ("try-2", "Pick a number, try 2.", ("try2",)),
    ]


def test_tokens_stay_open_until_a_model_counts(tmp_path: Path) -> None:
    first, second = load(tmp_path, {"id": "t", "template": "Sum up: {{filler}}!", "tokens": [8, 16]})
    assert first.is_open and first.text is None and first.shown == "(8 tokens, by the model's tokenizer)"
    assert [first.id, second.id] == ["t-8t", "t-16t"]
    assert first.variables == {"tokens": "8"}
    assert from_json(Prompt, to_json(first)) == first


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": None, "template": "a"}, "key 'id' is missing; generated prompts are named after it."),
        ({"id": "a", "template": "{{filler}}", "words": 3, "tokens": 3}, "both 'words' and 'tokens' are given"),
        ({"id": "a", "template": "x", "words": 3}, "key 'words': the template must hold {{filler}} once, to be filled up to a length; found 0."),
        ({"id": "a", "template": "{{filler}}{{filler}}", "words": 3}, "found 2."),
        ({"id": "a", "template": "{{filler}}"}, "{{filler}} needs a length"),
        ({"id": "a", "template": "x", "seeds": 3}, "key 'seeds': no prompt depends on it"),
        ({"id": "a", "template": "{{filler}} x y", "words": [9, 2]}, "key 'words': 2 leaves no room for the filler, as the rest of the prompt has 2 words already"),
        ({"id": "a", "template": "{{filler}}", "words": [3, 3]}, "key 'words': 3 stands twice"),
        ({"id": "a", "template": "{{filler}}", "words": []}, "key 'words': the list is empty"),
        ({"id": "a", "template": "{{filler}}", "words": "3"}, "key 'words': expected a whole number or a list of them, found a text."),
        ({"id": "a", "template": "{{filler}}", "tokens": True}, "key 'tokens': expected a whole number"),
        ({"id": "a", "template": "{{filler}}", "tokens": 0}, "key 'tokens': 0 must be from 1 to 1,000,000."),
        ({"id": "a", "template": "{{filler}}", "tokens": 5, "seeds": -1}, "key 'seeds': -1 must be from 0 to"),
        ({"id": "a", "template": "{{seed}}"}, "key 'template': the placeholder {{seed}} needs the key 'seeds'."),
        ({"id": "a", "template": "{{words}} {{filler}}", "tokens": 9}, "the placeholder {{words}} needs the key 'words' with a length."),
        ({"id": "a", "template": "{{filler}}", "words": 9, "reference": "{{filler}}"}, "{{filler}} may stand in 'template' or 'messages' alone."),
        ({"id": "a", "template": "x {{filler}}", "words": 9, "system": "{{filler}}"}, "{{filler}} may stand in"),
        ({"id": "a", "template": "x {{seed}}", "seeds": 1, "variables": {"seed": 1}}, "key 'variables': 'seed' has a meaning of its own in 'generate'"),
        ({"id": "a", "prompt": "x"}, "unknown key 'prompt'"),
        ({"id": "a"}, "neither 'template' nor 'messages' is given"),
        ({"id": "a", "template": "{{filler}}", "words": 1, "seeds": list(range(20))}, "give the same prompt"),
    ],
)  # fmt: skip
def test_one_line_names_entry_and_key(tmp_path: Path, entry: object, expected: str) -> None:
    found = faults(tmp_path, entry)
    assert any(expected in line for line in found), found


def test_a_row_is_no_entry_of_generate(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"template": "x", "words": 3}]')
    assert "row 1: unknown key 'words'" in str(read_prompts(str(path), "x").faults[0])


# ------------------------------------------------------------------------------------------------------------- in tokens


def prompt_of(tokens: int, text: str = f"Sum up: {MARK} Now!") -> Prompt:
    return Prompt(id="p", fill=Fill(tokens=tokens, key="k", text=text))


def characters(prompts: Sequence[Prompt]) -> list[int]:
    return [len(prompt.shown.encode()) for prompt in prompts]


def pieces(prompts: Sequence[Prompt]) -> list[int]:
    """As BPE does: a blank belongs to its word, rare words are two tokens, three dots are one."""
    return [
        sum(1 + (len(token) > 7) for token in re.findall(r"\.\.\.| ?\w+|[^\w\s]+|\s", prompt.shown))
        for prompt in prompts
    ]


def pairs(prompts: Sequence[Prompt]) -> list[int]:
    """Two characters are one token: half of the lengths can only be met by what stands behind the last word."""
    return [-(-len(prompt.shown) // 2) for prompt in prompts]


@pytest.mark.parametrize("count", [characters, pieces, pairs])
@pytest.mark.parametrize("tokens", [20, 21, 22, 23, 24, 25, 57, 64, 100, 512, 1023])
def test_exactly_as_many_tokens(count: object, tokens: int) -> None:
    assert callable(count)
    found = fitted(prompt_of(tokens), count, "m")
    assert count([found]) == [tokens]
    assert not found.is_open and MARK not in found.shown
    assert found.shown.startswith("Sum up: ") and found.shown.endswith(" Now!")
    assert found == fitted(prompt_of(tokens), count, "m"), "the same each time"


def test_in_messages() -> None:
    chat = Prompt(
        id="p",
        fill=Fill(
            tokens=60,
            key="k",
            messages=(Message(role="system", content="S"), Message(role="user", content=f"U {MARK}")),
        ),
    )
    found = fitted(chat, characters, "m")
    assert len(found.shown) == 60 and found.messages[0].content == "S"


def test_few_questions_are_asked_of_the_tokenizer() -> None:
    asked = 0

    def counting(prompts: Sequence[Prompt]) -> list[int]:
        nonlocal asked
        asked += len(prompts)
        return pieces(prompts)

    fitted(prompt_of(20_000), counting, "m")
    assert asked < 120


def test_what_cannot_be_met_is_said() -> None:
    with pytest.raises(
        GenerationError, match=r"m: prompt 'p' is to have 5 tokens, but without filler it has 13; ask for more"
    ) as caught:
        fitted(prompt_of(5), characters, "m")
    assert caught.value.kind == "length"
    with pytest.raises(
        GenerationError, match=r"is to have 101 tokens, and no filler makes exactly that many; ask for another number"
    ):
        fitted(prompt_of(101), lambda prompts: [2 * number for number in characters(prompts)], "m")


def test_a_prompt_that_is_not_open_stays_as_it_is() -> None:
    prompt = Prompt(id="p", text="x")
    assert fitted(prompt, characters, "m") is prompt is filled(prompt, "y")
