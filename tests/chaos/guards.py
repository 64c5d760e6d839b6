"""`python -m tests.chaos.guards [NAME…]`: takes one guard after the other out of the server itself.

For each, the check that watches over it must fail. Takes half a minute or more for each guard.
"""

import argparse
import json
import subprocess
import sys

from tests.chaos.unguarded import GUARDS, Guard
from tests.e2e.servers import ROOT
from tests.postgres import find_postgres

SEED = 7


def main() -> int:
    """Try all that are named; returns how many were not missed by anybody."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.guards", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GUARDS))
    names: list[str] = parser.parse_args().names
    return sum(not _is_missed(name, GUARDS[name]) for name in names or GUARDS)


def _is_missed(name: str, guard: Guard) -> bool:
    if guard.database == "postgres" and find_postgres() is None:
        sys.stdout.write(f"skip  {name}: there is no PostgreSQL here\n")
        return True
    command = [sys.executable, "-m", "tests.chaos", "--json", "--without", name]
    command += ["--kills", str(guard.kills), "--database", guard.database, "--seed", str(SEED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1} or not done.stdout:
        sys.stdout.write(f"FAIL  {name}: {done.stderr[-2000:]}\n")
        return False
    checks = json.loads(done.stdout)["checks"]
    failed = [each["name"] for each in checks if not each["ok"]]
    fine = guard.notices in failed
    sys.stdout.write(f"{'ok  ' if fine else 'FAIL'}  {name}: {', '.join(failed) or 'unnoticed'}\n")
    sys.stdout.flush()
    return fine


if __name__ == "__main__":
    sys.exit(main())
