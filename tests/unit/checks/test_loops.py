import time

import pytest

from pytest_llmci.checks.base import CheckInput
from pytest_llmci.checks.loops import Repetition, find_loop
from pytest_llmci.records import Prompt

SENTENCE = "The quick brown fox jumps over the lazy dog. "

LOOPS = {
    "one character": "a" * 50,
    "punctuation only": "!" * 50,
    "one word": "The answer is the the the the the the the the the the the the the the the the",
    "one sentence": "Sure, here it is. " + SENTENCE * 5,
    "cut inside the sentence": (SENTENCE * 5)[:-20],
    "one line": "Answer:\n" + "I am a language model.\n" * 10,
    "blank lines between": "I am a language model.\n\n\n" * 10,
    "several lines": "Q: What?\nA: That.\n\n" * 6,
    "a paragraph": ("This is the first sentence. This is another one, longer than the first. " * 4),
    "digits": "1/3 = 0." + "3" * 100,
    "Chinese": "我不知道，" * 12,
    "one Chinese character": "好的。" + "哈" * 60,
    "Arabic": "لا أعرف الإجابة. " * 6,
    "Hindi": "मुझे नहीं पता। " * 6,
    "emoji": "Great! " + "🎉" * 200,
    "cut inside a character": "哈" * 60 + "\ufffd",
    "blank end": "no " * 40 + "\n\n   ",
    "ruled without end": "Title\n" + "-" * 400,
    "table rows": "| a | b |\n" * 12,
    "a long answer that goes astray": SENTENCE.join(map(str, range(100))) + "and so on " * 120,
}

SENSIBLE = {
    "empty": "",
    "short refusal": "No, no, no, no.",
    "laughter": "Hahahahahaha, that is a good one. What else would you like to know?",
    "list": "".join(
        f"{n}. Eat more {what}.\n" for n, what in enumerate(("fruit", "greens", "nuts", "beans", "fish"), 1)
    ),
    "numbers": ", ".join(map(str, range(1, 60))),
    "answer sheet": "1. Yes\n2. Yes\n3. Yes\n4. Yes\n5. Yes\n6. Yes\n7. Yes\n8. Yes\n",
    "table": "| Protocol | Reliable | Ordered | Fast |\n| --- | --- | --- | --- |\n| TCP | yes | yes | no |\n| UDP | no | no | yes |\n",
    "table cut after its rule": "| A | B | C | D | E | F | G | H |\n| --- | --- | --- | --- | --- | --- | --- | --- |",
    "heading": "Photosynthesis\n" + "=" * 60,
    "form": "Please write your full name here: " + "_" * 70,
    "table of contents": "Introduction " + "." * 70 + " 1\nMethods " + "." * 75 + " 2\n",
    "code": "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n",
    "matrix": "[[1, 0, 0, 0],\n [0, 1, 0, 0],\n [0, 0, 1, 0],\n [0, 0, 0, 1]]",
    "closing brackets": "x = [" + "[" * 30 + "1" + "]" * 31,
    "refrain": "".join(
        f"{n} green bottles hanging on the wall,\n{n} green bottles hanging on the wall,\nAnd if one green bottle should fall,\n"
        for n in (10, 9, 8, 7, 6)
    ),
    "round": "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.\n",
    "anaphora": "".join(
        f"I have a dream that {what}. " for what in ("one day", "my children", "every valley", "freedom")
    ),
    "poem in Chinese": "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "Japanese": "桜が咲いています。とてもとてもとてもきれいです。春が来ました。",
    "repeated thrice": SENTENCE * 3,
    "loop that ended": SENTENCE * 8
    + "But enough of that. "
    + "".join(f"Then there is the matter of item {n}. " for n in range(20)),
    "answer and blank lines": "Paris." + "\n" * 300,
    "DNA": "ACGTTAGCCATTAGACCATAGGACATTACCAGATACCAGGATTACAGATTACACCAGATAGCA",
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_caught(name: str) -> None:
    assert find_loop(LOOPS[name]) is not None


@pytest.mark.parametrize("name", SENSIBLE)
def test_sensible_texts_pass(name: str) -> None:
    assert find_loop(SENSIBLE[name]) is None


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("ab " * 13 + "ab", True),  # 41 characters
        ("ab " * 12 + "ab", False),  # 38
        ("abcdefghijklmnopqrst" * 4, True),
        ("abcdefghijklmnopqrst" * 3 + "abcdefghijklmnopqrs", False),
        ("." * 10 + "x" * 40 + "ab" * 25, True),  # half
        ("." * 11 + "x" * 40 + "ab" * 25, False),
        ("x" * 20 + "y" * 139 + "-" * 160, True),
        ("x" * 20 + "y" * 138 + "-" * 159, False),
        ("-" * 90 + "", True),
        (SENTENCE * 30 + "Z" + "hi there " * 112, True),  # 1,007 characters
        ("".join(map(str, range(900))) + "hi there " * 110, False),
    ],
)
def test_thresholds(text: str, caught: bool) -> None:
    assert (find_loop(text) is not None) == caught


def test_the_message_quotes_the_unit() -> None:
    loop = CheckInput(
        text="Well. " + SENTENCE * 6, finish_reason="length", special_only=False, prompt=Prompt(id="p", text="?")
    )
    assert Repetition()(loop).message == (
        'endless repetition: expected an end, found "The quick brown fox jumps over the lazy dog." 6 times back to back,'
        " 99% of the output"
    )


@pytest.mark.parametrize(
    "text",
    [
        "".join(chr(97 + n * n % 26) + chr(97 + n % 23) for n in range(50_000)),
        "a" * 99_999,
        "a" * 50_000 + "b" + "a" * 49_999,
    ],
    ids=["prose", "loop", "broken loop"],
)
def test_fast(text: str) -> None:
    best = min(_seconds(text) for _ in range(3))
    assert best < 0.25, "about 0.015 s on a quiet machine; a rule of quadratic cost takes minutes"


def _seconds(text: str) -> float:
    start = time.process_time()
    find_loop(text)
    return time.process_time() - start
