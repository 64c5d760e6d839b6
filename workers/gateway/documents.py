"""A workspace's documents, read from the log whenever they are asked for."""

import asyncio
from collections.abc import Mapping, Sequence

from domain.catalog import (
    MODEL_PROVIDER,
    POLICY,
    TOOL,
    Active,
    Document,
    DocumentCommand,
    DocumentEvent,
    ModelProvider,
    Policy,
    Spec,
    Tool,
)
from domain.decider import Decider
from domain.ids import stream_name
from domain.ports import EventStore

type DocumentDecider = Decider[DocumentCommand, Document, DocumentEvent]


class StoredDocuments:
    """See `session.Documents`. Raises Unavailable where the database fails."""

    def __init__(self, store: EventStore, workspace_id: str) -> None:
        self._store = store
        self._workspace_id = workspace_id

    async def tool(self, name: str) -> Tool | None:
        """See `session.Documents`."""
        match await self._named(TOOL, name):
            case Tool() as tool:
                return tool
            case _:
                return None

    async def policies(self, names: Sequence[str]) -> Mapping[str, Policy]:
        """See `session.Documents`."""
        found = await asyncio.gather(*(self._named(POLICY, name) for name in names))
        return {
            name: policy
            for name, policy in zip(names, found, strict=True)
            if isinstance(policy, Policy)
        }

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        """See `session.Documents`."""
        ids = await self._store.names(self._workspace_id, MODEL_PROVIDER.category)
        found = await asyncio.gather(*(self._spec(MODEL_PROVIDER, id) for id in ids.values()))
        providers = {
            name: provider
            for name, provider in zip(ids, found, strict=True)
            if isinstance(provider, ModelProvider)
        }
        return dict(sorted(providers.items()))

    async def _named(self, decider: DocumentDecider, name: str) -> Spec | None:
        id = await self._store.resolve(self._workspace_id, decider.category, name)
        return await self._spec(decider, id) if id else None

    async def _spec(self, decider: DocumentDecider, id: str) -> Spec | None:
        head = await self._store.load(stream_name(decider.category, id))
        match decider.fold(recorded.event for recorded in head.events):
            case Active(spec=spec):
                return spec
            case _:
                return None
