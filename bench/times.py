"""Two durations measured in turns: what is compared is each with its neighbour in time."""

import statistics
from collections.abc import Sequence


def tell(name: str, ours: Sequence[float], others: Sequence[float], *, aim: float) -> bool:
    """Print the median ratio of two lists of seconds, round by round, and if it is low enough."""
    ratios = sorted(mine / theirs for mine, theirs in zip(ours, others, strict=True))
    ratio = statistics.median(ratios)
    reached = ratio <= aim
    middle = len(ratios) // 4
    print(
        f"{name} {ratio:.2f} {aim:g} {'ok' if reached else 'short'}"
        f"  # {statistics.median(ours) * 1e3:.2f} ms against {statistics.median(others) * 1e3:.2f};"
        f" half of the ratios are {ratios[middle]:.2f} to {ratios[-1 - middle]:.2f}",
        flush=True,
    )
    return reached
