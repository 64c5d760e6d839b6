"""`python -m tests.fuzzing`: the tests of this folder, with more examples than every day's.

What it finds it prints as pytest does. See docs/guides/fuzzing.md.
"""

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.e2e.servers import ROOT
from tests.fuzzing.effort import EXAMPLES, SEED

FOLDER = Path(__file__).parent
PARTS = {path.stem.removeprefix("test_"): path for path in sorted(FOLDER.glob("test_*.py"))}
PARTS["deciders"] = ROOT / "tests" / "domain" / "test_deciders.py"


def main() -> int:
    """Run the parts; returns the exit code."""
    given = _arguments()
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    files = [str(PARTS[part]) for part in given.parts or PARTS]
    sys.stderr.write(f"seed {seed}, {given.examples} examples\n")
    options = ["--timeout=0", f"--hypothesis-seed={seed}", "-p", "no:randomly", "-ra"]
    # The longest test is much longer than the others: each goes to whoever has time.
    options += [f"--numprocesses={given.processes}", "--dist=worksteal", "--durations=0"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        env=os.environ | {EXAMPLES: str(given.examples), SEED: str(seed)},
        check=False,
    )
    return done.returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all, if left out")
    parser.add_argument("--examples", type=int, default=500, help="of each test, operation, rule")
    parser.add_argument("--seed", type=int, help="repeats a run; drawn if left out")
    parser.add_argument("--processes", type=int, default=2, help="how many tests at once")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
