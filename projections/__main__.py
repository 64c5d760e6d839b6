"""The projector's process. Beside it: `status`, `rebuild NAME` and `retry NAME`.

It says `{"event": "ready", …}` on standard error when it works, as workers do.
"""

import argparse
import asyncio
import signal
import sys

import structlog
import uvloop

from adapters.metrics import metrics_served
from adapters.settings import Settings, read_settings
from adapters.telemetry import configure
from adapters.wiring import open_services
from domain.errors import ArgosyError
from projections.operating import rebuild_now, retry, run, show_status
from projections.registry import PROJECTIONS

log = structlog.stdlib.get_logger(__name__)


async def _run_until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_services(settings, name="projector") as services, metrics_served(settings):
        log.info("ready")
        await run(services, stop)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m projections", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("status", help="show every read model: table, state, position")
    for command, text in (
        ("rebuild", "fill a new table from the log, and switch it in"),
        ("retry", "go on with a projection that an event has stopped"),
    ):
        named = commands.add_parser(command, help=text)
        named.add_argument("name", choices=[each.name for each in PROJECTIONS])
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; returns the exit code."""
    arguments = _arguments()
    try:
        settings = read_settings()
        # A command's answer is what it prints; only trouble is logged beside it.
        level = "warning" if arguments.command else settings.log_level
        configure("projector", settings.log_format, level)
        match arguments.command:
            case "status":
                uvloop.run(show_status(settings))
            case "rebuild":
                [projection] = [each for each in PROJECTIONS if each.name == arguments.name]
                uvloop.run(rebuild_now(settings, projection))
            case "retry":
                uvloop.run(retry(settings, arguments.name))
            case _:
                uvloop.run(_run_until_signalled(settings))
    except ArgosyError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
