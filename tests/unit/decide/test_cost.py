"""Money: exact, summed before it is rounded, and never less for more work."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Prices
from retune.decide.cost import cores, cost

PRICES = Prices(currency="EUR", gpu_hour="3.20", cpu_hour="0.045")
MILLISECONDS = st.integers(0, 10**8)
MONEY = st.integers(0, 10**9).map(lambda n: str(Decimal(n).scaleb(-6)))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("4", "4"),
        (4, "4"),
        ("0.5", "0.5"),
        ("500m", "0.5"),
        ("250m", "0.25"),
        ("1500000u", "1.5"),
        ("2000000000n", "2"),
        ("1e1", "10"),
        ("1k", "1000"),
        (None, "1"),
    ],
)
def test_cores_of_a_quantity(quantity: str | int | None, expected: str) -> None:
    assert cores(quantity) == Decimal(expected)


@pytest.mark.parametrize(
    ("gpu", "cpu", "amount"),
    [
        (0, 0, "0.0000"),
        (3600, 0, "3.2000"),
        (0, 3600, "0.0450"),
        (1800, 7200, "1.6900"),
        (0, 4, "0.0001"),  # 0.00005 is rounded up
        (0, 3.999, "0.0000"),
    ],
)
def test_prices_are_per_hour(gpu: float, cpu: float, amount: str) -> None:
    found = cost([make.attempt(gpu_seconds=gpu, cpu_seconds=cpu)], PRICES)
    assert (found.amount, found.currency) == (amount, "EUR")


@given(st.lists(st.tuples(MILLISECONDS, MILLISECONDS), max_size=64), MONEY, MONEY)
def test_many_attempts_cost_what_their_total_time_costs(times: list[tuple[int, int]], gpu: str, cpu: str) -> None:
    prices = Prices(currency="EUR", gpu_hour=gpu, cpu_hour=cpu)
    attempts = [make.attempt(n + 1, gpu_seconds=g / 1000, cpu_seconds=c / 1000) for n, (g, c) in enumerate(times)]
    gpu_total, cpu_total = sum(g for g, _ in times), sum(c for _, c in times)
    exact = (Decimal(gpu_total) * Decimal(gpu) + Decimal(cpu_total) * Decimal(cpu)) / 3_600_000
    found = cost(attempts, prices)
    assert Decimal(found.amount) == exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert found.gpu_seconds == gpu_total / 1000
    assert found.cpu_seconds == cpu_total / 1000


@given(st.lists(MILLISECONDS, min_size=1, max_size=20))
def test_one_attempt_more_is_never_cheaper(times: list[int]) -> None:
    attempts = [make.attempt(n + 1, gpu_seconds=t / 1000) for n, t in enumerate(times)]
    assert Decimal(cost(attempts, PRICES).amount) >= Decimal(cost(attempts[:-1], PRICES).amount)
