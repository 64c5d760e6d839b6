"""`python -m workers dispatch|reap|host|build`: one process of the kind that is named.

`python -m workers check` says in one line what this machine walls agents off with, and ends.
`python -m workers base list` and `base build NAME` show and make its base environments.

Each says `{"event": "ready", …}` on standard error when it works, and ends in order on SIGTERM or
SIGINT: 0 if nothing went wrong. Hosts and build workers finish what they have first, for at most
`ARGOSY_DRAIN_SECONDS`; a second signal has them hand it back at once.
"""

import argparse
import importlib
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from adapters import telemetry
from adapters.master_keys import has_master_key
from adapters.metrics import metrics_served
from adapters.settings import Settings, read_settings
from adapters.wiring import Services, open_services
from domain.errors import ArgosyError
from workers.bases import build_base, list_bases
from workers.builds import builds_with
from workers.dev.directory import of_dev_server
from workers.dispatcher import run_dispatcher
from workers.reaper import run_reaper
from workers.stopping import Stop, stop_on_signals
from workers.workshops import describe_machine, prepare_machine

log = structlog.stdlib.get_logger(__name__)

type Loop = Callable[[Services, Stop], Awaitable[None]]


def main() -> int:
    """Run one worker process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name in ("dispatch", "reap", "host", "build", "check"):
        kinds.add_parser(name)
    _add_base(kinds.add_parser("base"))
    given = parser.parse_args()
    kind: str = given.kind
    try:
        settings = read_settings()
        telemetry.configure(kind, settings.log_format, settings.log_level)
        match kind:
            case "dispatch":
                serve(settings, kind, run_dispatcher)
            case "reap":
                serve(settings, kind, run_reaper)
            case "host":
                paths = prepare_machine(settings)
                # A fifth of a second to load, and memory, that only hosts spend.
                hosting: Loop = importlib.import_module("workers.host").host_with(paths)
                serve(settings, kind, hosting, needs_vault=True)
            case "check":
                sys.stdout.write(f"{describe_machine(settings, prepare_machine(settings))}\n")
            case "base":
                settings = of_dev_server(settings) if given.dev else settings
                paths = prepare_machine(settings)
                if given.action == "list":
                    uvloop.run(list_bases(settings, paths, as_json=given.json))
                else:
                    uvloop.run(build_base(settings, paths, given.name, as_json=given.json))
            case _:
                building = builds_with(prepare_machine(settings))
                serve(settings, kind, building, needs_vault=has_master_key(settings))
    except ArgosyError as refusal:
        sys.stderr.write(f"{refusal.title}: {refusal.detail}\n")
        return 1
    return 0


def _add_base(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing, building = actions.add_parser("list"), actions.add_parser("build")
    building.add_argument("name", metavar="NAME")
    for action in (listing, building):
        action.add_argument("--json", action="store_true")
        action.add_argument(
            "--dev", action="store_true", help="the machine is `argosy dev`'s, in ARGOSY_DATA"
        )


def serve(settings: Settings, name: str, loop: Loop, *, needs_vault: bool = False) -> None:
    """Run an async loop with services of its own until a signal."""
    uvloop.run(_serve(settings, name, loop, needs_vault=needs_vault))


async def _serve(settings: Settings, name: str, loop: Loop, *, needs_vault: bool) -> None:
    stop = stop_on_signals()
    async with (
        open_services(settings, name=name, needs_vault=needs_vault) as services,
        metrics_served(settings),
    ):
        log.info("ready")
        await loop(services, stop)


if __name__ == "__main__":
    sys.exit(main())
