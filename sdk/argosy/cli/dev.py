"""`argosy dev`: hands over to the server's supervisor, which lives in the server's checkout."""

import os
import sys
from pathlib import Path

import click

from argosy.cli.checkout import data_directory, find_checkout
from argosy.cli.options import data_dir_option, json_option


@click.command(name="dev")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the API listens.")
@click.option(
    "--port", default=8700, show_default=True, type=click.IntRange(1, 65535), help="Its port."
)
@data_dir_option
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 16), help="Run hosts."
)
@json_option
def command(host: str, port: int, data_dir: Path | None, workers: int, as_json: bool) -> None:
    """Run a whole server on this machine, until Ctrl-C.

    API, projections, dispatcher, workers and an embedded Redis on SQLite. ARGOSY_DEV_API_KEY fixes
    the key; otherwise one is made and kept in the data directory.
    """
    checkout = find_checkout("dev")
    data = data_directory(data_dir)
    arguments = ["--host", host, "--port", str(port), "--data-dir", str(data)]
    arguments += ["--workers", str(workers), *(["--json"] if as_json else [])]
    os.chdir(checkout)
    os.execv(sys.executable, [sys.executable, "-m", "workers.dev", *arguments])  # noqa: S606
