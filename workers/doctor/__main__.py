"""`python -m workers.doctor`: looks at this machine and at what it reaches, and mends nothing.

Prints a JSON object a line for each finding, as soon as there is one; `argosy doctor` shows them.
Ends with 0 unless something failed, with 1 then.
"""

import argparse
import sys

import msgspec

from adapters.settings import read_settings
from domain.errors import Invalid
from workers.doctor.examination import examine
from workers.doctor.findings import Finding, broken


def main() -> int:
    """Look, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m workers.doctor", description=__doc__)
    parser.add_argument(
        "--dev", action="store_true", help="the server is `argosy dev`'s, in ARGOSY_DATA"
    )
    parser.add_argument(
        "--no-sandboxes", action="store_true", help="no agents are to run or be built here"
    )
    given = parser.parse_args()
    try:
        settings = read_settings()
    except Invalid as error:
        _say(broken("settings", error.detail, "docs/reference/settings.md has what it may be."))
        return 1
    well = True
    for finding in examine(settings, dev=given.dev, sandboxes=not given.no_sandboxes):
        _say(finding)
        well = well and finding.status != "failure"
    return 0 if well else 1


def _say(finding: Finding) -> None:
    sys.stdout.write(f"{msgspec.json.encode(finding).decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
