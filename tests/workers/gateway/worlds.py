"""A gateway with model providers, from the agent's side."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace

from adapters.event_store.store import open_store
from adapters.sql_vault import open_vault
from domain.catalog import ModelProvider, Policy, Tool
from domain.deployments import Settings
from domain.entries import ModelCalled
from domain.ids import new_id
from tests.providers import FakeProvider
from tests.stores import MASTER_KEY
from tests.workers.gateway.outbounds import opened
from tests.workers.gateways import Book, Door, make_session, short_directory, until
from workers.gateway.server import Gateway
from workers.gateway.session import Session

KEY = "sk-canary-3f1c9a2b7d"
STORED = "key"  # stands for the reference that KEY has in the vault
PLAYGROUND = ModelProvider(vendor="openai", models=["gpt-4o-mini"], serves="playground")


class Providers:
    """A workspace that has nothing but model providers."""

    def __init__(self, providers: Mapping[str, ModelProvider]) -> None:
        self.providers = dict(sorted(providers.items()))

    async def tool(self, name: str) -> Tool | None:
        return None

    async def policies(self, names: Any) -> Mapping[str, Policy]:
        return {}

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        return self.providers


class Agent:
    """An agent's side of an open gateway, and what was written down of it."""

    def __init__(self, door: Door, client: httpx.AsyncClient) -> None:
        self.door = door
        self.client = client

    async def ask(self, path: str, content: Any, headers: Mapping[str, str] = {}) -> httpx.Response:
        """Send a request; `content` as it is, or as JSON."""
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        given = {"content-type": "application/json", **headers}
        return await self.client.post(path, content=body, headers=given)

    async def call(self, number: int = 1) -> ModelCalled:
        """The record of the last of so many calls, once it is made."""
        await until(lambda: len(self.door.book.entries) >= number)
        assert len(self.door.book.entries) == number
        entry = self.door.book.entries[-1]
        assert isinstance(entry, ModelCalled)
        return entry


@asynccontextmanager
async def open_agent(
    providers: Mapping[str, ModelProvider], settings: Settings | None = None
) -> AsyncGenerator[Agent]:
    """An agent whose workspace has these model providers."""
    book = Book()
    with short_directory() as directory:
        door = Door(directory, book)
        async with (
            open_session(directory, providers, book, settings) as session,
            Gateway().open(session, directory),
            door.client(timeout=30) as client,
        ):
            yield Agent(door, client)


@asynccontextmanager
async def open_session(
    directory: Path,
    providers: Mapping[str, ModelProvider],
    book: Book,
    settings: Settings | None = None,
) -> AsyncGenerator[Session]:
    """A session of a workspace with model providers: a real vault has their key."""
    workspace_id = new_id()
    store = await open_store(f"sqlite:///{directory / 'log.db'}")
    try:
        vault = await open_vault(store.database, bytes.fromhex(MASTER_KEY))
        key = await vault.put(workspace_id, KEY)
        unlocked = {
            name: replace(each, credential=key) if each.credential == STORED else each
            for name, each in providers.items()
        }
        async with opened() as outbound:
            yield replace(
                make_session(book, settings),
                workspace_id=workspace_id,
                documents=Providers(unlocked),
                vault=vault,
                outbound=outbound,
            )
    finally:
        await store.close()


def openai_at(provider: FakeProvider, **given: Any) -> ModelProvider:
    """A provider document for OpenAI's format."""
    fields: dict[str, Any] = {"models": ["gpt-4o"], "endpoint": provider.url, "credential": STORED}
    return ModelProvider(vendor="openai", **(fields | given))


def anthropic_at(provider: FakeProvider, **given: Any) -> ModelProvider:
    """A provider document for Anthropic's format."""
    fields: dict[str, Any] = {"endpoint": provider.url, "credential": STORED}
    fields |= {"models": ["claude-opus-5"]}
    return ModelProvider(vendor="anthropic", **(fields | given))
