"""Two things measured in turns: only the ratio of neighbours means anything on a shared machine."""

import statistics
from collections.abc import Callable

ROUNDS = 5


def compare(
    name: str,
    ours: Callable[[], float],
    other: Callable[[], float],
    *,
    aim: float,
    rounds: int = ROUNDS,
) -> bool:
    """Print the median ratio of two rates, `ours` to `other`, and whether it reaches the aim."""
    pairs = [(ours(), other()) for _ in range(rounds)]
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    ratio = statistics.median(ratios)
    reached = ratio >= aim
    rates = " against ".join(
        f"{statistics.median(rates):,.0f}/s" for rates in zip(*pairs, strict=True)
    )
    print(
        f"{name} {ratio:.2f} {aim:g} {'ok' if reached else 'short'}"
        f"  # {rates}; ratios {ratios[0]:.2f} to {ratios[-1]:.2f}",
        flush=True,
    )
    return reached
