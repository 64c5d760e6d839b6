"""A log to decide on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.event_store.store import Store, open_store
from domain.handling import Commands


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path / 'log.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def commands(store: Store) -> Commands:
    return Commands(store)
