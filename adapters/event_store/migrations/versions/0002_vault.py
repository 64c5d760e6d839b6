"""The vault: its key, and the secrets sealed under it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# In the order of its bytes, as on SQLite.
Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add two tables; nothing else is touched."""
    op.create_table(
        "vault_keys",
        sa.Column("name", Name, primary_key=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vault_secrets",
        sa.Column("scope", Name, primary_key=True),
        sa.Column("reference", Name, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Refuse: secrets are not thrown away by a migration. Restore a backup instead."""
    raise RuntimeError("The log is never migrated backwards; restore a backup.")
