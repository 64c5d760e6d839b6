"""The price list, against what it is made from."""

from datetime import UTC, date, datetime, time

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from domain.models import Usage, cost_usd
from domain.prices import AS_OF, PRICES
from tests.prices import FILE, price_list

DAY = date.fromisoformat(AS_OF)


def test_the_list_is_what_its_source_says() -> None:
    """Run `python -m tests.prices` after an update of genai-prices."""
    assert FILE.read_text() == price_list(DAY)


@pytest.mark.parametrize("input", [10_000, 500_000])
def test_a_call_costs_what_the_source_calculates(input: int) -> None:
    usage = Usage(input=input, output=300, cache_read=2_000, cache_write=1_000)
    theirs = TheirUsage(
        input_tokens=input, output_tokens=300, cache_read_tokens=2_000, cache_write_tokens=1_000
    )
    now = datetime.combine(DAY, time(), UTC)
    wrong: dict[str, tuple[float | None, float]] = {}
    for name in PRICES:
        vendor = "anthropic" if name.startswith("claude") else "openai"
        price = calc_price(theirs, name, provider_id=vendor, genai_request_timestamp=now)
        ours = cost_usd(name, usage)
        if ours != pytest.approx(float(price.total_price)):
            wrong[name] = ours, float(price.total_price)

    assert wrong == {}


def test_editions_cost_what_their_model_costs() -> None:
    usage = Usage(input=1_000_000, output=1_000_000)

    assert cost_usd("gpt-4o-mini-2024-07-18", usage) == cost_usd("gpt-4o-mini", usage) == 0.75
    assert cost_usd("claude-sonnet-4-5-20250929", Usage(output=1_000_000)) == 15.0
    assert cost_usd("gpt-4o-2024-05-13", usage) == 20.0  # listed itself


def test_nobody_knows_what_an_unknown_model_costs() -> None:
    assert cost_usd("llama3.2", Usage(input=5)) is None
