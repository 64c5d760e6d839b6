"""A fake model provider for each test that wants one."""

from collections.abc import Iterator

import pytest

from tests.providers import FakeProvider, open_provider


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with open_provider() as provider:
        yield provider
