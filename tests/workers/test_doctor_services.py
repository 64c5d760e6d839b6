"""What the doctor finds about disks, blob stores, databases and Redis that are really broken."""

import asyncio
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import REVISION, VERSION_TABLE, migrate
from adapters.settings import Settings
from tests.postgres import Server, start_server
from tests.redis_server import RedisServer
from tests.small_disks import on_a_small_disk
from workers.doctor.databases import look_at_database
from workers.doctor.findings import Finding, Status
from workers.doctor.hints import look_at_redis
from workers.doctor.storage import look_at_blobs, look_at_disks

NEWER = "9999"


def said(found: Sequence[Finding], check: str) -> list[tuple[Status, str]]:
    """Return what was said of one check; what is wrong comes with advice."""
    assert all(each.status == "ok" or each.advice for each in found)
    return [(each.status, each.detail) for each in found if each.check == check]


def statuses(found: Sequence[Finding], check: str) -> list[Status]:
    return [status for status, _ in said(found, check)]


# -- disks and blobs


@pytest.mark.parametrize(
    ("options", "check", "status"),
    [
        ("size=2m", "disk", "failure"),
        ("size=600m", "disk", "warning"),
        ("size=4g", "disk", "ok"),
        ("size=4g,nr_inodes=1000", "inodes", "failure"),
        ("size=4g,nr_inodes=20000", "inodes", "warning"),
        ("size=4g,nr_inodes=200000", "inodes", "ok"),
    ],
)
def test_a_disk_that_is_nearly_full(options: str, check: str, status: str) -> None:
    on_a_small_disk(
        f"""
        from adapters.settings import Settings
        from workers.doctor.storage import look_at_disks
        found = list(look_at_disks(Settings(data=disk)))
        assert [each.status for each in found if each.check == {check!r}] == [{status!r}], found
        """,
        options,
    )


def test_a_blob_store_on_a_full_disk() -> None:
    on_a_small_disk(
        """
        import asyncio
        from adapters.settings import Settings
        from workers.doctor.storage import look_at_blobs
        settings = Settings(data=disk)
        settings.blob_directory.mkdir()
        assert asyncio.run(look_at_blobs(settings)).status == "ok"
        with (disk / "ballast").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)): pass
            except OSError: pass
        found = asyncio.run(look_at_blobs(settings))
        assert found.status == "failure" and "No space left" in found.detail, found
        assert not list((settings.blob_directory / "scratch").iterdir())
        """
    )


def test_a_disk_that_is_read_only() -> None:
    on_a_small_disk(
        """
        import asyncio
        from adapters.settings import Settings
        from workers.doctor.storage import look_at_blobs, look_at_disks
        settings = Settings(data=disk)
        found = [*look_at_disks(settings), asyncio.run(look_at_blobs(settings))]
        wrong = {each.check for each in found if each.status == "failure"}
        assert {"data", "blobs"} <= wrong, found
        """,
        "size=2m,ro",
    )


def test_a_log_in_memory_is_lost_with_the_machine() -> None:
    on_a_small_disk(
        """
        import asyncio
        from adapters.settings import Settings
        from workers.doctor.databases import look_at_database
        found = asyncio.run(look_at_database(Settings(data=disk)))
        assert found[0].status == "warning" and "tmpfs" in found[0].detail, found
        """
    )


async def test_a_blob_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "blobs").touch()

    found = await look_at_blobs(Settings(data=tmp_path))

    assert said([found], "blobs")[0][0] == "failure"


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    assert statuses(list(look_at_disks(Settings(data=tmp_path / "data"))), "data") == ["failure"]


# -- the log in a SQLite file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_a_sqlite_log(log: Path) -> None:
    settings = Settings(data=log.parent)

    before = asyncio.run(look_at_database(settings))
    assert not log.exists()
    asyncio.run(migrate(settings.log_url))
    after = asyncio.run(look_at_database(settings))

    assert statuses(before, "database") == statuses(after, "database") == ["ok"]
    assert "will be made" in before[0].detail
    assert f"schema {REVISION}" in after[0].detail


async def test_a_log_of_a_newer_release(log: Path) -> None:
    settings = Settings(data=log.parent)
    await migrate(settings.log_url)
    with sqlite3.connect(log) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '{NEWER}'")
    connection.close()

    found = await look_at_database(settings)

    assert statuses(found, "database") == ["failure"]
    assert NEWER in found[0].detail


def test_a_log_that_is_no_database(log: Path) -> None:
    log.write_bytes(b"not a database, whatever its name" * 100)

    found = asyncio.run(look_at_database(Settings(data=log.parent)))

    assert statuses(found, "database") == ["failure"]


def test_a_damaged_log(log: Path) -> None:
    settings = Settings(data=log.parent)
    asyncio.run(migrate(settings.log_url))
    with sqlite3.connect(log) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))

    found = asyncio.run(look_at_database(settings))

    assert "failure" in statuses(found, "database")
    assert "backup" in found[-2].advice


# -- the log in PostgreSQL


@pytest.fixture(scope="module")
def careless() -> Iterator[Server]:
    """A server with few connections, whose settings can lose what it acknowledged."""
    yield from start_server(
        {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on",
            "full_page_writes": "off",
            "max_connections": "10",
        }
    )


async def test_a_postgres_log_whose_server_does_not_sync(postgres_url: str) -> None:
    """As the tests' own server is, on purpose."""
    found = await look_at_database(Settings(database=postgres_url))

    assert statuses(found, "database") == ["ok"]
    assert said(found, "durability") == [("failure", "fsync is off")]
    assert statuses(found, "clock") == ["ok"]


async def test_a_postgres_that_tears_pages_and_has_few_connections(careless: Server) -> None:
    found = await look_at_database(Settings(database=careless.url))

    assert said(found, "durability") == [("warning", "full_page_writes is off")]
    assert statuses(found, "database") == ["ok", "warning"]


async def test_a_postgres_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        url = f"postgresql://somebody:hidden-word@127.0.0.1:{port}/argosy"

        found = await look_at_database(Settings(database=url))

    assert statuses(found, "database") == ["failure"]
    assert "hidden-word" not in str(found)


async def test_a_postgres_log_of_a_newer_release(postgres_url: str) -> None:
    await migrate(postgres_url)
    await _run(postgres_url, f"UPDATE {VERSION_TABLE} SET version_num = '{NEWER}'")

    found = await look_at_database(Settings(database=postgres_url))

    assert statuses(found, "database") == ["failure"]


async def test_a_user_who_may_make_nothing(postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    await _run(postgres_url, f'CREATE ROLE "{name}_guest" LOGIN')
    await _run(postgres_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        url = postgres_url.replace("//argosy@", f"//{name}_guest@")

        found = await look_at_database(Settings(database=url))
    finally:
        await _run(postgres_url, f'DROP ROLE "{name}_guest"')

    assert ("failure", "the user may not create tables") in said(found, "database")


@pytest.mark.parametrize(("seconds", "status"), [(5, "warning"), (-90, "failure")])
async def test_a_database_with_another_clock(postgres_url: str, seconds: int, status: str) -> None:
    """Its `clock_timestamp` is one of its own, found before the system's."""
    await _run(
        postgres_url,
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$",
    )
    name = postgres_url.rpartition("/")[2]
    await _run(postgres_url, f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')

    found = await look_at_database(Settings(database=postgres_url))

    assert statuses(found, "clock") == [status]


async def _run(url: str, text: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(text)
    finally:
        await connection.close()


# -- Redis


def test_a_redis(redis_server: RedisServer) -> None:
    assert statuses(look_at_redis(Settings(redis=redis_server.url)), "redis") == ["ok"]


def test_a_redis_that_is_not_there(redis_server: RedisServer) -> None:
    redis_server.kill()

    assert statuses(look_at_redis(Settings(redis=redis_server.url)), "redis") == ["failure"]


def test_a_url_that_is_none() -> None:
    assert statuses(look_at_redis(Settings(redis="somewhere")), "redis") == ["failure"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"requirepass": "hidden-word"}, ["failure"]),
        ({"replicaof": "127.0.0.1 1"}, ["failure"]),
        ({"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}, ["ok", "warning"]),
    ],
)
def test_a_redis_that_cannot_be_relied_on(
    redis_server: RedisServer, options: dict[str, str], expected: list[Status]
) -> None:
    client = redis_server.client()
    for name, value in options.items():
        if name == "replicaof":
            client.replicaof(*value.split())  # pyright: ignore[reportUnknownMemberType]
        else:
            client.config_set(name, value)  # pyright: ignore[reportUnknownMemberType]
    client.close()

    found = look_at_redis(Settings(redis=redis_server.url))

    assert statuses(found, "redis") == expected
    assert "hidden-word" not in str(found)
