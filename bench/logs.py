"""Logs and events for the measurements: what is appended, and where."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from adapters.event_store.append import EVENT_COLUMNS, Row
from domain.agents import AgentCreated
from domain.ids import new_id
from domain.ports import Meta
from domain.registry import encode
from tests.postgres import Server, start_server

ME = Meta(actor="key:bench", workspace_id="workspace-1", command_id="command-1")
NAME = "an agent whose name and payload make an event of about two hundred bytes, as most of them"
INSERT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES"  # a constant

# As a cautious operator runs it: what is acknowledged is on the disk.
_DURABLE = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
}


def event(id: str) -> AgentCreated:
    """Return an event of the usual size."""
    return AgentCreated(agent_id=id, workspace_id="workspace-1", name=NAME)


def raw_row(position: int | None, stream: str = "", version: int = 1) -> Row:
    """Return the row that an append of `event` makes, ready for the driver."""
    id = new_id()
    return (
        stream or f"agent-{id}",
        version,
        position,
        ME.workspace_id,
        "agent.created",
        1,
        encode(event(id)),
        1_700_000_000_000_000,
        ME.actor,
        ME.command_id,
        "",
        "",
    )


@contextmanager
def directory() -> Generator[Path]:
    """A place on the disk, not in memory, for a while."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-", dir="/var/tmp") as name:
        yield Path(name)


@contextmanager
def durable_server(**settings: str) -> Generator[Server]:
    """A PostgreSQL server that syncs."""
    with contextmanager(start_server)({**_DURABLE, **settings}) as server:
        yield server
