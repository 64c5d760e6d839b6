"""One dev server for all end-to-end tests that leave it alive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import DevServer, dev_server


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A running dev server."""
    with dev_server(Path(tmp_path_factory.mktemp("dev")) / "data") as server:
        yield server
