import pytest

from pytest_llmci.stats.looks import look_alpha


def test_four_looks_spend_as_documented() -> None:
    assert [look_alpha(look, 4) for look in range(4)] == pytest.approx([0.10, 0.20, 0.25, 0.45])
    assert look_alpha(0, 1) == 1.0


@pytest.mark.parametrize("looks", [1, 2, 3, 5, 8, 40])
def test_shares_add_up_to_one(looks: int) -> None:
    shares = [look_alpha(look, looks) for look in range(looks)]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0


@pytest.mark.parametrize(("look", "looks"), [(-1, 4), (4, 4), (0, 0)])
def test_no_such_look(look: int, looks: int) -> None:
    with pytest.raises(ValueError, match="look"):
        look_alpha(look, looks)
