"""What a batch reads from a SQLite log and writes to it, inside its transaction."""

import sqlite3

from adapters.event_store.append import EVENT_COLUMNS, NEW, Head, Item, Key, Name, Plan
from adapters.event_store.scripts import now_us

# All of these are built of constants.
_INSERT_EVENT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_MAKE_STREAM = "INSERT INTO streams (version, folding_version, attempt, stream) VALUES (?,?,?,?)"
_MOVE_STREAM = "UPDATE streams SET version = ?, folding_version = ?, attempt = ? WHERE stream = ?"
_SET_NAME = "INSERT OR REPLACE INTO reservations (scope, kind, name, id) VALUES (?,?,?,?)"
_GIVE_BACK = "DELETE FROM reservations WHERE scope = ? AND kind = ? AND name = ?"
_ANSWER = "INSERT INTO commands (scope, key, body_hash, answer, at) VALUES (?,?,?,?,?)"
_TAKE_LEASE = (
    "INSERT INTO leases (stream, job_id, owner, attempt, expires_at, address, waits_for)"
    " VALUES (?, '', ?, ?, ?, ?, '') ON CONFLICT (stream) DO UPDATE SET owner = excluded.owner,"
    " attempt = excluded.attempt, expires_at = excluded.expires_at, address = excluded.address,"
    " waits_for = ''"
)


class Facts:
    """What the file holds. On trust: streams expected to be new are new, and so are commands.

    Nothing is looked up for those: the tables' keys refuse the batch if it is not so, and it is
    decided again without trust.
    """

    def __init__(self, connection: sqlite3.Connection, items: list[Item], *, trust: bool) -> None:
        self._execute = connection.execute
        self._trust = trust
        self._heads: dict[str, Head] = {}
        if trust:
            self._heads = {
                change.stream: NEW
                for item in items
                for change in item.changes
                if change.expected == 0 and change.events
            }

    def head(self, stream: str) -> Head:
        """Return where a stream stands."""
        head = self._heads.get(stream)
        if head is None:
            row = self._execute(
                "SELECT version, folding_version, attempt FROM streams WHERE stream = ?", (stream,)
            ).fetchone()
            head = self._heads[stream] = NEW if row is None else Head(*row)
        return head

    def reserved(self, name: Name) -> str:
        """Return the id that a name is reserved for, or an empty string."""
        row = self._execute(
            "SELECT id FROM reservations WHERE scope = ? AND kind = ? AND name = ?", name
        ).fetchone()
        return "" if row is None else row[0]

    def is_answered(self, key: Key) -> bool:
        """Whether a command was done before."""
        if self._trust:
            return False
        row = self._execute("SELECT 1 FROM commands WHERE scope = ? AND key = ?", key).fetchone()
        return row is not None


def insert(connection: sqlite3.Connection, plan: Plan, facts: Facts) -> None:
    """Write a plan. Raises sqlite3.IntegrityError if what was taken on trust is not so."""
    connection.executemany(_INSERT_EVENT, plan.rows)
    made: list[tuple[int, int, int, str]] = []
    moved: list[tuple[int, int, int, str]] = []
    for stream, head in plan.heads.items():
        streams = made if facts.head(stream) == NEW else moved
        streams.append((head.version, head.folding_version, head.attempt, stream))
    if made:
        connection.executemany(_MAKE_STREAM, made)
    if moved:
        connection.executemany(_MOVE_STREAM, moved)
    for name, id in plan.names.items():
        if id:
            connection.execute(_SET_NAME, (*name, id))
        else:
            connection.execute(_GIVE_BACK, name)
    if plan.answers:
        answers = plan.answers.values()
        rows = [(each.scope, each.key, each.body_hash, each.body, plan.at) for each in answers]
        connection.executemany(_ANSWER, rows)
    for stream, owner, attempt, seconds, address in plan.leases.values():
        if owner:
            expires_at = now_us() + round(seconds * 1e6)
            connection.execute(_TAKE_LEASE, (stream, owner, attempt, expires_at, address))
        else:
            connection.execute("DELETE FROM leases WHERE stream = ?", (stream,))
