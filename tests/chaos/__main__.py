"""`python -m tests.chaos`: a real installation under load and attack, and what it kept to.

Exits with 0 if every check held, with 1 if one did not. See docs/guides/chaos.md.
"""

import argparse
import asyncio
import pickle
import secrets
import sys
import time
from pathlib import Path

import msgspec

from adapters import telemetry
from tests.chaos.checks import judge
from tests.chaos.evidence import Evidence
from tests.chaos.judging import Verdict, table
from tests.chaos.running import Options, run, usual_database
from tests.chaos.unguarded import GUARDS


def main() -> int:
    """Run it once; returns the exit code."""
    given = _arguments()
    telemetry.configure("chaos", "text", "error")
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:7.1f} s  {line}\n")

    options = Options(
        kills=given.kills,
        seed=seed,
        database=given.database,
        keep=given.keep,
        without=given.without,
    )
    say(f"seed {seed}, {given.kills} kills, {given.database}")
    evidence = asyncio.run(run(options, say))
    if given.evidence:
        given.evidence.write_bytes(pickle.dumps(evidence))
    verdicts = judge(evidence)
    if given.json:
        sys.stdout.write(f"{_as_json(evidence, verdicts)}\n")
    else:
        sys.stdout.write(f"{_summary(evidence)}\n\n{table(verdicts)}\n")
    return 0 if all(each.ok for each in verdicts) else 1


def _summary(evidence: Evidence) -> str:
    counts: dict[str, int] = {}
    for fault in evidence.faults:
        part = f"{fault.part} {fault.action}"
        counts[part] = counts.get(part, 0) + 1
    done = ", ".join(f"{part} {count}" for part, count in sorted(counts.items()))
    froze = sum(each.froze_log for each in evidence.faults)
    return (
        f"seed {evidence.seed}, {evidence.database}: {len(evidence.faults)} faults in"
        f" {evidence.seconds:.0f} s ({done}); {len(evidence.missed)} found nothing to hit;"
        f" {froze} stood still with the log's lock; this process was {evidence.worst_lag:.2f} s"
        " late at worst"
    )


def _as_json(evidence: Evidence, verdicts: list[Verdict]) -> str:
    told = {
        "seed": evidence.seed,
        "database": evidence.database,
        "seconds": round(evidence.seconds, 1),
        "faults": evidence.faults,
        "missed": evidence.missed,
        "checks": [
            {"name": each.name, "ok": each.ok, "figure": each.figure, "wrong": each.wrong}
            for each in verdicts
        ],
    }
    return msgspec.json.encode(told).decode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="how many faults")
    parser.add_argument("--seed", type=int, help="repeats a schedule; drawn if left out")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default=usual_database())
    parser.add_argument("--json", action="store_true", help="print faults and checks as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the directory and its logs")
    parser.add_argument("--evidence", type=Path, help="write what was seen to this file")
    parser.add_argument("--without", choices=sorted(GUARDS), default="", help="take a guard out")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
