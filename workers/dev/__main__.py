"""`python -m workers.dev`: one small process that runs a whole server. `argosy dev` becomes it."""

import argparse
import sys
from pathlib import Path

from domain.errors import ArgosyError
from workers.dev.directory import DataDirectory
from workers.dev.supervisor import Supervisor
from workers.dev.telling import Teller


def main() -> int:
    """Run until Ctrl-C or SIGTERM; 1 if the server could not start."""
    given = _arguments()
    teller = Teller(as_json=given.json)
    try:
        directory = DataDirectory(given.data_dir.absolute())
    except ArgosyError as error:
        print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201 - for a person
        return 1
    try:
        supervisor = Supervisor(
            directory, teller, host=given.host, port=given.port, workers=given.workers
        )
        return supervisor.run()
    except ArgosyError as error:
        print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201 - for a person
        return 1
    finally:
        directory.release()


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
