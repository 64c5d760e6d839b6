"""What model calls cost, by the vendors' published prices."""

import re

from msgspec import Struct

from domain.prices import LONG_PRICES, PRICES

MILLION = 1_000_000

# The editions of a model cost the same, unless they are listed themselves.
EDITION = re.compile(r"(-latest|[-@]\d{8}|-\d{4}-\d{2}-\d{2})$")


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens. `input` counts all that was sent, with what was read from or written to a cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


def cost_usd(model: str, usage: Usage) -> float | None:
    """Return what a call cost, None for a model whose price is not known."""
    name = model if model in PRICES else EDITION.sub("", model)
    prices = PRICES.get(name)
    if prices is None:
        return None
    above, long_prices = LONG_PRICES.get(name, (usage.input, prices))
    per_input, per_output, per_read, per_write = long_prices if usage.input > above else prices
    fresh = max(0, usage.input - usage.cache_read - usage.cache_write)
    cost = (
        fresh * per_input
        + usage.output * per_output
        + usage.cache_read * per_read
        + usage.cache_write * per_write
    )
    return round(cost / MILLION, 9)
