"""Times, money and numbers read as a person would write them."""

from datetime import UTC, datetime, timedelta

import pytest

from retune.cli.wording import age, bounds, clock, listed, money, reading, words

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"), [(9, "0:09"), (754, "12:34"), (3723, "1:02:03"), (-4, "0:00"), (90000, "25:00:00")]
)
def test_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400, "24h"), (9 * 86400, "9d")]
)
def test_ages_change_their_unit_at_two_of_it_as_kubectl_does(seconds: int, said: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == said
    assert age(None, NOW) == "-"


@pytest.mark.parametrize(
    ("amount", "said"),
    [("12.4", "12.40 EUR"), ("0", "0.00 EUR"), ("0.0031", "0.0031 EUR"), (7, "7.00 EUR"), ("a lot", "a lot")],
)
def test_small_amounts_keep_their_digits(amount: object, said: str) -> None:
    assert money(amount, "EUR") == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("nearDuplicates", 12, "near duplicates 12"),
        ("nearDuplicates", 12.0, "near duplicates 12"),
        ("duplicateFraction", 0.0125, "duplicate fraction 1.25%"),
        ("EMAIL_ADDRESS", 3, "EMAIL_ADDRESS 3"),
        ("score", 0.83333, "score 0.8333"),
    ],
)
def test_a_measured_number_reads_as_words(name: str, value: float, said: str) -> None:
    assert reading(name, value) == said


def test_half_an_interval_is_better_than_none() -> None:
    assert bounds(0.1, None) == "+0.100 to -"
    assert bounds(None, None) == "-"


def test_names_are_listed_as_in_a_sentence() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert words("baselineCostPer1k") == "baseline cost per1k"
