"""The API process: `python -m api` serves, `python -m api bootstrap` prints a first key."""

import argparse
import asyncio
import os
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import structlog
import uvicorn
import uvloop

from adapters import telemetry
from adapters.settings import Settings, read_settings
from adapters.wiring import open_services
from api.app import create_app
from api.bootstrap import bootstrap
from api.calls import Shared
from domain.errors import ArgosyError
from projections.reads import open_reads

GRACE_SECONDS = 5  # for requests under way when the process is told to stop
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = structlog.stdlib.get_logger(__name__)


class Server(uvicorn.Server):
    """Ends the streams first when it is told to stop; they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, shared: Shared) -> None:
        super().__init__(config)
        self._shared = shared

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        self._shared.hub.close()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop at a signal, and exit with 0: uvicorn would raise it again before we have closed."""
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in SIGNALS:
                loop.remove_signal_handler(each)


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    async with open_services(settings, name="api") as services:
        reads = await open_reads(settings.read_url)
        try:
            app = create_app(services, reads)
            config = uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            log.info("api.serving", url=settings.url)
            await Server(config, app.state.shared).serve()
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


def main() -> int:
    """Run the process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "bootstrap"), default="serve")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        telemetry.configure("api", settings.log_format, settings.log_level)
        # Sources are parsed here, and what Python thinks of their style is not for our log.
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        work = serve if arguments.command == "serve" else first_key
        asyncio.run(work(settings), loop_factory=uvloop.new_event_loop)
    except ArgosyError as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
