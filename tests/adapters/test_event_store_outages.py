"""Which trouble is the database's (come back later), and which is one append's own."""

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import pytest

from adapters.event_store.postgres_appender import is_outage


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("no space left on device"),
        asyncpg.TooManyConnectionsError("too many clients"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.ConnectionDoesNotExistError("connection was closed"),
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_databases_trouble_is_an_outage(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [asyncpg.CharacterNotInRepertoireError("0x00"), ValueError("not a number")],
    ids=lambda error: type(error).__name__,
)
def test_one_appends_trouble_is_not(error: Exception) -> None:
    assert not is_outage(error)
