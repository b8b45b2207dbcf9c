from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.errors import ConfigError
from pytest_llmci.specs import parse_spec

KNOWN = ("echo", "tiny", "smollm2", "transformers", "hf", "py")
WORD = st.text("abcXYZ019_", min_size=1, max_size=6)


@given(st.text(max_size=30) | st.text("=:@+/.echo hf", max_size=20))
def test_any_text_is_a_spec_or_a_config_error(text: str) -> None:
    """Whatever is written, it is refused in words or has an alias that can stand in a node id."""
    try:
        spec = parse_spec(text, KNOWN, "--place")
    except ConfigError as error:
        refused = str(error)
    else:
        refused = "--place: "
        assert spec.alias and spec.alias.isascii() and not set("[]@=/: \n").intersection(spec.alias)
    assert refused.startswith("--place: ")


@given(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True),
    WORD,
    WORD,
    st.dictionaries(st.sampled_from(["dtype", "threads", "k1"]), WORD),
)
def test_what_is_put_together_is_taken_apart(alias: str, name: str, revision: str, options: dict[str, str]) -> None:
    """alias=hf:org/name@revision+key=value gives back each of its parts."""
    pairs = "".join(f"+{key}={value}" for key, value in options.items())
    spec = parse_spec(f"{alias}=hf:org/{name}@{revision}{pairs}", KNOWN, "x")
    assert (spec.alias, spec.backend, spec.target, spec.revision) == (alias, "hf", f"org/{name}", revision)
    assert spec.options == options
