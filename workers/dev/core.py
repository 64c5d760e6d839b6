"""Dispatcher, reaper and projector in one process: `python -m workers.dev.core`.

A dev server saves two interpreters so. The projector is loaded by name, because workers may not
import read models: nothing here reads one, it only runs beside.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import uvloop

from adapters import telemetry
from adapters.metrics import metrics_served
from adapters.settings import Settings, read_settings
from adapters.wiring import Services, open_services
from domain.errors import ArgosyError
from workers.dispatcher import run_dispatcher
from workers.reaper import run_reaper
from workers.stopping import stop_on_signals

PROJECTOR = "projections.operating"

type Run = Callable[[Services, asyncio.Event], Coroutine[Any, Any, None]]


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises what any of the three dies of, and ends the others."""
    projector: Run = import_module(PROJECTOR).run
    stop = stop_on_signals()
    async with (
        open_services(settings, name="core") as services,
        metrics_served(settings),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(projector(services, stop))
        group.create_task(run_dispatcher(services, stop))
        group.create_task(run_reaper(services, stop))


def main() -> int:
    """Run the process. Returns its exit code."""
    code = 0
    try:
        settings = read_settings()
        telemetry.configure("core", settings.log_format, settings.log_level)
        uvloop.run(serve(settings))
    except* ArgosyError as group:
        for error in group.exceptions:
            sys.stderr.write(f"{error}\n")
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
