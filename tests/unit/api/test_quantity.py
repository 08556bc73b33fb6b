"""Durations and money: what the user writes is what is computed with, exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from retune.api import decimal, seconds
from retune.api.quantity import DURATION_PATTERN, Duration, Money

PARTS = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("dhms")), min_size=1, max_size=4)
LENGTHS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@given(PARTS)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert seconds(text) == sum(number * LENGTHS[unit] for number, unit in parts)


@given(st.from_regex(DURATION_PATTERN, fullmatch=True).filter(lambda text: text.isascii() and len(text) <= 32))
def test_model_and_function_agree_on_durations(text: str) -> None:
    TypeAdapter(Duration).validate_python(text)
    assert seconds(text) >= 0


@given(st.text(max_size=8))
def test_what_is_no_duration_is_refused_by_both(text: str) -> None:
    try:
        TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        with pytest.raises(ValueError, match="not a duration"):
            seconds(text)
    else:
        assert seconds(text) >= 0


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("1h30m", 5400), ("14d", 1_209_600), ("1d12h", 129_600)])
def test_durations_that_people_write(text: str, length: int) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1w", "1h ", "1h\n", "\u0661h"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="write whole numbers and units"):
        seconds(text)


@given(st.decimals(min_value=0, max_value=Decimal("999999999.999999"), places=6))
def test_money_is_exact(amount: Decimal) -> None:
    text = format(amount, "f")
    assert decimal(text) == amount
    assert TypeAdapter(Money).validate_python(text) == text


@given(st.integers(0, 999_999_999))
def test_whole_money_is_exact(amount: int) -> None:
    assert decimal(amount) == decimal(str(amount)) == Decimal(amount)


@pytest.mark.parametrize("money", ["", "-1", "1,50", "1e3", "NaN", "Infinity", ".5", "1.", " 1", "1\n", -1, True])
def test_money_that_is_none(money: int | str) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        decimal(money)


def test_money_is_never_a_float() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Money).validate_python(3.2)
