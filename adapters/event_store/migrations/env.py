"""How Alembic reaches the log: by the connection that `upgrade.py` gives it, under its lock."""

from alembic import context

from adapters.event_store.migrate import VERSION_TABLE
from adapters.event_store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
