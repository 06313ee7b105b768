"""Run by Alembic with the connection that ``rag.catalog.opening`` hands over; there is no offline mode."""

from alembic import context

from rag.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most of a table in place.
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
