"""The log: events, their streams and order, names, answers, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# In the order of its bytes, as on SQLite.
Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create everything. Later changes to `schema.py` come as revisions of their own."""
    op.create_table(
        "events",
        sa.Column("stream", Name, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("command_id", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("causation_id", sa.Text, nullable=False),
    )
    folding = sa.text("position IS NOT NULL")
    op.create_index(
        "events_position",
        "events",
        ["position"],
        unique=True,
        sqlite_where=folding,
        postgresql_where=folding,
    )
    op.create_index(
        "events_folding",
        "events",
        ["stream", "version"],
        sqlite_where=folding,
        postgresql_where=folding,
    )
    _create_head()
    op.create_table(
        "streams",
        sa.Column("stream", Name, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("folding_version", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    _create_names_and_answers()
    _create_work()


def _create_head() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIEW log_head AS SELECT 1 AS id, coalesce(max(position), 0) AS position"
            " FROM events WHERE position IS NOT NULL"
        )
        return
    head = op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "position": 0}])


def _create_names_and_answers() -> None:
    op.create_table(
        "reservations",
        sa.Column("scope", Name, primary_key=True),
        sa.Column("kind", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "commands",
        sa.Column("scope", Name, primary_key=True),
        sa.Column("key", Name, primary_key=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_work() -> None:
    op.create_table(
        "leases",
        sa.Column("stream", Name, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("waits_for", Name, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("leases_expires_at", "leases", ["expires_at"])
    op.create_index("leases_owner", "leases", ["owner"])
    op.create_index("leases_waits_for", "leases", ["waits_for"])
    op.create_table(
        "followers",
        sa.Column("name", Name, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leaders",
        sa.Column("role", Name, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Refuse: facts are not thrown away by a migration. Restore a backup instead."""
    raise RuntimeError("The log is never migrated backwards; restore a backup.")
