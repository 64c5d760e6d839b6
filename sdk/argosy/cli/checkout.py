"""The server's code, which some commands start: it lives in a checkout, not in this package."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click


def find_checkout(command: str) -> Path:
    """Return the checkout that this package is installed from; a usage error if it is not one."""
    checkout = checkout_or_none()
    if checkout is None:
        raise click.ClickException(
            f"The server is not part of this package; run `argosy {command}` with `uv run` in a "
            "checkout of Argosy."
        )
    return checkout


def checkout_or_none() -> Path | None:
    """Return the checkout that this package is installed from, if it is from one."""
    checkout = Path(__file__).resolve().parents[3]
    return checkout if (checkout / "workers" / "dev" / "__main__.py").is_file() else None


def hand_over(command: str, arguments: Sequence[str], data_dir: Path | None) -> NoReturn:
    """Become a program of the server, `python -m <arguments>`, in the place of `argosy command`."""
    checkout = find_checkout(command)
    data = data_directory(data_dir)
    os.chdir(checkout)
    os.execve(  # noqa: S606 - our own program
        sys.executable,
        [sys.executable, "-m", *arguments],
        {"ARGOSY_LOG_FORMAT": "text", **os.environ, "ARGOSY_DATA": str(data)},
    )


def data_directory(given: Path | None) -> Path:
    """Return where the server on this machine keeps everything."""
    return (given or Path(os.environ.get("ARGOSY_DATA") or ".argosy")).absolute()


def of_dev_server() -> tuple[str, ...]:
    """Return what tells the server's programs that this machine is `argosy dev`'s, if it is."""
    return () if {"ARGOSY_DATABASE", "ARGOSY_REDIS"} & set(os.environ) else ("--dev",)
