"""Side-by-side measurements: `python -m bench [NAME…]`, all of them without a name.

Each prints lines of `NAME ratio aim ok|short`; what follows a `#` is for people.
"""

import importlib
import sys
from pathlib import Path

from adapters import telemetry

# The other modules are what these are made of.
NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if "def main() -> int:" in path.read_text() and path.stem != "__main__"
)


def run(names: list[str]) -> int:
    """Run benches by name, one after the other; returns how many were not run or failed."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"There is no bench {', '.join(unknown)}. There are: {', '.join(NAMES)}.")
        return 2
    failed = 0
    for name in names or NAMES:
        failed += bool(importlib.import_module(f"bench.{name}").main())
    return failed


if __name__ == "__main__":
    telemetry.configure("bench", "text", "warning")  # log lines are not measurements
    sys.exit(run(sys.argv[1:]))
