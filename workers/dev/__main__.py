"""`python -m workers.dev`: one small process that runs a whole server. `argosy dev` becomes it."""

import argparse
import sys
from pathlib import Path

from domain.errors import ArgosyError, Conflict
from workers.dev.directory import DataDirectory
from workers.dev.supervisor import Supervisor
from workers.dev.telling import Teller

# As for every command of `argosy`: docs/reference/cli.md.
UNABLE, REFUSED = 4, 5


def main() -> int:
    """Run until Ctrl-C or SIGTERM: 0. Else 5 if directory or port are taken, 4 if it cannot."""
    given = _arguments()
    teller = Teller(as_json=given.json)
    try:
        directory = DataDirectory(given.data_dir.absolute())
    except ArgosyError as error:
        return _say(error)
    try:
        supervisor = Supervisor(
            directory, teller, host=given.host, port=given.port, workers=given.workers
        )
        return supervisor.run()
    except ArgosyError as error:
        return _say(error)
    finally:
        directory.release()


def _say(error: ArgosyError) -> int:
    """Say what is wrong to the person who started it; returns the exit code."""
    print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201 - for a person
    return REFUSED if isinstance(error, Conflict) else UNABLE


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="argosy dev")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=8700, type=int)
    parser.add_argument("--data-dir", default=Path(".argosy"), type=Path)
    parser.add_argument("--workers", default=1, type=int)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
