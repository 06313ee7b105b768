from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rag.workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.catalog.close()
