"""Makes the price list from genai-prices: `python -m tests.prices`.

The list is kept in the code because the package would cost each run host 31 MiB and 0.3 s.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from genai_prices.data import providers

from domain.models import EDITION

FILE = Path(__file__).resolve().parents[1] / "domain" / "prices.py"
VENDORS = ("anthropic", "openai")

type Prices = tuple[float, float, float, float]


def price_list(day: date) -> str:
    """Return the module as it is for a day."""
    prices: dict[str, Prices] = {}
    long_prices: dict[str, tuple[int, Prices]] = {}
    for vendor in VENDORS:
        source = next(each for each in providers if each.id == vendor)
        for name in {name for each in source.models for name in (each.id, *_names(each.match))}:
            model = source.find_model(name)
            price = model and model.get_prices(datetime.combine(day, time(), UTC))
            if not price or not _only_text(price):
                continue
            prices[name] = _prices(price, None)
            if tiers := getattr(price.input_mtok, "tiers", None):
                long_prices[name] = tiers[0].start, _prices(price, tiers[0].start)
    short = {
        name: each
        for name, each in prices.items()
        if name == EDITION.sub("", name) or prices.get(EDITION.sub("", name)) != each
    }
    return _module(day, short, {n: each for n, each in long_prices.items() if n in short})


def _module(day: date, prices: dict[str, Prices], long: dict[str, tuple[int, Prices]]) -> str:
    lines = [
        '"""Prices of models in USD for a million tokens: input, output, cache read, cache write.',
        "",
        "Made by `python -m tests.prices` from the package genai-prices (MIT).",
        '"""',
        "",
        f'AS_OF = "{day}"',
        "",
        "type Prices = tuple[float, float, float, float]",
        "",
        "PRICES: dict[str, Prices] = {",
        *(f'    "{name}": {prices[name]},' for name in sorted(prices)),
        "}",
        "",
        "# What everything costs in a call with more input tokens than the number.",
        "LONG_PRICES: dict[str, tuple[int, Prices]] = {",
        *(f'    "{name}": {long[name]},' for name in sorted(long)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _only_text(price: object) -> bool:
    """Whether tokens of text are all that it is sold by."""
    named = {name for name, value in vars(price).items() if value is not None}
    return {"input_mtok", "output_mtok"} <= named and not any(
        "audio" in name or "image" in name for name in named
    )


def _names(match: Any) -> Iterator[str]:
    """Yield the names in a rule. Rules that match by pattern are for editions, which need none."""
    for clause in getattr(match, "or_", [match]):
        name = getattr(clause, "equals", None) or getattr(clause, "starts_with", None)
        if name and name[-1].isalnum() and ":" not in name and not name.endswith("-2025"):
            yield name


def _prices(price: Any, above: int | None) -> Prices:
    read = price.cache_read_mtok or price.input_mtok
    write = price.cache_write_mtok or price.input_mtok
    four = (price.input_mtok, price.output_mtok, read, write)
    first, second, third, last = (_rate(each, above) for each in four)
    return first, second, third, last


def _rate(price: Any, above: int | None) -> float:
    if isinstance(price, Decimal):
        return float(price)
    tiers = [tier.price for tier in price.tiers if above is not None and tier.start <= above]
    return float(tiers[-1] if tiers else price.base)


if __name__ == "__main__":
    FILE.write_text(price_list(datetime.now(UTC).date()))
