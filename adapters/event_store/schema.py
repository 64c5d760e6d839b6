"""The tables of the log and of the vault beside it, the same on SQLite and PostgreSQL.

Facts are inserted, never updated.

Only migrations and tests import this: what appends and reads goes to the driver underneath, so that
a worker starts without loading SQLAlchemy.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# Compared byte by byte on both databases, whatever the server's language: quick, and in the order
# in which Python sorts, which is the order in which rows are locked.
Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# All times are microseconds since 1970, UTC.

events = sa.Table(
    "events",
    metadata,
    sa.Column("stream", Name, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    # Null for entries, which are only read as part of their stream.
    sa.Column("position", sa.BigInteger),
    sa.Column("workspace_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    # Set when `data` is encrypted, to the name of its key.
    sa.Column("key_id", sa.Text),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("command_id", sa.Text, nullable=False),
    sa.Column("correlation_id", sa.Text, nullable=False),
    sa.Column("causation_id", sa.Text, nullable=False),
)
_folding = events.c.position.isnot(None)
sa.Index(
    "events_position",
    events.c.position,
    unique=True,
    sqlite_where=_folding,
    postgresql_where=_folding,
)
# A decider loads these few, however long the transcript between them is.
sa.Index(
    "events_folding",
    events.c.stream,
    events.c.version,
    sqlite_where=_folding,
    postgresql_where=_folding,
)

# One row: held from the moment positions are given out until they are committed. On SQLite, which
# has one writer at a time, a view of the events' last position: a page less to write each time.
log_head = sa.Table(
    "log_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)

streams = sa.Table(
    "streams",
    metadata,
    sa.Column("stream", Name, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    # Counts folding events only: a busy transcript makes no command stale.
    sa.Column("folding_version", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("scope", Name, primary_key=True),
    sa.Column("kind", Name, primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("scope", Name, primary_key=True),
    sa.Column("key", Name, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("stream", Name, primary_key=True),
    # The job that was asked for, so that asking twice is noticed; empty for a claim without one.
    sa.Column("job_id", sa.Text, nullable=False),
    # Empty: nobody has claimed it yet.
    sa.Column("owner", Name, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    # The stream that has to end first; such a row does not expire.
    sa.Column("waits_for", Name, nullable=False),
    sa.Index("leases_expires_at", "expires_at"),
    sa.Index("leases_owner", "owner"),
    sa.Index("leases_waits_for", "waits_for"),
    sqlite_with_rowid=False,
)

followers = sa.Table(
    "followers",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leaders = sa.Table(
    "leaders",
    metadata,
    sa.Column("role", Name, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row: the vault's own key, sealed under the operator's master key.
vault_keys = sa.Table(
    "vault_keys",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

vault_secrets = sa.Table(
    "vault_secrets",
    metadata,
    sa.Column("scope", Name, primary_key=True),
    sa.Column("reference", Name, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
