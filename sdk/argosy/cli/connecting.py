"""Reaching the server. Commands import this when they run: `--help` needs no client."""

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from argosy.cli.output import step
from argosy.client import Argosy
from argosy.config import find_server
from argosy.models import Page

T = TypeVar("T")


def connect(workspace: str = "") -> Argosy:
    """Return a client for the server in use. Raises NotConfigured saying what to do."""
    server = find_server()
    chosen = workspace or server.workspace
    if not chosen:
        with Argosy(server.url, server.api_key) as asking:
            chosen = asking.whoami().workspace or ""
    return Argosy(server.url, server.api_key, workspace=chosen)


def read_page(
    page: Callable[[], Page[T]], every: Callable[[], Iterator[T]], *, everything: bool
) -> Page[T]:
    """Return the page that was asked for, or all of them as one; says if there is more."""
    if everything:
        return Page(items=list(every()))
    found = page()
    if found.next_cursor:
        step(f"There is more: --cursor {found.next_cursor} or --all")
    return found


def lost(why: str) -> None:
    """Tell a person at a terminal that a stream is being resumed."""
    if sys.stderr.isatty():
        step(f"connection lost ({why}); resuming")
