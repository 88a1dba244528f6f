"""Alembic's entry: runs the migrations over the connection that cell/store/migrate.py hands it."""

from alembic import context

from cell.store.event_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
