"""Catalogs of earlier schemas."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

import rag.catalog.migrations
from rag.catalog import CATALOG_FILE
from rag.catalog.opening import open_engine, writing


@pytest.fixture
def downgrade() -> Callable[[Path, str], None]:
    """Takes the catalog of a home back to a revision, as an older version would have left it."""

    def to(home: Path, revision: str) -> None:
        engine = open_engine(home / CATALOG_FILE)
        with writing(engine) as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(rag.catalog.migrations.__file__).parent))
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
        engine.dispose()

    return to
