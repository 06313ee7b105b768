"""Alembic's scripts for the catalog, run when it is opened. They ship in the package."""
