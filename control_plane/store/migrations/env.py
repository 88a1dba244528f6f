"""Runs the migrations on the connection that `control_plane.store.migrate` hands over; there is no offline mode."""

from alembic import context

from control_plane.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
