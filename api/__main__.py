"""The API process: `python -m api` serves. Beside it, for operators:

`bootstrap` prints a first key; `rekey` changes the vault's master key to the one on standard input;
`forget-secrets` empties the vault. `backup FOLDER` writes the log to a new folder, `verify-backup`
reads it, and `restore` brings it into an empty database. `gc` says which blobs nothing needs any
more, and with `--delete` removes them.
"""

import argparse
import asyncio
import os
import sys
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from adapters import telemetry
from adapters.settings import Settings, read_settings
from adapters.wiring import open_services
from api.app import create_app
from api.backups import back_up, bring_back, check
from api.bootstrap import bootstrap
from api.garbage import GRACE_HOURS, collect_garbage
from api.operating import forget_secrets, rekey
from api.serving import listen
from domain.errors import ArgosyError
from projections.reads import open_reads


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    async with open_services(settings, name="api", needs_vault=True) as services:
        reads = await open_reads(settings.read_url, services.hurry)
        try:
            await listen(create_app(services, reads), settings)
        finally:
            await reads.close()


async def first_key(settings: Settings) -> None:
    """Make the first organization, workspace and key, and print them once."""
    async with open_services(settings, name="api") as services:
        made = await bootstrap(services, api_key=os.environ.get("ARGOSY_DEV_API_KEY"))
    sys.stdout.write(
        f"organization {made.organization_id}\nworkspace    {made.workspace}\n"
        f"key          {made.key}\n"
        "Keep the key: only its digest is stored.\n"
    )


type Work = Coroutine[Any, Any, None]

COMMANDS: dict[str, Callable[[Settings], Work]] = {
    "serve": serve,
    "bootstrap": first_key,
    "rekey": rekey,
    "forget-secrets": forget_secrets,
}
BACKUPS = {"backup": back_up, "restore": bring_back, "verify-backup": check}


def main() -> int:
    """Run the process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    for name in COMMANDS:
        commands.add_parser(name)
    for name in BACKUPS:
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--json", action="store_true")
    garbage = commands.add_parser("gc")
    garbage.add_argument("--delete", action="store_true")
    garbage.add_argument("--grace-hours", type=float, default=GRACE_HOURS)
    garbage.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        telemetry.configure("api", settings.log_format, settings.log_level)
        # Sources are parsed here, and what Python thinks of their style is not for our log.
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        asyncio.run(_work(settings, arguments), loop_factory=uvloop.new_event_loop)
    except ArgosyError as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    return 0


def _work(settings: Settings, arguments: argparse.Namespace) -> Work:
    if arguments.command in BACKUPS:
        folder = arguments.folder.absolute()
        return BACKUPS[arguments.command](settings, folder, as_json=arguments.json)
    if arguments.command == "gc":
        return collect_garbage(
            settings,
            grace_hours=arguments.grace_hours,
            delete=arguments.delete,
            as_json=arguments.json,
        )
    return COMMANDS[arguments.command or "serve"](settings)


if __name__ == "__main__":
    sys.exit(main())
