"""The log's database: reachable, of the right schema, durable, and its vault opened by our key.

Nothing in it is changed.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from msgspec import Struct

from adapters.event_store.asyncpg_types import LOST, Connection, PostgresError, connect
from adapters.event_store.migrate import REVISION, SQLITE, VERSION_TABLE, sqlite_path
from adapters.event_store.scripts import POSTGRES_NOW
from adapters.settings import Settings
from adapters.sql_vault import KEY as VAULT_KEY
from adapters.sql_vault import TABLE as VAULT_TABLE
from workers.doctor.findings import Finding, broken, doubtful, good
from workers.doctor.storage import look_at_file_system, nearest
from workers.doctor.vaults import judge_master_key

CONNECT_SECONDS = 5.0
OLDEST_POSTGRES = 14
FEW_CONNECTIONS = 12
SKEW_SECONDS = 1.0
MUCH_SKEW_SECONDS = 30.0
CLOCK_ASKED = 3
# A whole file is only read where that takes no time worth mentioning.
READ_WHOLE_BYTES = 64 << 20

_RESTORE = "Stop everything and restore a backup."
_LARGER = "Raise max_connections: every process takes up to six."
_REVISION = f"SELECT max(version_num) FROM {VERSION_TABLE}"  # noqa: S608  # a constant
_SETTINGS = """
SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'),
    current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(),
    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend'),
    has_schema_privilege(current_schema(), 'CREATE')
"""


class Server(Struct, frozen=True):
    """What one asks a PostgreSQL server, in the order of _SETTINGS."""

    major: int
    version: str
    fsync: str
    full_page_writes: str
    standby: bool
    connections_left: int
    may_create: bool


async def look_at_database(settings: Settings, *, vault: bool = True) -> list[Finding]:
    """Return what is to be said of the log's database; vault: and of the vault in it."""
    if settings.log_url.startswith(SQLITE):
        return list(_look_at_sqlite(settings, vault=vault))
    name = _shown(settings.log_url)
    try:
        connection = await connect(settings.log_url, timeout=CONNECT_SECONDS)
    except (PostgresError, *LOST, ValueError) as error:
        advice = "Start it, or correct ARGOSY_DATABASE; the user, password and database must exist."
        return [broken("database", f"{name} cannot be reached: {error}", advice)]
    try:
        server = Server(*(await connection.fetch(_SETTINGS))[0])
        known = await connection.fetchval("SELECT to_regclass($1)", VERSION_TABLE)
        revision = await connection.fetchval(_REVISION) if known else ""
        keeps = vault and await connection.fetchval("SELECT to_regclass($1)", VAULT_TABLE)
        keys = await connection.fetch(VAULT_KEY) if keeps else ()
        return [
            *_schema(f"PostgreSQL {server.version}, {name}", revision or ""),
            *_server(server),
            await _clock(connection),
            *([judge_master_key(settings, keys)] if vault else []),
        ]
    except (PostgresError, *LOST) as error:
        return [broken("database", f"{name} does not answer: {error}", "Look into its own log.")]
    finally:
        connection.terminate()


def _look_at_sqlite(settings: Settings, *, vault: bool) -> Iterator[Finding]:
    path = sqlite_path(settings.log_url).absolute()
    if (trouble := look_at_file_system(nearest(path.parent))) is not None:
        yield trouble
    if not path.exists():
        yield good("database", f"SQLite, {path} will be made")
        if vault:
            yield judge_master_key(settings, [])
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            known = "SELECT 1 FROM sqlite_schema WHERE name = ?"
            revision = ""
            if connection.execute(known, (VERSION_TABLE,)).fetchone():
                revision = connection.execute(_REVISION).fetchone()[0] or ""
            yield from _schema(f"SQLite, {path}", revision)
            if vault:
                keeps = connection.execute(known, (VAULT_TABLE,)).fetchone()
                keys = connection.execute(VAULT_KEY).fetchall() if keeps else []
                yield judge_master_key(settings, keys)
            if path.stat().st_size <= READ_WHOLE_BYTES:
                [said] = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    yield broken("database", f"{path} is damaged: {said}", _RESTORE)
    except sqlite3.DatabaseError as error:
        permitted = isinstance(error, sqlite3.OperationalError)
        advice = "Give the file and its directory to this user." if permitted else _RESTORE
        yield broken("database", f"{path} cannot be read: {error}", advice)
    yield good("clock", "the database is on this machine")


def _schema(name: str, revision: str) -> Iterator[Finding]:
    if revision > REVISION:
        detail = f"{name}: schema {revision}, and this version of Argosy knows {REVISION} at most"
        yield broken("database", detail, "Upgrade Argosy on this machine.")
    elif revision == REVISION:
        yield good("database", f"{name}: schema {revision}")
    else:
        before = f"schema {revision} will be upgraded" if revision else "the schema will be made"
        yield good("database", f"{name}: {before} by the next process that starts")


def _server(server: Server) -> Iterator[Finding]:
    if server.major < OLDEST_POSTGRES:
        advice = f"Argosy is not tried with releases before {OLDEST_POSTGRES}."
        yield doubtful("database", f"PostgreSQL {server.version} is old", advice)
    if server.standby:
        advice = "Let ARGOSY_DATABASE name the primary."
        yield broken("database", "the server is a standby, which takes no appends", advice)
    if not server.may_create:
        advice = "Grant CREATE on the schema to Argosy's user."
        yield broken("database", "the user may not create tables", advice)
    if server.connections_left < FEW_CONNECTIONS:
        detail = f"{server.connections_left} connections are left"
        yield doubtful("database", detail, _LARGER)
    yield _durability(server)


def _durability(server: Server) -> Finding:
    if server.fsync != "on":
        advice = "Set fsync=on: what was acknowledged is lost if the machine fails."
        return broken("durability", f"fsync is {server.fsync}", advice)
    if server.full_page_writes != "on":
        advice = "Set full_page_writes=on, unless the file system never tears a page."
        return doubtful("durability", f"full_page_writes is {server.full_page_writes}", advice)
    return good("durability", "commits are on the disk before they are acknowledged")


async def _clock(connection: Connection) -> Finding:
    """Compare clocks, by the answer that came soonest."""
    best = (float("inf"), 0.0)
    for _ in range(CLOCK_ASKED):
        began, asked = time.monotonic(), time.time()
        theirs = await connection.fetchval(f"SELECT {POSTGRES_NOW}")  # a constant
        took = time.monotonic() - began
        best = min(best, (took, theirs / 1e6 - (asked + took / 2)))
    took, ahead = best
    detail = f"the database's clock is {abs(ahead):.3f} s {'ahead' if ahead > 0 else 'behind'}"
    advice = "Keep the clocks of all machines together with NTP (chrony, systemd-timesyncd)."
    if abs(ahead) > MUCH_SKEW_SECONDS:
        return broken("clock", detail, advice)
    if abs(ahead) > SKEW_SECONDS + took:
        return doubtful("clock", detail, advice)
    return good("clock", detail)


def _shown(url: str) -> str:
    """Return where a database is, without who may open it."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'a socket'}:{parts.port or 5432}{parts.path}"
